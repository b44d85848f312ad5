"""Images, texts, melodies and series as plain feature vectors, for classifiers that need no neural network.

Deliberately simple and fixed: pixels on a coarse grid, hashed character trigrams, pitches with their classes and steps,
values with their differences. A classifier on them is a yardstick that is the same for every generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer

from guardrail.vocabulary.content import Modality
from guardrail.vocabulary.schema import Schema

Features = NDArray[np.float64]
GRID = 16
"""Pixels a side at most: blocks of a larger image are averaged."""
STEPS = 64
"""Points in time at most."""
PITCHES = 128


def content_features(frame: pd.DataFrame, schema: Schema) -> Features:
    """(records, features) of the content alone; what is known beside it has no part."""
    if schema.content is None:
        raise ValueError("a table has columns and no content")
    return _OF[schema.modality](frame[schema.content.column])


def _images(cells: pd.Series) -> Features:
    return np.stack([_coarse(np.asarray(cell, dtype=float)).ravel() / 255 for cell in cells])


def _coarse(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of blocks, so that at most GRID x GRID are left."""
    for axis in (0, 1):
        parts = np.array_split(np.arange(image.shape[axis]), min(GRID, image.shape[axis]))
        image = np.stack([image.take(part, axis=axis).mean(axis=axis) for part in parts], axis=axis)
    return image


def _texts(cells: pd.Series) -> Features:
    hashed = HashingVectorizer(analyzer="char_wb", ngram_range=(1, 3), n_features=1024, alternate_sign=False, norm="l2")
    return np.asarray(hashed.transform([str(cell) for cell in cells]).toarray(), dtype=float)


def _melodies(cells: pd.Series) -> Features:
    return np.stack([_melody(np.asarray(cell)) for cell in cells])


def _melody(notes: NDArray[np.int64]) -> Features:
    """Shares of pitches and of pitch classes, and of the steps of the highest voice."""
    grid = notes[:, 2:3] if notes.ndim == 2 and notes.shape[1] == 4 and (notes[:, :2] > PITCHES).any() else notes
    sounding = grid[(grid > 0) & (grid < PITCHES)].astype(int)
    pitches = np.bincount(sounding, minlength=PITCHES)[:PITCHES] / max(1, len(sounding))
    classes = np.bincount(sounding % 12, minlength=12) / max(1, len(sounding))
    line = grid[grid[:, 0] > 0, 0].astype(int) if len(grid) else np.zeros(0, dtype=int)
    moves = np.clip(np.diff(line), -12, 12) + 12
    return np.concatenate([pitches, classes, np.bincount(moves, minlength=25) / max(1, len(moves))])


def _series(cells: pd.Series) -> Features:
    width = max(np.asarray(cell).shape[-1] if np.asarray(cell).ndim > 1 else 1 for cell in cells)
    return np.stack([_curve(np.asarray(cell, dtype=float), width) for cell in cells])


def _curve(values: NDArray[np.float64], width: int) -> Features:
    """Every channel at evenly spread points, missing values filled by the channel's mean, with its length."""
    values = values.reshape(len(values), width)
    means = np.array([column[np.isfinite(column)].mean() if np.isfinite(column).any() else 0.0 for column in values.T])
    filled = np.where(np.isfinite(values), values, means)
    places = np.linspace(0, 1, STEPS)
    points = [np.interp(places, np.linspace(0, 1, max(2, len(filled))), np.resize(column, max(2, len(filled)))) for column in filled.T]
    return np.concatenate([*points, [float(len(values))]])


_OF: dict[Modality, Callable[[pd.Series], Features]] = {"image": _images, "text": _texts, "music": _melodies, "series": _series}
