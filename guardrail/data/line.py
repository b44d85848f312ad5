"""A public interval of numbers cut into points, which have a token of their own, and cells, which share one among many values.

Two lines: a `Grid` of equally spaced values (whole numbers, cents, days), where cells hold a known number of values and a
drawn value is always one of the grid; and a `Continuum` of floats. What is drawn from a cell is encoded as that cell
again, never lies outside the bounds, and is never one of the points. Built from the schema alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

OWN_TOKENS = 128
"""Up to this many grid values, each has its own token: no detail is lost where none needs to be."""

LARGEST_GRID = 2**52
Spacing = Literal["linear", "geometric"]


@dataclass(frozen=True)
class Scale:
    """[low, high] to [0, 1], evenly or by ratio. Where low <= 0, evenly near 0 and by ratio beyond `step` (asinh)."""

    low: float
    high: float
    spacing: Spacing = "linear"
    step: float = 0.0

    def unit(self, values: np.ndarray) -> np.ndarray:
        low, high = self._curved(np.array([self.low, self.high]))
        if not high > low:
            return np.full(len(values), 0.5)
        return np.asarray(np.clip((self._curved(values) / 2 - low / 2) / (high / 2 - low / 2), 0, 1))  # halved: 1e308 - -1e308 overflows

    def values(self, units: np.ndarray) -> np.ndarray:
        low, high = self._curved(np.array([self.low, self.high]))
        curved = low * (1 - units) + high * units
        if self.spacing == "geometric":
            curved = np.exp(curved) if self.low > 0 else self._step() * np.sinh(curved)
        return np.asarray(np.clip(curved, self.low, self.high))

    def _curved(self, values: np.ndarray) -> np.ndarray:
        if self.spacing == "linear":
            return values
        return np.asarray(np.log(values) if self.low > 0 else np.arcsinh(values / self._step()))

    def _step(self) -> float:
        return max(self.step, max(abs(self.low), abs(self.high)) / 1000, math.ulp(0.0))


class Line(Protocol):
    """Tokens 0 … points-1 are the points in ascending order, then come the cells."""

    points: np.ndarray
    cells: int

    def encode(self, values: np.ndarray) -> np.ndarray: ...

    def draw(self, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray: ...

    def unit(self, values: np.ndarray) -> np.ndarray: ...

    def from_unit(self, units: np.ndarray) -> np.ndarray:
        """The value at each place of [0, 1]; never a point, as long as there is anything else."""
        ...


class Grid:
    """The whole numbers from `first` to `last`; `starts` are the first values of the cells."""

    def __init__(self, first: int, last: int, *, points: Sequence[int], starts: Sequence[int] | np.ndarray, scale: Scale) -> None:
        self.first, self.last, self.scale = first, last, scale
        self.points = np.unique(np.array(points, dtype=np.int64))
        starts = np.unique(np.append(np.asarray(starts, dtype=np.int64), first))
        stops = np.append(starts[1:], last + 1)
        free = stops - starts - (np.searchsorted(self.points, stops) - np.searchsorted(self.points, starts))
        self._starts = starts[free > 0]
        self._free = free[free > 0]
        self.cells = len(self._starts)

    def encode(self, values: np.ndarray) -> np.ndarray:
        values = np.clip(values, self.first, self.last)
        tokens = len(self.points) + np.maximum(np.searchsorted(self._starts, values, side="right") - 1, 0)
        return _with_points(tokens, values, self.points)

    def draw(self, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        values = np.empty(len(tokens), dtype=np.int64)
        is_point = tokens < len(self.points)
        values[is_point] = self.points[tokens[is_point]]
        cell = tokens[~is_point] - len(self.points)
        starts = self._starts[cell]
        drawn = starts + rng.integers(0, self._free[cell])
        for point in self.points:  # ascending: step over each point of the own cell
            drawn += (drawn >= point) & (point >= starts)
        values[~is_point] = drawn
        return values

    def unit(self, values: np.ndarray) -> np.ndarray:
        return self.scale.unit(values.astype(float))

    def from_unit(self, units: np.ndarray) -> np.ndarray:
        values = np.clip(np.rint(self.scale.values(units)), self.first, self.last).astype(np.int64)
        free = self.last - self.first + 1 - len(self.points)
        rank = np.minimum(values - self.first - np.searchsorted(self.points, values), free - 1)  # among the values that are no point
        values = np.asarray(self.first + rank)
        for point in self.points:
            values += values >= point
        return values


class Continuum:
    """Every float in [low, high]; `edges` are the inner edges of the cells, each the start of the next one."""

    def __init__(self, scale: Scale, *, points: Sequence[float], edges: Sequence[float] | np.ndarray) -> None:
        self.scale = scale
        self.points = np.unique(np.array(points, dtype=float) + 0.0)
        inner = np.unique(np.asarray(edges, dtype=float) + 0.0)
        self._inner = inner[(inner > scale.low) & (inner < scale.high)]
        self._starts = np.append(scale.low, self._inner)
        self._lasts = np.append(np.nextafter(self._inner, -np.inf), scale.high)
        self.cells = 0 if scale.low == scale.high and len(self.points) else len(self._starts)

    def encode(self, values: np.ndarray) -> np.ndarray:
        tokens = len(self.points) + np.searchsorted(self._inner, values, side="right")
        return _with_points(tokens, values, self.points)

    def draw(self, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        values = np.empty(len(tokens))
        is_point = tokens < len(self.points)
        values[is_point] = self.points[tokens[is_point]]
        cell = tokens[~is_point] - len(self.points)
        low, high = self._starts[cell], self._lasts[cell]
        share = rng.random(len(cell))
        units = self.scale.unit(low) * (1 - share) + self.scale.unit(high) * share
        values[~is_point] = self._beside_points(np.clip(self.scale.values(units), low, high), low, high)
        return values

    def unit(self, values: np.ndarray) -> np.ndarray:
        return self.scale.unit(values)

    def from_unit(self, units: np.ndarray) -> np.ndarray:
        values = self.scale.values(units)
        return self._beside_points(values, np.full(len(values), self.scale.low), np.full(len(values), self.scale.high))

    def _beside_points(self, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A draw that hit a point moves to the neighbouring float, inside its cell."""
        if not len(self.points):
            return values
        hit = np.isin(values, self.points)
        values[hit] = np.where(values[hit] < high[hit], np.nextafter(values[hit], np.inf), np.nextafter(values[hit], low[hit]))
        return values


