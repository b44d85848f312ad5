"""Single series: whether one obeys a schema, and long ones cut into pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ...vocabulary.content import SeriesContent
from ...vocabulary.errors import DataError
from ..arrays import as_column, repeated


def judged(cell: Any, content: SeriesContent, *, clip: bool) -> np.ndarray:
    """(steps, channels) float64 that obeys the schema but for being too long; or a DataError that says what it contradicts."""
    if not isinstance(cell, np.ndarray) or cell.dtype.kind not in "fiu":
        met = f"an array of {cell.dtype}" if isinstance(cell, np.ndarray) else type(cell).__name__
        raise DataError(f"{met} is no series; expected an array of numbers (steps, channels)")
    values = (cell[:, None] if cell.ndim == 1 else cell).astype(np.float64)
    names = list(content.channels)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise DataError(f"an array of shape {cell.shape}; expected (steps, {len(names)}), one column for each channel of the schema")
    if not len(values) or (len(values) < content.steps and not content.variable):
        least = "at least 1" if content.variable else f"{content.steps} (variable: true in the schema allows shorter series)"
        raise DataError(f"{len(values)} steps; expected {least}")
    empty = np.isnan(values)
    if empty.any() and not content.missing:
        step, channel = np.argwhere(empty)[0]
        raise DataError(f"step {step + 1}, channel {names[channel]!r}: a missing value (missing: true in the schema allows them)")
    low, high = bounds(content)
    nearby = np.clip(values, low, high) + 0.0
    if not clip and (wrong := ~empty & (nearby != values)).any():
        step, channel = np.argwhere(wrong)[0]
        allowed = f"[{low[channel]:g}, {high[channel]:g}]"
        raise DataError(f"step {step + 1}, channel {names[channel]!r}: {values[step, channel]:g}; expected a number in {allowed}")
    return nearby


def bounds(content: SeriesContent) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of every channel."""
    channels = content.channels.values()
    return np.array([channel.low for channel in channels]), np.array([channel.high for channel in channels])


def cut(frame: pd.DataFrame, content: SeriesContent, *, most: int | None) -> pd.DataFrame:
    """A long series becomes several rows of `steps` steps; what is left over is kept only where series may be shorter."""
    if all(len(cell) <= content.steps for cell in frame["values"]):
        return frame.reset_index(drop=True)
    parts = []
    for cell in frame["values"]:
        pieces = [cell[start : start + content.steps] for start in range(0, len(cell), content.steps)]
        parts.append((pieces if content.variable else [piece for piece in pieces if len(piece) == content.steps])[:most])
    return repeated(frame, [len(part) for part in parts], "values", as_column([piece for part in parts for piece in part]))
