"""Time series: measured quantities step by step, some not measured, some series shorter, and what is known of each beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ...vocabulary.content import Channel, SeriesContent
from ...vocabulary.content import Modality as Name
from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ..beside import cast_content, draft_beside
from ..cast import OnError
from .builtin import read_builtin
from .codec import SeriesCodec
from .cut import cut, judged
from .files import SUFFIXES, holds_series, read_series, write_series
from .picture import curves

_LONGEST = 8192


class Series:
    name: ClassVar[Name] = "series"
    samples: ClassVar[str] = "synthetic.npz"
    floor: ClassVar[str] = "markov"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def reads(self, path: Path) -> bool:
        return holds_series(path)

    def read(self, path: Path, *, on_error: str = "fail") -> pd.DataFrame:
        return read_series(path, on_error=on_error)

    def builtin(self, facts: Mapping[str, Any], folder: Path) -> pd.DataFrame:
        return read_builtin(facts)

    def draft(self, frame: pd.DataFrame, *, target: str | None, sensitive: tuple[str, ...], unit: str) -> Schema:
        """Bounds, length, whether values are missing: as the records have them."""
        cells = list(frame["values"])
        if not cells:
            raise DataError("there is no series to draft a schema from")
        lengths = {len(cell) for cell in cells}
        content = SeriesContent(
            channels=_channels(cells, frame.attrs.get("channels")),
            steps=min(max(2, *lengths), _LONGEST),
            missing=any(np.isnan(cell).any() for cell in cells),
            variable=len(lengths) > 1 or max(lengths) < 2,
            source="data",
        )
        return Schema(modality="series", series=content, **draft_beside(frame, "values", target=target, sensitive=sensitive, unit=unit))

    def cast(self, frame: pd.DataFrame, schema: Schema, *, on_error: OnError, where: str) -> tuple[pd.DataFrame, np.ndarray]:
        """`clip` moves values to the nearest bound. A series longer than the schema's stays whole until it is cut into pieces."""
        assert schema.series is not None  # noqa: S101 - the schema of series
        content = schema.series
        return cast_content(frame, schema, lambda cell: judged(cell, content, clip=on_error == "clip"), on_error=on_error, where=where)

    def pieces(self, frame: pd.DataFrame, schema: Schema, *, most: int | None) -> pd.DataFrame:
        assert schema.series is not None  # noqa: S101 - the schema of series
        return cut(frame, schema.series, most=most)

    def codec(self, schema: Schema) -> SeriesCodec:
        return SeriesCodec(schema)

    def write(self, frame: pd.DataFrame, path: Path, schema: Schema) -> None:
        write_series(frame, path, schema)

    def picture(self, frame: pd.DataFrame, schema: Schema) -> bytes:
        return curves(frame, schema)


def _channels(cells: list[np.ndarray], names: list[str] | None) -> dict[str, Channel]:
    counts = {cell.shape[1] for cell in cells}
    if len(counts) > 1:
        raise DataError(f"some series have {min(counts)} channels and some {max(counts)}; all need the same")
    values = np.concatenate(cells)
    found = {}
    for i, name in enumerate(names or [f"channel {i + 1}" for i in range(values.shape[1])]):
        finite = values[np.isfinite(values[:, i]), i]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        found[name] = Channel(low=low, high=high) if low < high else Channel(low=low - 0.5, high=high + 0.5)
    return found


MODALITY = Series()
