"""Schema files that people edit: one column per line, its source in sight; and the refusal of what was read from the records.

Covered: bounds, categories, points and edges that came out of the records never reach a private training, nor do those
that nobody declared.
Not covered: whether what somebody declared public is. The card names who declared it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..vocabulary.documents import parse_yaml, read_json, read_text
from ..vocabulary.errors import PrivacyRefused, SchemaError
from ..vocabulary.frozen import parse
from ..vocabulary.schema import Column, Schema
from .cells import nfc

_PLAIN_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_NOT_PUBLIC = {
    "data": "was read from the records, and bounds or categories taken from records give them away",
    "private-paid": "is marked private-paid, but nothing measured it under privacy and paid for it, so the claim rests on nothing",
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
    if not isinstance(document, Mapping) or not isinstance(document.get("columns"), Mapping):
        raise SchemaError(f"{where}: not a schema; it needs `columns:` with one entry per column (see `guardrail schema DATA`)")
    columns: dict[str, Any] = {}
    for name, entry in document["columns"].items():
        if not isinstance(name, str):
            raise SchemaError(f"{where}: column {name!r} must be written in quotes, or YAML reads it as something else than a name")
        if nfc(name) in columns:
            raise SchemaError(f"{where}: column {name!r} is listed twice, in two Unicode spellings; keep one")
        columns[nfc(name)] = entry
    roles = {key: _nfc_deep(document[key]) for key in ("target", "sensitive", "unit", "ignore") if key in document}
    return parse(Schema, {**document, **roles, "columns": columns}, where=where, error=SchemaError)


def dump_schema(schema: Schema) -> str:
    """YAML that `load_schema` reads back to the same schema."""
    document = schema.model_dump(mode="json", exclude_defaults=True, exclude={"columns", "modality", "declared_by"})
    asked = "" if schema.declared_by else "  # who stands for the entries marked public: a document and its version, a person"
    who = f"declared_by: {_flow(schema.declared_by)}{asked}"
    lines = ["modality: tabular", who, *(f"{key}: {_flow(value)}" for key, value in document.items()), "columns:"]
    lines += [f"  {_flow(name)}: {_flow(_entry(column))}" for name, column in schema.columns.items()]
    return "\n".join(lines) + "\n"


def require_public(schema: Schema) -> None:
    """Refuse a schema with entries that are not public, or that nobody declared, and print the lines that would make it so."""
    for source, fault in _NOT_PUBLIC.items():
        if found := [name for name, column in schema.columns.items() if column.source == source]:
            raise PrivacyRefused(f"the schema of {_counted(found, schema)} {fault}.\n{_to_declare(found, schema)}")
    if unnamed := [name for name, column in schema.columns.items() if not (column.declared_by or schema.declared_by).strip()]:
        raise PrivacyRefused(
            f"the schema of {_counted(unnamed, schema)} is marked public, but nobody is named who declared it: "
            f"{', '.join(map(repr, unnamed[:8]))}{' …' if len(unnamed) > 8 else ''}. Privacy rests on these entries, so somebody has to "
            "stand for them.\nFill in this line at the top of the schema, for all of them (or declared_by: in the entry of each column):\n"
            "declared_by: ?"
        )


def _counted(names: list[str], schema: Schema) -> str:
    return f"{len(names)} of {len(schema.columns)} columns" if len(schema.columns) > 1 else "the column"


def _to_declare(names: list[str], schema: Schema) -> str:
    lines = "\n".join(f"  {_flow(name)}: {_blank(schema.columns[name])}" for name in names)
    return (
        "For a private training declare them from what is public (a data dictionary, a form, the law), say who declares it,\n"
        f"and put these lines, with every ? filled in, under `columns:` of the schema file:\n{lines}"
    )


def refuse_missing_schema(frame: pd.DataFrame, *, unit: str = "row") -> None:
    """A private training without a schema: names and kinds to start from, no value of any record."""
    from .draft import draft_schema

    require_public(draft_schema(frame, unit=unit))


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


def _entry(column: Column) -> dict[str, Any]:
    """What differs from the defaults, kind first and source always."""
    said = column.model_dump(mode="json", exclude_defaults=True)
    said.pop("source", None)
    who = said.pop("declared_by", None)
    said.pop("kind", None)
    return {"kind": column.kind, **said, "source": column.source, **({"declared_by": who} if who else {})}


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


def _nfc_deep(value: Any) -> Any:
    if isinstance(value, str):
        return nfc(value)
    return [_nfc_deep(item) for item in value] if isinstance(value, (list, tuple)) else value
