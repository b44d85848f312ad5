"""Built-in data: one YAML file per data set, with the facts of its files and a public schema written by hand.

`NAME` is the whole data set; `NAME-complete` the rows of a table without a missing cell, where its file publishes their number.
Licences: DATA-LICENCES.md in this folder.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ...vocabulary.documents import read_yaml
from ...vocabulary.errors import UnknownName
from ...vocabulary.schema import Schema
from ..modality import modality
from ..schema_file import parse_schema

_HERE = Path(__file__).parent
_COMPLETE = "-complete"


def names() -> tuple[str, ...]:
    """What `load` knows."""
    found = {path.stem: read_yaml(path) for path in sorted(_HERE.glob("*.yaml"))}
    return tuple(sorted([*found, *(name + _COMPLETE for name, facts in found.items() if "complete_records" in facts)]))


def load(name: str) -> tuple[pd.DataFrame, Schema]:
    """The raw records and their public schema."""
    if name not in names():
        raise UnknownName.among("built-in data set", name, names())
    path = _HERE / f"{name.removesuffix(_COMPLETE)}.yaml"
    facts = read_yaml(path)
    schema = parse_schema(facts["schema"], where=path.name)
    frame = modality(schema.modality).builtin(facts, _HERE)
    if not name.endswith(_COMPLETE):
        return frame, schema
    columns = {column: entry.model_copy(update={"missing": False}) for column, entry in schema.columns.items()}
    return frame.dropna(ignore_index=True), schema.model_copy(update={"records": facts["complete_records"], "columns": columns})
