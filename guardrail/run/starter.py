"""Files to start from: a spec, the words of the card, a policy of one's own, a CI workflow, a schema drafted from a table.

Everything is prepared before anything is written, and a file that is there already is never touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

import yaml

from ..vocabulary.documents import write_atomic
from ..vocabulary.errors import SpecError, UnknownName

CONTENT = {"image": "builtin:mnist10k", "text": "builtin:moby_dick", "music": "builtin:chorales", "series": "builtin:italy_power"}
"""Modalities beside tables, each with the built-in data that its template runs on as it is."""
TEMPLATES = ("tabular", *CONTENT, "federation", "ci")


@dataclass(frozen=True)
class Table:
    """The data a spec is written for, and what its columns are for."""

    path: Path | None = None
    target: str | None = None
    sensitive: tuple[str, ...] = ()
    unit: str | None = None


def starter_files(template: str, folder: Path, table: Table = Table()) -> dict[Path, str]:
    """The content of every file of a template, by its path."""
    if template not in TEMPLATES:
        raise UnknownName.among("template", template, TEMPLATES)
    if template == "ci":
        if table != Table():
            raise SpecError("the template 'ci' takes no table: its paths stand at the top of the workflow; or: guardrail init tabular")
        return {folder / ".github" / "workflows" / "guardrail.yml": _template("workflow")}
    name = _name_for(table.path) or f"my-{template if template != 'tabular' else 'table'}"
    drafted = {folder / "schema.yaml": _drafted_schema(table.path, table, template)} if table.path else {}
    spec = _spec(template, name, table, folder)
    card = Template(_template("card")).substitute(name=name)
    return {folder / "spec.yaml": spec, **drafted, folder / "card.yaml": card, folder / "policy.yaml": _own_policy()}


def _spec(template: str, name: str, table: Table, folder: Path) -> str:
    if template == "tabular":
        return Template(_template("spec")).substitute(name=name, source=_source(table.path, folder), roles=_roles(table))
    if template == "federation" and table != Table():
        raise SpecError("the template 'federation' takes no table: name the source, or the clients their files, once it is written")
    if table.path is None and table != Table():
        raise SpecError(f"the built-in data of '{template}' bring their own roles; --target, --sensitive and --unit go with --data")
    source = _source(table.path, folder) if table.path else _quoted(CONTENT.get(template, "builtin:adult-complete"))
    schema = "schema.yaml  # what is public about the records" if table.path else "null  # built-in data bring their own"
    return Template(_template(template)).substitute(name=name, source=source, schema=f"  schema: {schema}")


def write_new(files: Mapping[Path, str]) -> None:
    """Write all of them, or none where one is there already."""
    if there := [str(path) for path in files if os.path.lexists(path)]:
        raise SpecError(f"{', '.join(there)}: there already, and nothing is overwritten; move it away or name another folder with --dir")
    for path, text in files.items():
        write_atomic(path, text)


def _template(name: str) -> str:
    return (resources.files("guardrail.run") / "templates" / f"{name}.yaml").read_text(encoding="utf-8")


def _name_for(path: Path | None) -> str:
    """A run's name from a file's: `Visits (2024).csv` gives `Visits-2024`."""
    words = re.findall(r"[A-Za-z0-9]+", path.name.partition(".")[0]) if path else []
    return "-".join(words)[:64].strip("-")


def _source(path: Path | None, folder: Path) -> str:
    return _quoted(Path(os.path.relpath(path, folder)).as_posix() if path else "data.csv")


def _roles(table: Table) -> str:
    """Where there is a schema the roles stand there, so that they stand once; else in the spec, to be edited."""
    if table.path:
        return "  # target, sensitive and unit stand in schema.yaml; said here, they override it"
    unit = f"unit: {_quoted(table.unit)}" if table.unit else "# unit: person_id"
    target = f"target: {_quoted(table.target)}" if table.target else "# target: outcome"
    sensitive = f"sensitive: [{', '.join(map(_quoted, table.sensitive))}]" if table.sensitive else "# sensitive: [sex, age_group]"
    return "\n".join(
        [
            f"  {unit}  # whom privacy protects: the column that names the person; left out: every row by itself",
            f"  {target}  # the column that models will predict; left out: no utility and no fairness audits",
            f"  {sensitive}  # columns whose groups are compared",
        ]
    )


def _drafted_schema(path: Path, table: Table, template: str) -> str:
    from ..data.modality import modality, modality_of
    from ..data.schema_file import dump_schema

    kind, wanted = modality_of(path), modality(template)  # type: ignore[arg-type]
    if kind.name != wanted.name:
        raise SpecError(f"{path} holds {kind.name} data; use: guardrail init {kind.name} --data {path}")
    frame = kind.read(path)
    _require_columns([*filter(None, (table.target, table.unit)), *table.sensitive], [str(name) for name in frame.columns])
    schema = kind.draft(frame, target=table.target, sensitive=table.sensitive, unit=table.unit or "row")
    return Template(_template("schema")).substitute(source=_quoted(path.name)) + dump_schema(schema)


def _require_columns(named: Sequence[str], columns: Sequence[str]) -> None:
    for name in named:
        if name not in columns:
            raise UnknownName.among("column", name, columns)


def _own_policy() -> str:
    """The built-in policy `release` under a name of its own, so that no verdict can be mistaken for the built-in's."""
    release = (resources.files("guardrail.policies") / "release.yaml").read_text(encoding="utf-8")
    return _template("policy") + re.sub(r"^name: release$", "name: own", release, count=1, flags=re.MULTILINE)


def _quoted(text: str) -> str:
    """A YAML string on one line, whatever a file or a column is called."""
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=2**31)).strip()
