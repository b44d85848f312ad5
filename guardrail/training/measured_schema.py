"""Bins measured under differential privacy, for numbers of which nobody can publicly say where their values lie.

An entry of the schema marked `source: private-paid` gives a number's kind and its outer bounds, which may be far too wide. Of all such
columns together one histogram over a public grid is asked, with noise that costs `privacy.schema_epsilon` (Gaussian; a unit with
several rows counts as one), and quantiles of the noisy histogram become the bins: that much of the values is learned, and no
more. Covered: the bins. Not covered: outer bounds, names and kinds, which whoever writes them must know without the records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from ..vocabulary.canaries import CanaryRecord
from ..vocabulary.errors import PrivacyRefused
from ..vocabulary.receipt import GaussianQuery
from ..vocabulary.schema import Numeric, Schema
from ..vocabulary.spec import PrivacySpec
from .accounting import calibrate
from .distributed import ALONE, World
from .noisy_counts import noisy_answer, one_way_sensitivity
from .secure import Stream

CELLS = 1024
"""Of the public grid of a column with more values than that."""
FINEST = 1e-9
"""Of the larger bound: from there on to 0 cells are as wide as each other, beyond they grow with the value."""
WHAT = "a histogram of every number whose bins are measured"


def to_measure(schema: Schema) -> dict[str, Numeric]:
    """The entries marked private-paid, numbers all of them."""
    marked = {name: entry for name, entry in schema.columns.items() if entry.source == "private-paid"}
    for name, entry in marked.items():
        if not isinstance(entry, Numeric):
            raise PrivacyRefused(
                f"column {name!r} is marked private-paid: only the bins of numbers can be measured under privacy.schema_epsilon; "
                f"declare what a {entry.kind} column holds from what is public"
            )
    return {name: entry for name, entry in marked.items() if isinstance(entry, Numeric)}


def outlined(schema: Schema) -> Schema:
    """The schema as it will be once measured, but for where the borders lie: evenly over the public grid, and as many of them. So
    everything that the plan of a training depends on is known before a record is read."""
    return _with_edges(schema, {name: _spread(_grid(entry), entry.bins) for name, entry in to_measure(schema).items()})


def query_for(schema: Schema, privacy: PrivacySpec) -> GaussianQuery | None:
    """The histogram of all columns to be measured, at the price of schema_epsilon; None where there are none.

    Raises:
        PrivacyRefused: There are some and nothing to pay with, or the other way round.
    """
    columns = to_measure(schema)
    if bool(columns) != (privacy.schema_epsilon > 0):
        raise PrivacyRefused(
            "privacy.schema_epsilon pays for entries of the schema that are marked source: private-paid, and there are none; mark them, or "
            "leave it out"
            if not columns
            else f"column {next(iter(columns))!r} is marked private-paid: say what its bins may cost, privacy: {{schema_epsilon: 0.1}}"
        )
    if not columns:
        return None

    def at(noise: float) -> list[GaussianQuery]:
        return [GaussianQuery(what=WHAT, sensitivity=one_way_sensitivity(len(columns)), noise_multiplier=noise)]

    return at(calibrate(at, epsilon=privacy.schema_epsilon, delta=privacy.delta))[0]


def measured(
    schema: Schema, frame: pd.DataFrame, shares: np.ndarray, query: GaussianQuery, *, source: Stream, canaries: int, world: World = ALONE
) -> tuple[Schema, tuple[CanaryRecord, ...]]:
    """The schema with bins for every entry marked private-paid, from one noisy answer; and what was seen of its canaries.

    Args:
        frame: the training part, cast to `schema`.
        shares: (rows,), each row's part in its unit.
    """
    columns = to_measure(schema)
    grids = {name: _grid(entry) for name, entry in columns.items()}
    counts = [_counted(frame[name], shares, grid) for name, grid in grids.items()]
    answer, seen = noisy_answer(torch.from_numpy(np.concatenate(counts)), query, source=source, canaries=canaries, world=world)
    parts = np.split(answer.numpy(), np.cumsum([len(part) for part in counts])[:-1])
    edges = {name: _quantiles(grids[name], part, entry.bins) for (name, entry), part in zip(columns.items(), parts, strict=True)}
    return _with_edges(schema, edges), seen


def _with_edges(schema: Schema, edges: Mapping[str, np.ndarray]) -> Schema:
    changed = {name: schema.columns[name].model_copy(update={"edges": tuple(map(float, inner))}) for name, inner in edges.items()}
    return schema.model_copy(update={"columns": {**schema.columns, **changed}})


def _grid(entry: Numeric) -> np.ndarray:
    """Inner borders of the public grid, ascending: a value belongs to the cell after the last border that it reaches."""
    if entry.kind == "integer" and entry.high - entry.low < CELLS:
        return np.arange(entry.low + 1, entry.high + 1)
    scale = max(abs(entry.low), abs(entry.high)) * FINEST or 1.0
    borders = scale * np.sinh(np.linspace(math.asinh(entry.low / scale), math.asinh(entry.high / scale), CELLS + 1)[1:-1])
    if entry.kind == "integer" or entry.decimals is not None:
        borders = np.round(borders, entry.decimals or 0)
    borders = np.unique(borders)
    return borders[(borders > entry.low) & (borders < entry.high)]


def _counted(column: pd.Series, shares: np.ndarray, grid: np.ndarray) -> np.ndarray:
    values = column.to_numpy(dtype=float, na_value=np.nan)
    there = np.isfinite(values)
    cells = np.searchsorted(grid, values[there], side="right")
    counts: np.ndarray = np.bincount(cells, weights=shares[there], minlength=len(grid) + 1)
    return counts


def _spread(grid: np.ndarray, bins: int) -> np.ndarray:
    """`bins` - 1 of the borders, or all of them where there are fewer."""
    return grid[np.unique(np.linspace(0, len(grid) - 1, min(bins - 1, len(grid))).round().astype(int))] if len(grid) else grid


def _quantiles(grid: np.ndarray, noisy: np.ndarray, bins: int) -> np.ndarray:
    """As many borders as `_spread` takes: those at which the noisy histogram reaches equal parts of its sum; where several parts are
    reached at one border, a value that many records share, the borders beside those already there make up the number."""
    wanted = len(_spread(grid, bins))
    reached = np.maximum.accumulate(np.cumsum(noisy))
    parts = np.linspace(0, 1, bins + 1)[1:-1] * max(float(reached[-1]), 0.0)
    places = np.searchsorted(reached, parts, side="left")
    chosen = np.unique(places[places < len(grid)])[:wanted]
    distance = np.abs(np.arange(len(grid))[:, None] - chosen[None]).min(1) if len(chosen) else np.arange(len(grid))
    others = np.setdiff1d(np.argsort(distance, kind="stable"), chosen, assume_unique=True)[: wanted - len(chosen)]
    borders: np.ndarray = grid[np.sort(np.concatenate([chosen, others]))]
    return borders
