"""Where a spec's data come from: `builtin:NAME`, or a file beside the spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
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


def open_folder(source: str, base: Path, *, schema: Schema | None = None, on_error: OnError = "fail") -> Source:
    """The raw records of a folder with one file for each client of a federation, in the order of their names; `frame.attrs["files"]`
    says which file each row is of."""
    folder = base / Path(source).expanduser()
    if source.startswith(PREFIX) or not folder.is_dir():
        raise DataError(f"{source}: federation.partition files needs a folder that holds one file for each client")
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not paths:
        raise DataError(f"{source}: the folder is empty; it should hold one file for each client")
    parts = [open_source(str(path.resolve()), base, schema=schema, on_error=on_error) for path in paths]
    kinds = sorted({part.modality.name for part in parts})
    if len(kinds) > 1:
        raise DataError(f"{source}: the files hold different things ({', '.join(kinds)}); all clients must have records of one kind")
    for path, part in zip(paths, parts, strict=True):
        if list(part.frame.columns) != list(parts[0].frame.columns):
            raise DataError(f"{path.name} has other columns than {paths[0].name}: all clients must have the same")
    frame = pd.concat([part.frame for part in parts], ignore_index=True)
    frame.attrs["files"] = np.repeat(np.arange(len(parts)), [len(part.frame) for part in parts])
    return Source(frame, parts[0].modality, None, folder.name)


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
