"""Signs of trouble in curves of losses and gradient norms: a swing that does not settle, an explosion, a fading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCKS = 20
REVERSALS = 8
"""Of the 18 places where a curve of 20 block means can turn; noise around a trend makes fewer that stand out of it."""
ZIGZAG = -0.5
"""Correlation of a loss with the next one, around their trend: 0 for noise, towards -1 where every step overshoots."""
EXPLOSION, FADING = 100.0, 1e-3
"""Of a gradient's norm: against the median, and against the largest, of the first steps."""
FIRST = 10


def swings(losses: Sequence[float]) -> bool:
    """Up and down, by more than the noise of the batches, and not dying out: from step to step, or in long waves."""
    values = np.asarray(losses, dtype=float)
    if len(values) < 5 * BLOCKS or not np.isfinite(values).all():
        return False
    return _zigzags(values) or _waves(values)


def _zigzags(values: np.ndarray) -> bool:
    """Every step overshoots: consecutive losses lie on opposite sides of the trend, in both of the last two quarters."""
    return all(_neighbour_correlation(quarter) < ZIGZAG for quarter in np.array_split(values, 4)[2:])


def _neighbour_correlation(values: np.ndarray) -> float:
    x = np.arange(len(values))
    rest = values - np.polyval(np.polyfit(x, values, 2), x)
    spread = float((rest**2).sum())
    return float((rest[1:] * rest[:-1]).sum()) / spread if spread > 0 else 0.0


def _waves(values: np.ndarray) -> bool:
    blocks = np.array_split(values, BLOCKS)
    means = np.array([block.mean() for block in blocks])
    # Within a block neighbours' differences hold the noise and little of a slow wave.
    noise = np.mean([np.diff(block).std() / np.sqrt(2 * len(block)) for block in blocks])
    turns = _turning_points(means, least=max(4 * noise, 0.02 * float(np.abs(means).mean())))
    heights = np.abs(np.diff(means[turns]))
    return len(turns) >= REVERSALS and heights[len(heights) // 2 :].mean() > 0.5 * heights[: len(heights) // 2].mean()


def _turning_points(means: np.ndarray, *, least: float) -> list[int]:
    """Where the curve turns after a move of at least `least`."""
    turns, extreme, direction = [0], 0, 0
    for i in range(1, len(means)):
        move = means[i] - means[extreme]
        if direction == 0 and abs(move) >= least:
            direction, extreme = int(np.sign(move)), i
        elif move * direction > 0:
            extreme = i
        elif direction and abs(move) >= least:
            turns.append(extreme)
            direction, extreme = -direction, i
    return turns


def explodes(norms: Sequence[float]) -> bool:
    """The latest gradient is far larger than the first ones, or is not finite."""
    if norms and not np.isfinite(norms[-1]):
        return True
    return len(norms) > FIRST and norms[-1] > EXPLOSION * _first(norms)


def fades(norms: Sequence[float]) -> bool:
    """The latest gradients are all but nothing against the first ones."""
    return len(norms) >= FIRST + 3 and max(norms[-3:]) < FADING * max(norm for norm in norms[:FIRST])


def _first(norms: Sequence[float]) -> float:
    return float(np.median([norm for norm in norms[:FIRST] if np.isfinite(norm)] or [0.0]))
