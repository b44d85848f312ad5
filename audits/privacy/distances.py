"""How far is one table row from another? Gower's distance (1971, doi.org/10.2307/2528823), computed exactly in blocks.

Each column gives at most 1: a number the difference of its quantiles in `pool`, so that no unit or outlier decides, a
word 1 when it differs, a missing value counts as a value of its own. The distance is the sum over columns. Whatever is
compared must stand in the pool alike (train and holdout both, or neither): a scale made from one side favours that side.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from guardrail.audits.views import LARGEST, categories, numbers, word_codes
from guardrail.vocabulary.schema import Schema

Array = NDArray[Any]
_BLOCK = 256
"""Rows at a time: 256 x 10,000 distances are 20 MB."""


class Coordinates(NamedTuple):
    numbers: Array
    """(rows, numeric columns and their missing flags) float"""
    words: Array
    """(rows, categorical columns) codes as float, -1 for missing"""


def coordinates(schema: Schema, pool: pd.DataFrame, *frames: pd.DataFrame) -> list[Coordinates]:
    """The frames as points; a column the schema orders is placed by its mid-quantile among the rows of `pool`."""
    worded = [name for name, column in schema.columns.items() if column.kind in ("categorical", "boolean")]
    numbered = [name for name in schema.columns if name not in worded]
    scales = {name: _scale(_as_numbers(pool[name], name, schema)) for name in numbered}
    return [
        Coordinates(
            numbers=_stack(
                [axis for name in numbered for axis in _place(_as_numbers(frame[name], name, schema), scales[name])], len(frame)
            ),
            words=_stack([word_codes(frame[name], name, schema) for name in worded], len(frame)),
        )
        for frame in frames
    ]


def nearest(points: Coordinates, records: Coordinates) -> tuple[Array, Array]:
    """Per point the distance to its nearest record and that record's row; the first of equals."""
    distances, rows = np.empty(len(points.numbers)), np.empty(len(points.numbers), np.int64)
    for start in range(0, len(distances), _BLOCK):
        part = slice(start, start + _BLOCK)
        apart = np.zeros((len(distances[part]), len(records.numbers)))
        if records.numbers.shape[1]:
            apart += cdist(points.numbers[part], records.numbers, "cityblock")
        if words := records.words.shape[1]:
            apart += words * cdist(points.words[part], records.words, "hamming")
        rows[part] = apart.argmin(axis=1)
        distances[part] = apart[np.arange(len(apart)), rows[part]]
    return distances, rows


def _as_numbers(cells: pd.Series[Any], name: str, schema: Schema) -> Array:
    """Numbers, days, or positions of ordered categories; NaN where missing."""
    if categories(name, schema) is None:
        return np.clip(numbers(cells), -LARGEST, LARGEST)
    codes = word_codes(cells, name, schema)
    return np.where(codes < 0, np.nan, codes)


def _scale(cells: Array) -> tuple[Array, Array]:
    """The distinct values and the mid-quantile of each."""
    values, counts = np.unique(cells[~np.isnan(cells)], return_counts=True)
    return values, (np.cumsum(counts) - counts / 2) / max(counts.sum(), 1)


def _place(cells: Array, scale: tuple[Array, Array]) -> tuple[Array, Array]:
    """Quantile and missing flag: a missing number stands in the middle and one half beside, 1/2 to 1 from every number."""
    values, quantiles = scale
    missing = np.isnan(cells)
    placed = np.interp(np.where(missing, 0.0, cells), values, quantiles) if len(values) else np.zeros(len(cells))
    return np.where(missing, 0.5, placed), missing / 2


def _stack(axes: list[Array], rows: int) -> Array:
    return np.column_stack(axes).astype(float) if axes else np.empty((rows, 0))
