"""Total variation distance between binned tables, with an error that stays honest where two tables nearly agree.

The distance of two samples of n rows is never zero: sampling alone separates them. So synthetic, train and floor are cut to
the same n, and the number is read against what real rows reach at that n: a holdout of as many rows, or, where it is
smaller, two resamples of train (and the holdout is shown at its own size, with synthetic cut to it beside it). The standard error is a
jackknife over blocks of rows (each block taken out of both tables at once): with integer counts D = counts in a - counts
in b, taking block g out leaves sum |D - D_g|, so all replicates cost one table of counts. Near agreement the jackknife
is too wide rather than too narrow (the absolute value bends where the difference changes its sign).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from guardrail.audits.views import Binned, Codes, binned, sample_rows
from guardrail.statistics import jackknife, normal
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence

BLOCKS = 40
DENSE = 2**21
"""Cells up to which counts are kept as a full table; above it only those that occur."""
LEAST_ROWS = 4
COMPARED: tuple[str, ...] = ("holdout", "synthetic at holdout size", "resampled", "floor")


@dataclass(frozen=True)
class Similarities:
    """1 - total variation of several views (columns, or pairs of columns) between two tables of n rows."""

    values: NDArray[np.float64]  # (views,)
    without: NDArray[np.float64]  # (blocks, views)
    n: int

    def mean(self, views: Sequence[int] | None = None) -> Estimate:
        """The mean over the views (all, unless some are named) with the jackknife's interval, cut to [0, 1]."""
        chosen = slice(None) if views is None else list(views)
        value, error = float(self.values[chosen].mean()), float(jackknife(self.without[:, chosen].mean(axis=1)))
        # Two tables of a few rows may agree to the last cell in every block; one row more or less is the least doubt.
        error = max(error, 1 / self.n)
        return normal(value, error, self.n, low=0, high=1, method="grouped jackknife", degrees=len(self.without) - 1)


@dataclass(frozen=True)
class Tables:
    """The tables of one audit, binned, their rows in random order."""

    binned: Binned
    roles: tuple[str, ...]
    n: int
    """Rows of train, synthetic and floor; the holdout may have fewer."""
    resampled: tuple[Codes, Codes]
    """Two draws of n rows each, with replacement, from train: what two honest samples look like to each other."""
    caveats: tuple[str, ...] = ()

    def of(self, role: str) -> Codes:
        return self.binned.codes[self.roles.index(role)]

    @property
    def compared(self) -> dict[str, tuple[Codes, Codes]]:
        """What is compared with what, each two of one size."""
        train, synthetic = self.of("train"), self.of("synthetic")
        found = {"synthetic": (synthetic, train), "resampled": self.resampled}
        if "floor" in self.roles:
            found["floor"] = (self.of("floor"), train)
        if "holdout" in self.roles:
            holdout = self.of("holdout")
            size = len(holdout)
            found["holdout"] = (holdout, train[:size])
            if size < self.n:
                found["synthetic at holdout size"] = (synthetic[:size], train[:size])
        return found

    def reference(self, comparisons: Mapping[str, Estimate]) -> float:
        """What real rows reach at n rows a side."""
        full_holdout = "holdout" in self.roles and len(self.of("holdout")) == self.n
        return comparisons["holdout" if full_holdout else "resampled"].value


def common_tables(evidence: Evidence, rng: np.random.Generator, most: int) -> Tables:
    """Train, synthetic and floor, each a random sample of the same number of rows; the holdout (if given) of at most so many."""
    train, synthetic = _given(evidence.train), _given(evidence.synthetic)
    frames = {"train": train, "synthetic": synthetic}
    n = min(most, len(train), len(synthetic))
    if evidence.holdout is not None and len(evidence.holdout) >= LEAST_ROWS:
        frames["holdout"] = evidence.holdout
    caveats = _on_holdout(evidence.holdout, n)
    floor = evidence.floor_rows(rng)
    if len(floor) >= n:
        frames["floor"] = floor
    else:
        caveats = (*caveats, f"the floor has {len(floor)} rows, fewer than the {n} compared, and is not shown")
    cut = [sample_rows(frame, n, rng) for frame in frames.values()]
    codes = binned(cut, evidence.schema, train)
    first, second = (codes.codes[0][rng.integers(0, n, n)] for _ in range(2))
    return Tables(codes, tuple(frames), n, (first, second), caveats)


def _on_holdout(holdout: pd.DataFrame | None, n: int) -> tuple[str, ...]:
    if holdout is None or len(holdout) < LEAST_ROWS:
        return ("no holdout: the reference is what two resamples of the training data reach",)
    if len(holdout) < n:
        return (
            f"the holdout has {len(holdout)} rows, fewer than the {n} compared: it is shown at its own size, "
            "beside synthetic rows cut to it; the reference is what two resamples of the training data reach at the full size",
        )
    return ()


def too_small(evidence: Evidence) -> str | None:
    """Why the tables cannot be compared, or None."""
    for role, frame in (("training data", _given(evidence.train)), ("synthetic data", _given(evidence.synthetic))):
        if len(frame) < LEAST_ROWS:
            return f"the {role} has {len(frame)} rows; comparing tables needs at least {LEAST_ROWS}"
    return None


def similarities(views: Iterable[tuple[Codes, Codes, int]], n: int) -> Similarities:
    """Per view its codes in both tables (n rows each) and how many codes there are."""
    blocks = np.arange(n) % min(BLOCKS, n)
    rows = [_similarity(a, b, size, blocks) for a, b, size in views]
    return Similarities(np.array([value for value, _ in rows]), np.column_stack([without for _, without in rows]), n)


def _similarity(a: Codes, b: Codes, size: int, blocks: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """The similarity, and (blocks,) the same without each block."""
    n, count = len(a), int(blocks.max()) + 1
    if size * count > DENSE:
        _, both = np.unique(np.concatenate([a, b]), return_inverse=True)
        a, b, size = both[:n], both[n:], int(both.max()) + 1
    cells = np.bincount(a * count + blocks, minlength=size * count) - np.bincount(b * count + blocks, minlength=size * count)
    by_block = cells.reshape(size, count)
    whole = by_block.sum(axis=1)
    left = n - np.bincount(blocks)
    without = 1 - np.abs(whole[:, None] - by_block).sum(axis=0) / (2 * left)
    return 1 - float(np.abs(whole).sum()) / (2 * n), without


def _given(frame: pd.DataFrame | None) -> pd.DataFrame:
    if frame is None:
        raise ValueError("this audit needs train and synthetic")
    return frame
