"""Tables: rows of numbers, times, categories and truth values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ...vocabulary.content import Modality as Name
from ...vocabulary.errors import Unsupported
from ...vocabulary.schema import Schema
from ..cast import OnError, cast_rows
from ..draft import draft_schema
from ..tables import SUFFIXES, read_table, write_table
from .builtin import read_builtin
from .codec import TabularCodec


class Tabular:
    name: ClassVar[Name] = "tabular"
    samples: ClassVar[str] = "synthetic.parquet"
    floor: ClassVar[str] = "marginals"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def reads(self, path: Path) -> bool:
        return path.suffix.lower() in self.suffixes

    def read(self, path: Path, *, on_error: OnError = "fail") -> pd.DataFrame:
        return read_table(path)

    def builtin(self, facts: Mapping[str, Any], folder: Path) -> pd.DataFrame:
        return read_builtin(facts, folder)

    def draft(self, frame: pd.DataFrame, *, target: str | None, sensitive: tuple[str, ...], unit: str) -> Schema:
        return draft_schema(frame, target=target, sensitive=sensitive, unit=unit)

    def cast(self, frame: pd.DataFrame, schema: Schema, *, on_error: OnError, where: str) -> tuple[pd.DataFrame, np.ndarray]:
        return cast_rows(frame, schema, on_error=on_error, where=where)

    def pieces(self, frame: pd.DataFrame, schema: Schema, *, most: int | None) -> pd.DataFrame:
        return frame.reset_index(drop=True)

    def codec(self, schema: Schema) -> TabularCodec:
        return TabularCodec(schema)

    def write(self, frame: pd.DataFrame, path: Path, schema: Schema) -> None:
        write_table(frame, path)

    def picture(self, frame: pd.DataFrame, schema: Schema) -> bytes:
        raise Unsupported("a table is not drawn as a picture; its report has plots")


MODALITY = Tabular()
