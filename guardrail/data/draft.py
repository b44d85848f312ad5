"""A schema drafted from the records, for looking at data and for trainings without privacy. Every entry says `source: data`.

Covered: nothing. Bounds, categories and points read from records give records away; a private training refuses them
(`guardrail.data.schema_file.require_public`) until somebody declares them from what is public.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError, nearest
from ..vocabulary.schema import Boolean, Categorical, Column, Datetime, Numeric, Schema
from .cells import mapped, named, nfc
from .coders import LineCoder, coder_of
from .kinds import MICROSECONDS, floats_of, instants_of

FEW = 20
"""A target or sensitive column with at most this many distinct whole numbers holds classes, not amounts."""

_MOST_DECIMALS = 6
_ROUNDABLE = 1e9
"""Beyond it a float64 has no six decimals to count."""

_MOST_MASSES = 256
_LEAST_SHARE = 0.0005
"""Of the records that a value must have for a token of its own."""
_LEAST_RECORDS = 10
"""A value shared by fewer records than this never gets a token of its own: the token would be that record."""


def draft_schema(frame: pd.DataFrame, *, target: str | None = None, sensitive: Sequence[str] = (), unit: str = "row") -> Schema:
    """Names, kinds, bounds and categories as the records have them."""
    frame = named(frame)
    names = list(frame.columns)
    for role, name in [("target", target), *(("sensitive", name) for name in sensitive), ("unit", None if unit == "row" else unit)]:
        if name is not None and name not in names:
            raise DataError(f"{role}: no column {name!r}; {nearest(name, names) or 'there are ' + ', '.join(map(repr, names[:12]))}")
    if unit in {target, *sensitive}:
        raise DataError(f"unit {unit!r} names persons and cannot be target or sensitive")
    modelled = [name for name in names if name != unit]
    if not modelled:
        raise DataError("the table has no column to model")
    classes = {target, *sensitive}
    columns = {name: _drafted(frame[name], name, holds_classes=name in classes) for name in modelled}
    return Schema(target=target, sensitive=tuple(sensitive), unit=unit, columns=columns)


def refine(schema: Schema, frame: pd.DataFrame) -> Schema:
    """Quantile edges and point masses for numeric columns without edges, from the records: never under privacy.

    Args:
        frame: the training part, cast to `schema`.
    """
    columns = {name: _refined(entry, frame[name], name) for name, entry in schema.columns.items()}
    return schema.model_copy(update={"columns": columns})


def _drafted(column: pd.Series, name: str, *, holds_classes: bool) -> Column:
    where = f"column {name!r}"
    empty = np.array([cell is None for cell in mapped(column, where, lambda cell: True)], dtype=bool)
    said: dict[str, Any] = {"missing": bool(empty.any()) or len(column) == 0, "source": "data"}
    present = column[~empty]
    words = _words(present, where)
    if words and {word.lower() for word in words} <= {"true", "false"}:
        return Boolean(kind="boolean", **said)
    values, _ = floats_of(present, where)
    if not np.isnan(values).any() and not _is_time(present):
        distinct = np.unique(values[np.isfinite(values)] + 0.0)
        if holds_classes and 0 < len(distinct) <= FEW and (distinct == np.rint(distinct)).all():
            return Categorical(kind="categorical", categories=tuple(str(int(value)) for value in distinct), **said)
        return _number(distinct, said)
    micros, _ = instants_of(present, where)
    if len(micros) and (micros != np.iinfo(np.int64).min).all():
        return _time(micros, said)
    return Categorical(kind="categorical", categories=tuple(sorted(words)), **said)


def _words(present: pd.Series, where: str) -> Collection[str]:
    """The distinct cells as text."""
    return set(mapped(present, where, lambda cell: nfc(str(cell))))


def _is_time(present: pd.Series) -> bool:
    return bool(pd.api.types.is_datetime64_any_dtype(present.dtype))


def _number(distinct: np.ndarray, said: dict[str, Any]) -> Numeric:
    """Infinite cells set no bound: they contradict the draft, and are reported as such."""
    if not len(distinct):
        return Numeric(kind="numeric", low=0, high=0, **said)
    low, high = float(distinct[0]), float(distinct[-1])
    if (distinct == np.rint(distinct)).all() and max(abs(low), abs(high)) <= 2**53:
        return Numeric(kind="integer", low=low, high=high, **said)
    decimals = None
    if max(abs(low), abs(high)) < _ROUNDABLE:
        decimals = next((d for d in range(1, _MOST_DECIMALS + 1) if (np.round(distinct, d) == distinct).all()), None)
    return Numeric(kind="numeric", low=low, high=high, decimals=decimals, **said)


def _time(micros: np.ndarray, said: dict[str, Any]) -> Datetime:
    by_day = bool((micros % MICROSECONDS["day"] == 0).all())
    low, high = np.array([micros.min(), micros.max()]).view("datetime64[us]").astype("datetime64[D]" if by_day else "datetime64[s]")
    return Datetime(kind="datetime", low=str(low), high=str(high), resolution="day" if by_day else "second", **said)


def _refined(entry: Column, column: pd.Series, name: str) -> Column:
    if not isinstance(entry, Numeric) or entry.edges is not None:
        return entry
    coder = coder_of(name, entry)
    if isinstance(coder, LineCoder) and coder.line.cells == _grid_size(entry) - len(coder.line.points):
        return entry  # every value has its own token already
    values = column.dropna().to_numpy(dtype=float)
    points = sorted({*entry.points, *_masses(values)})
    rest = values[~np.isin(values, points)]
    edges = np.unique(np.quantile(rest, np.linspace(0, 1, entry.bins + 1)[1:-1])) if len(rest) else np.array([])
    inner = tuple(float(edge) for edge in edges if entry.low < edge < entry.high)
    return entry.model_copy(update={"points": tuple(points), "edges": inner, "source": "data"})


def _masses(values: np.ndarray) -> list[float]:
    """Values that come back: amounts that a rule or a form fixes, and that evenly drawn numbers would miss."""
    distinct, counts = np.unique(values, return_counts=True)
    often = np.argsort(-counts, kind="stable")[:_MOST_MASSES]
    kept = often[counts[often] >= max(_LEAST_RECORDS, _LEAST_SHARE * len(values))]
    return sorted(float(value) for value in distinct[kept])


def _grid_size(entry: Numeric) -> float:
    """How many values the column can take."""
    if entry.kind == "numeric" and entry.decimals is None:
        return math.inf
    return (entry.high - entry.low) * (1 if entry.kind == "integer" else 10 ** (entry.decimals or 0)) + 1
