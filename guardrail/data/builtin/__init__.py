"""Built-in data: one YAML file per data set, with the facts of its files and a public schema written by hand.

`NAME` is the whole data set; `NAME-complete` its rows without a missing cell, where the file publishes their number.
Licences: DATA-LICENCES.md in this folder.
"""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import pandas as pd

from ...vocabulary.documents import read_yaml
from ...vocabulary.errors import UnknownName
from ...vocabulary.schema import Numeric, Schema
from ..csv_text import parse_csv
from ..kinds import dtype_of, floats_of
from ..schema_file import parse_schema

_HERE = Path(__file__).parent
_COMPLETE = "-complete"


def names() -> tuple[str, ...]:
    """What `load` knows."""
    found = {path.stem: read_yaml(path) for path in sorted(_HERE.glob("*.yaml"))}
    return tuple(sorted([*found, *(name + _COMPLETE for name, facts in found.items() if "complete_records" in facts)]))


def load(name: str) -> tuple[pd.DataFrame, Schema]:
    """The raw table and its public schema."""
    if name not in names():
        raise UnknownName.among("built-in data set", name, names())
    path = _HERE / f"{name.removesuffix(_COMPLETE)}.yaml"
    facts = read_yaml(path)
    schema = parse_schema(facts["schema"], where=path.name)
    parts = [_part(_HERE / file, facts, list(schema.columns)) for file in facts["files"]]
    frame = _with_numbers(pd.concat(parts, ignore_index=True), schema)
    if not name.endswith(_COMPLETE):
        return frame, schema
    columns = {column: entry.model_copy(update={"missing": False}) for column, entry in schema.columns.items()}
    return frame.dropna(ignore_index=True), schema.model_copy(update={"records": facts["complete_records"], "columns": columns})


def _with_numbers(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Numbers as numbers, for people who compute with them; which columns those are says the schema."""
    numbers = {name: dtype_of(entry) for name, entry in schema.columns.items() if isinstance(entry, Numeric)}
    return frame.assign(**{name: pd.Series(floats_of(frame[name], name)[0]).astype(kind) for name, kind in numbers.items()})


def _part(path: Path, facts: dict[str, Any], columns: list[str]) -> pd.DataFrame:
    lines = lzma.decompress(path.read_bytes()).decode().splitlines()
    kept = [line for line in lines if line and not line.startswith(facts["skip_lines_from"])]
    text = "\n".join(line.removesuffix(facts["strip_after_label"]).replace(", ", ",") for line in kept)
    return parse_csv(text.encode(), path.name, names=columns)
