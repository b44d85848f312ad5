"""Schema files that people edit: one column per line, its source in sight; and the refusal of what was read from the records.

What is not a table has a line for its content as well: the image, the text, the music, the series.
Covered: bounds, categories, points, edges, alphabets, merges and sizes that came out of the records never reach a private
training, nor do those that nobody declared.
Not covered: whether what somebody declared public is. The card names who declared it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..vocabulary.content import Content, MusicContent, SeriesContent
from ..vocabulary.documents import parse_yaml, read_json, read_text
from ..vocabulary.errors import PrivacyRefused, SchemaError
from ..vocabulary.frozen import parse
from ..vocabulary.schema import Column, Schema
from .cells import nfc

_PLAIN_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_NOT_PUBLIC = {
    "data": "was read from the records, and bounds or categories taken from records give them away",
    "private-paid": "is marked private-paid, but nothing measured it under privacy and paid for it (privacy.schema_epsilon does, for "
    "numbers), so the claim rests on nothing",
}
_OPEN_QUESTION = re.compile(r"[:,\[]\s*\?\s*[,}\]\n]")


def load_schema(path: Path) -> Schema:
    """The schema in a YAML file (or in the JSON of a run folder), names in Unicode NFC."""
    if path.suffix.lower() == ".json":
        return parse_schema(read_json(path, error=SchemaError), where=str(path))
    text = read_text(path, error=SchemaError)
    try:
        document = parse_yaml(text, where=str(path), error=SchemaError)
    except SchemaError:
        if _OPEN_QUESTION.search(text):
            raise SchemaError(f"{path}: a ? is still to be filled in; put the public bound, category or name in its place") from None
        raise
    return parse_schema(document, where=str(path))


def parse_schema(document: Any, *, where: str) -> Schema:
    listed = _listed_columns(document)
    if listed is None:
        raise SchemaError(f"{where}: not a schema; it needs `columns:` with one entry per column (see `guardrail schema DATA`)")
    columns: dict[str, Any] = {}
    for name, entry in listed.items():
        if not isinstance(name, str):
            raise SchemaError(f"{where}: column {name!r} must be written in quotes, or YAML reads it as something else than a name")
        if nfc(name) in columns:
            raise SchemaError(f"{where}: column {name!r} is listed twice, in two Unicode spellings; keep one")
        columns[nfc(name)] = entry
    names = {key: _nfc_keys(document[key]) for key in ("series",) if key in document}
    roles = names | {key: _nfc_deep(document[key]) for key in ("target", "sensitive", "unit", "ignore") if key in document}
    return parse(Schema, {**document, **roles, "columns": columns}, where=where, error=SchemaError)


def _listed_columns(document: Any) -> Mapping[Any, Any] | None:
    """The entries under `columns:`; beside an image, a text, music or a series there may be none."""
    if not isinstance(document, Mapping):
        return None
    columns = document.get("columns")
    if columns is None and document.get("modality", "tabular") != "tabular":
        return {}
    return columns if isinstance(columns, Mapping) else None


def dump_schema(schema: Schema) -> str:
    """YAML that `load_schema` reads back to the same schema."""
    document = schema.model_dump(mode="json", exclude_defaults=True, exclude={"columns", "modality", "declared_by", schema.modality})
    asked = "" if schema.declared_by else "  # who stands for the entries marked public: a document and its version, a person"
    who = f"declared_by: {_flow(schema.declared_by)}{asked}"
    lines = [f"modality: {schema.modality}", who, *(f"{key}: {_flow(value)}" for key, value in document.items())]
    lines += [f"{schema.modality}: {_flow(_said(schema.content))}"] if schema.content is not None else []
    lines += ["columns:"] if schema.columns else []
    lines += [f"  {_flow(name)}: {_flow({'kind': column.kind} | _said(column))}" for name, column in schema.columns.items()]
    return "\n".join(lines) + "\n"


def require_public(schema: Schema, *, paid: bool = False) -> None:
    """Refuse a schema with entries that are not public, or that nobody declared, and print the lines that would make it so.

    `paid`: what is marked private-paid will be measured and charged; its outer bounds are declared like the others'.
    """
    entries = _entries(schema)
    for source, fault in _NOT_PUBLIC.items():
        if source == "private-paid" and paid:
            continue
        if found := [name for name, entry in entries.items() if entry.source == source]:
            raise PrivacyRefused(f"the schema of {_counted(found, schema)} {fault}.\n{_to_declare(found, schema)}")
    if unnamed := [name for name, entry in entries.items() if not (entry.declared_by or schema.declared_by).strip()]:
        shown = [repr(name) if name else f"the {schema.modality} itself" for name in unnamed[:8]]
        raise PrivacyRefused(
            f"the schema of {_counted(unnamed, schema)} is marked public, but nobody is named who declared it: "
            f"{', '.join(shown)}{' …' if len(unnamed) > 8 else ''}. Privacy rests on these entries, so somebody has to "
            "stand for them.\nFill in this line at the top of the schema, for all of them (or declared_by: in the entry of each column):\n"
            "declared_by: ?"
        )


def _entries(schema: Schema) -> dict[str, Content | Column]:
    """Every entry that a training rests on; the content under no name."""
    return ({"": schema.content} if schema.content is not None else {}) | dict(schema.columns)


def _counted(names: list[str], schema: Schema) -> str:
    columns = [name for name in names if name]
    counted = f"{len(columns)} of {len(schema.columns)} columns" if len(schema.columns) > 1 else "the column"
    content = [f"the {schema.modality} itself"] if "" in names else []
    return " and ".join(content + ([counted] if columns else []))


def _to_declare(names: list[str], schema: Schema) -> str:
    intro = "For a private training declare them from what is public (a data dictionary, a form, the law), say who declares it,\n"
    lines = "\n".join(f"  {_flow(name)}: {_blank(schema.columns[name])}" for name in names if name)
    beside = f"and put these lines, with every ? filled in, under `columns:` of the schema file:\n{lines}" if lines else ""
    if "" not in names or schema.content is None:
        return intro + beside
    content = f"and put this line, with every ? filled in, into the schema file:\n{schema.modality}: {_blank_content(schema.content)}"
    return intro + content + ("\n" + beside if beside else "")


def _blank(column: Column) -> str:
    """The entry with a ? wherever the records had spoken."""
    asked = {
        "numeric": "low: ?, high: ?, ",
        "integer": "low: ?, high: ?, ",
        "datetime": "low: ?, high: ?, ",
        "categorical": "categories: [?], ",
        "ordinal": "categories: [?], ",
        "boolean": "",
    }[column.kind]
    return f"{{kind: {column.kind}, {asked}missing: ?, source: public, declared_by: ?}}"


def _blank_content(content: Content) -> str:
    """The same for the content; names of channels and voices are kept as those of columns are."""
    said = {
        "image": "height: ?, width: ?, channels: ?",
        "text": "vocabulary: bytes, length: ?",  # the one vocabulary that asks for nothing of the texts
        "notes": "encoding: events, low: ?, high: ?, length: ?",
        "values": "",
    }[content.column]
    if isinstance(content, MusicContent) and content.encoding == "grid":
        said = f"encoding: grid, voices: {_flow(content.voices)}, low: ?, high: ?, length: ?"
    if isinstance(content, SeriesContent):
        channels = ", ".join(f"{_flow(name)}: {{low: ?, high: ?}}" for name in content.channels)
        said = f"channels: {{{channels}}}, steps: ?, missing: ?, variable: ?, levels: ?"
    return f"{{{said}, source: public, declared_by: ?}}"


def _said(entry: Content | Column) -> dict[str, Any]:
    """What differs from the defaults, source and who declared it last."""
    said = entry.model_dump(mode="json", exclude_defaults=True, exclude={"kind", "source", "declared_by"})
    return {**said, "source": entry.source, **({"declared_by": entry.declared_by} if entry.declared_by else {})}


def _flow(value: Any) -> str:
    """A value on one line, in the YAML that every reader understands the same way."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, (int, float)):
        return repr(value)
    return _word(str(value))


def _word(text: str) -> str:
    if _PLAIN_WORD.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _nfc_keys(section: Any) -> Any:
    """The names of a series' channels are names of columns where it is read from a table."""
    if not isinstance(section, Mapping) or not isinstance(section.get("channels"), Mapping):
        return section
    return {**section, "channels": {nfc(name) if isinstance(name, str) else name: bound for name, bound in section["channels"].items()}}


def _nfc_deep(value: Any) -> Any:
    if isinstance(value, str):
        return nfc(value)
    return [_nfc_deep(item) for item in value] if isinstance(value, (list, tuple)) else value
