"""Two ways to look at a table that several audits share: as bins, and as features for a classifier.

Bins: numbers and dates are cut at the 19 inner 20-quantiles of a reference table (train), intervals (a, b]; words go by
category; missing is a category of its own. Equal quantiles fall together, so a value that holds most of a column (a zero
in an income) is a bin by itself with what lies below it. Features: what scikit-learn's histogram gradient boosting takes
without further preparation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from guardrail.vocabulary.schema import Boolean, Categorical, Schema

Codes = NDArray[np.int64]
BINS = 20
MISSING = "(missing)"
OTHER = "(other)"
MOST_CATEGORIES = 255
"""What histogram gradient boosting can tell apart in one column."""
LEAF = 20
"""Rows in a leaf at least: the default of histogram gradient boosting."""
LARGEST = 1e150
"""Beyond it the midpoint of two numbers, or a square, may overflow; nothing real is told apart there."""


@dataclass(frozen=True)
class Binned:
    """Tables as integer codes: column j has codes 0 … sizes[j] - 1, the last of them for missing cells."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: tuple[tuple[str, ...], ...]
    """Per column one label per code."""
    codes: tuple[Codes, ...]
    """One (rows, columns) array per table given."""


def binned(frames: Sequence[pd.DataFrame], schema: Schema, reference: pd.DataFrame) -> Binned:
    """The tables' cells as bins whose edges come from `reference` alone."""
    names = tuple(schema.columns)
    coded = [_code_column([frame[name] for frame in frames], name, schema, reference[name]) for name in names]
    return Binned(
        names=names,
        sizes=tuple(len(labels) for labels, _ in coded),
        labels=tuple(labels for labels, _ in coded),
        codes=tuple(np.column_stack([codes[i] for _, codes in coded]).astype(np.int64) for i in range(len(frames))),
    )


def _code_column(
    columns: Sequence[pd.Series[Any]],
    name: str,
    schema: Schema,
    reference: pd.Series[Any],
) -> tuple[tuple[str, ...], list[Codes]]:
    """The labels of the codes, and each column's codes; missing comes last."""
    words = categories(name, schema)
    if words is not None:
        return (*words, MISSING), [_word_codes(column, words) for column in columns]
    edges = _edges(numbers(reference))
    coded = []
    for column in columns:
        values = numbers(column)
        codes = np.searchsorted(edges, values, side="left")
        coded.append(np.where(np.isnan(values), len(edges) + 1, codes).astype(np.int64))
    return (*_interval_labels(edges, dates=schema.columns[name].kind == "datetime"), MISSING), coded


def categories(name: str, schema: Schema) -> tuple[str, ...] | None:
    """The words a column can hold; None for numbers and dates."""
    column = schema.columns[name]
    if isinstance(column, Categorical):
        return column.categories
    return ("false", "true") if isinstance(column, Boolean) else None


def word_codes(column: pd.Series[Any], name: str, schema: Schema) -> Codes:
    """The position of each cell's word among the column's categories, -1 where it is missing."""
    words = categories(name, schema)
    if words is None:
        raise ValueError(f"column {name!r} holds numbers, not words")
    codes = _word_codes(column, words)
    return np.where(codes == len(words), -1, codes)


def _word_codes(column: pd.Series[Any], words: tuple[str, ...]) -> Codes:
    if isinstance(column.dtype, pd.CategoricalDtype):
        same = column.cat.categories.tolist() == list(words)
        codes = (column if same else column.cat.set_categories(list(words))).cat.codes.to_numpy(np.int64)
    else:
        codes = column.astype("boolean").astype("Int64").fillna(-1).to_numpy(np.int64)
    return np.where(codes < 0, len(words), codes)


def numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """A number or date column as floats (dates in days), NaN where missing."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        micros = column.to_numpy("datetime64[us]")
        return np.where(np.isnat(micros), np.nan, micros.astype(np.int64) / 86_400e6)
    return np.asarray(column.to_numpy(np.float64, na_value=np.nan))


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distinct inner quantiles of the finite values."""
    finite = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    return np.unique(np.quantile(finite, np.arange(1, BINS) / BINS)) if len(finite) else np.empty(0)


def _interval_labels(edges: NDArray[np.float64], *, dates: bool) -> tuple[str, ...]:
    """One label per bin; the outer ones are open, so that no extreme value is shown."""
    if not len(edges):
        return ("any",)
    texts = [str(np.datetime64(0, "s") + np.timedelta64(int(edge * 86_400), "s"))[:10] if dates else f"{edge:.6g}" for edge in edges]
    inner = [f"({a}, {b}]" for a, b in pairwise(texts)]
    return (f"up to {texts[0]}", *inner, f"above {texts[-1]}")


def features(frame: pd.DataFrame, schema: Schema, drop: Sequence[str] = (), reference: pd.DataFrame | None = None) -> pd.DataFrame:
    """The columns but `drop`, as HistGradientBoosting takes them: words as categories, dates as days, numbers as floats.

    A column of more than 255 words keeps the commonest of `reference` (the schema's first without one); the rest are one.
    Give every table of one comparison the same `reference`.
    """
    return pd.DataFrame(
        {name: _feature(frame[name], name, schema, reference) for name in schema.columns if name not in drop},
        index=pd.RangeIndex(len(frame)),
    )


def _feature(column: pd.Series[Any], name: str, schema: Schema, reference: pd.DataFrame | None) -> Any:
    words = categories(name, schema)
    if words is None:
        return np.clip(numbers(column), -LARGEST, LARGEST)
    codes = word_codes(column, name, schema)
    if len(words) > MOST_CATEGORIES:
        counts = np.zeros(len(words)) if reference is None else np.bincount(_word_codes(reference[name], words), minlength=len(words))
        kept = np.sort(np.argsort(-counts[: len(words)], kind="stable")[: MOST_CATEGORIES - 1])
        position = np.full(len(words) + 1, len(kept))
        position[kept], position[-1] = np.arange(len(kept)), -1
        codes, words = position[codes], (*(words[i] for i in kept), OTHER)
    return pd.Categorical.from_codes(codes, categories=pd.Index([str(i) for i in range(len(words))]))


def learnable(learning: pd.DataFrame) -> list[str]:
    """The features worth giving to histogram gradient boosting, which fails on a column without a single known number.

    With its leaves of 20 rows it can never split on a column of fewer known cells, so that leaving those out loses nothing.
    """
    return [str(name) for name, known in learning.notna().sum().items() if known >= LEAF]


def sample_rows(frame: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """`n` rows drawn without replacement, in random order."""
    return frame.iloc[rng.permutation(len(frame))[:n]]
