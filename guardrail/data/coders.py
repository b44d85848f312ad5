"""One column between its cast dtype and tokens: missing first where cells may be missing, then points, then cells or categories."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError, SchemaError
from ..vocabulary.schema import Boolean, Categorical, Column, Datetime, Numeric
from .kinds import MICROSECONDS, datetime_bounds, dtype_of
from .line import LARGEST_GRID, Line, Scale, cut_continuum, cut_grid

MAX_TOKENS = 10_000
"""More tokens than this in one column are no vocabulary but a list of names."""


class Coder(ABC):
    """Tokens of one column; `line` where its values are ordered numbers and not a choice."""

    line: Line | None = None

    def __init__(self, name: str, entry: Column, size: int) -> None:
        self.name, self.entry = name, entry
        self.offset = int(entry.missing)
        self.size = self.offset + size
        if self.size > MAX_TOKENS:
            raise SchemaError(
                f"column {name!r} would need {self.size} tokens and {MAX_TOKENS} is the limit; "
                "drop the column (names and free text identify people), or group its values"
            )

    def encode(self, column: pd.Series) -> np.ndarray:
        """(rows,) int64 tokens of a cast column."""
        if column.dtype != dtype_of(self.entry):
            raise DataError(f"column {self.name!r} has dtype {column.dtype}, not that of the schema; cast the table first")
        missing = column.isna().to_numpy()
        if missing.any() and not self.entry.missing:
            raise DataError(f"column {self.name!r} has missing cells, and the schema declares none (missing: true would allow them)")
        tokens = np.zeros(len(column), dtype=np.int64)
        tokens[~missing] = self.offset + self._encode(column[~missing])
        return tokens

    def decode(self, tokens: np.ndarray, rng: np.random.Generator) -> pd.Series:
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self.size:
            raise DataError(f"column {self.name!r}: tokens go from 0 to {self.size - 1}, met {tokens.min()} to {tokens.max()}")
        missing = tokens < self.offset
        return self.filled(missing, self._decode(tokens[~missing] - self.offset, rng))

    def filled(self, missing: np.ndarray, present: pd.Series) -> pd.Series:
        """The whole column from the cells that are there."""
        present.index = pd.Index(np.flatnonzero(~missing))
        return present.reindex(pd.RangeIndex(len(missing))).astype(dtype_of(self.entry))

    @abstractmethod
    def _encode(self, present: pd.Series) -> np.ndarray: ...

    @abstractmethod
    def _decode(self, tokens: np.ndarray, rng: np.random.Generator) -> pd.Series: ...


class LineCoder(Coder):
    """Numbers and times: values of the column to and from coordinates on the line."""

    line: Line

    def __init__(self, name: str, entry: Column, line: Line) -> None:
        super().__init__(name, entry, len(line.points) + line.cells)
        self.line = line

    @abstractmethod
    def coordinates(self, present: pd.Series) -> np.ndarray: ...

    @abstractmethod
    def values(self, coordinates: np.ndarray) -> pd.Series: ...

    def _encode(self, present: pd.Series) -> np.ndarray:
        return self.line.encode(self.coordinates(present))

    def _decode(self, tokens: np.ndarray, rng: np.random.Generator) -> pd.Series:
        return self.values(self.line.draw(tokens, rng))


class GridCoder(LineCoder):
    """Whole numbers, and numbers with a fixed count of decimals (`per_unit` steps to the unit)."""

    entry: Numeric

    def __init__(self, name: str, entry: Numeric, per_unit: int) -> None:
        self.per_unit = per_unit
        first, last = _grid_ends(entry, per_unit)
        points = [round(point * per_unit) for point in entry.points]
        edges = None if entry.edges is None else [edge * per_unit for edge in entry.edges]
        super().__init__(name, entry, cut_grid(first, last, bins=entry.bins, spacing=entry.spacing, points=points, edges=edges))

    def coordinates(self, present: pd.Series) -> np.ndarray:
        return np.asarray(np.rint(present.to_numpy(dtype=float) * self.per_unit), dtype=np.int64)

    def values(self, coordinates: np.ndarray) -> pd.Series:
        return pd.Series(coordinates / self.per_unit if self.entry.kind == "numeric" else coordinates)


class ContinuumCoder(LineCoder):
    entry: Numeric

    def __init__(self, name: str, entry: Numeric) -> None:
        scale = Scale(entry.low, entry.high, entry.spacing)
        super().__init__(name, entry, cut_continuum(scale, bins=entry.bins, points=entry.points, edges=entry.edges))

    def coordinates(self, present: pd.Series) -> np.ndarray:
        return np.clip(present.to_numpy(dtype=float) + 0.0, self.entry.low, self.entry.high)

    def values(self, coordinates: np.ndarray) -> pd.Series:
        return pd.Series(coordinates)


class DatetimeCoder(LineCoder):
    """Times as whole steps (days or seconds) since 1970."""

    def __init__(self, name: str, entry: Datetime) -> None:
        self._step = MICROSECONDS[entry.resolution]
        low, high = datetime_bounds(entry)
        super().__init__(name, entry, cut_grid(low // self._step, high // self._step, bins=entry.bins))

    def coordinates(self, present: pd.Series) -> np.ndarray:
        return present.to_numpy().astype("datetime64[us]").view(np.int64) // self._step

    def values(self, coordinates: np.ndarray) -> pd.Series:
        return pd.Series((coordinates * self._step).astype(np.int64).view("datetime64[us]"))


class CategoryCoder(Coder):
    entry: Categorical

    def __init__(self, name: str, entry: Categorical) -> None:
        super().__init__(name, entry, len(entry.categories))

    def _encode(self, present: pd.Series) -> np.ndarray:
        return present.cat.codes.to_numpy().astype(np.int64)

    def _decode(self, tokens: np.ndarray, rng: np.random.Generator) -> pd.Series:
        return pd.Series(pd.Categorical.from_codes(tokens, dtype=dtype_of(self.entry)))


class BooleanCoder(Coder):
    def __init__(self, name: str, entry: Boolean) -> None:
        super().__init__(name, entry, 2)

    def _encode(self, present: pd.Series) -> np.ndarray:
        return present.to_numpy(dtype=np.int64)

    def _decode(self, tokens: np.ndarray, rng: np.random.Generator) -> pd.Series:
        return pd.Series(tokens == 1)


def coder_of(name: str, entry: Column) -> Coder:
    if isinstance(entry, Categorical):
        return CategoryCoder(name, entry)
    if isinstance(entry, Boolean):
        return BooleanCoder(name, entry)
    if isinstance(entry, Datetime):
        return DatetimeCoder(name, entry)
    per_unit = _steps_per_unit(name, entry)
    return GridCoder(name, entry, per_unit) if per_unit else ContinuumCoder(name, entry)


def _steps_per_unit(name: str, entry: Numeric) -> int:
    """1 for whole numbers, 100 for two decimals, 0 where the values lie on no usable grid."""
    if entry.kind == "numeric" and entry.decimals is None:
        return 0
    steps = int(10 ** (entry.decimals or 0)) if entry.kind == "numeric" else 1
    largest = max(abs(entry.low), abs(entry.high))
    if largest >= LARGEST_GRID / steps or _grid_ends(entry, steps)[0] > _grid_ends(entry, steps)[1]:
        return 0
    for point in entry.points:
        if not math.isclose(point * steps, round(point * steps), abs_tol=1e-6):
            raise SchemaError(f"column {name!r}: point {point!r} has more digits than decimals: {entry.decimals}; raise decimals")
    return steps


def _grid_ends(entry: Numeric, steps: int) -> tuple[int, int]:
    return math.ceil(entry.low * steps - 1e-6), math.floor(entry.high * steps + 1e-6)