def _with_points(tokens: np.ndarray, values: np.ndarray, points: np.ndarray) -> np.ndarray:
    if len(points):
        place = np.minimum(np.searchsorted(points, values), len(points) - 1)
        hit = points[place] == values
        tokens[hit] = place[hit]
    return tokens


def cut_grid(
    first: int, last: int, *, bins: int, spacing: Spacing = "linear", points: Sequence[int] = (), edges: Sequence[float] | None = None
) -> Grid:
    """The grid with one token per value where there are few, cells at the edges where given, else `bins` cells."""
    scale = Scale(first, last, spacing, step=1.0)
    if edges is not None:
        starts = [math.ceil(edge - 1e-9) for edge in edges if first < edge <= last]
        return Grid(first, last, points=points, starts=starts, scale=scale)
    if last - first + 1 <= max(bins, OWN_TOKENS):
        return Grid(first, last, points=points, starts=np.arange(first, last + 1), scale=scale)
    inner = Scale(first, last + 1, spacing, step=1.0).values(np.linspace(0, 1, bins + 1)[1:-1])
    return Grid(first, last, points=points, starts=np.clip(np.ceil(inner), first, last).astype(np.int64), scale=scale)


def cut_continuum(scale: Scale, *, bins: int, points: Sequence[float] = (), edges: Sequence[float] | None = None) -> Continuum:
    inner = scale.values(np.linspace(0, 1, bins + 1)[1:-1]) if edges is None else edges
    return Continuum(scale, points=points, edges=inner)
