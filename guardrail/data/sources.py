"""Where a spec's data come from: `builtin:NAME`, or a file beside the spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..vocabulary.errors import DataError
from ..vocabulary.schema import Schema
from . import builtin
from .cast import OnError
from .modality import Modality, modality, modality_of

PREFIX = "builtin:"


@dataclass(frozen=True)
class Source:
    frame: pd.DataFrame
    """Raw, as read."""
    modality: Modality
    schema: Schema | None
    """The public schema that built-in data bring; files bring none."""
    name: str


def open_source(source: str, base: Path, *, schema: Schema | None = None, on_error: OnError = "fail") -> Source:
    """The raw records of a source.

    Args:
        base: the folder that relative paths start from.
        schema: what the reader already knows of the records; a table may hold series, one row per step.
    """
    if source.startswith(PREFIX):
        name = source.removeprefix(PREFIX)
        frame, own = builtin.load(name)
        return Source(frame, modality(own.modality), own, name)
    path = base / Path(source).expanduser()
    kind = modality_of(path)
    frame = kind.read(path, on_error=on_error)
    if schema is not None and schema.series is not None and kind.name == "tabular":
        from .series.files import long_table

        frame, kind = long_table(frame, schema), modality("series")
    if schema is not None and schema.modality != kind.name:
        raise DataError(f"{source}: holds {kind.name} data, and the schema is for {schema.modality}; name the schema that belongs to it")
    return Source(frame, kind, None, path.stem)
