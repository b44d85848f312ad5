"""Where a spec's data come from: `builtin:NAME`, or a file beside the spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..vocabulary.schema import Schema
from . import builtin
from .tables import read_table

PREFIX = "builtin:"


@dataclass(frozen=True)
class Source:
    frame: pd.DataFrame
    """Raw, as read."""
    schema: Schema | None
    """The public schema that built-in data bring; files bring none."""
    name: str


def open_source(source: str, base: Path) -> Source:
    """Args: base: the folder that relative paths start from."""
    if source.startswith(PREFIX):
        name = source.removeprefix(PREFIX)
        return Source(*builtin.load(name), name)
    path = base / Path(source).expanduser()
    return Source(read_table(path), None, path.stem)
