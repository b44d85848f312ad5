"""Intervals: every number an audit prints gets one, and it says here how.

Shares       Wilson's score interval (1927); never empty, not even at 0 or n successes.
Ratios       Koopman's score interval for the ratio of two shares (1984, doi.org/10.2307/2531405); stands zero counts.
AUC          DeLong, DeLong and Clarke-Pearson (1988, doi.org/10.2307/2531595) by midranks (Sun and Xu 2014,
             doi.org/10.1109/LSP.2014.2337313), on the logit scale. Where few rows are out of order, the sample hides most
             of its variance from DeLong; there Newcombe's method 5 (2006, doi.org/10.1002/sim.2324), which inverts Hanley
             and McNeil's variance as Wilson inverts a share's, widens it. A separation without a single error has a
             DeLong variance of zero; then the largest variance an AUC can have, A(1-A)/min(m, n) (Birnbaum and Klose
             1957), is inverted, so that a perfect AUC on five rows is not called certain.
Differences  paired DeLong with Student's t; where few rows are out of order, no narrower than the two AUCs' own intervals
             allow at their correlation (Zou and Donner 2008, doi.org/10.1002/sim.3095). Of independent estimates by
             squaring and adding their half-widths (Newcombe 1998).
Means' ratio Fieller (1954, doi.org/10.1111/j.2517-6161.1954.tb00159.x), with the degrees of freedom that the denominator's
             few large rows leave; its ends are open where the denominator may as well be zero.
Extremes     the worst of several groups gets a simultaneous interval: Bonferroni per group, then the extreme of the ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from .vocabulary.estimate import Estimate

Array = NDArray[Any]
FEW = 10
"""Rows of the smaller class out of order, below which DeLong alone covers too rarely."""


def critical(level: float, degrees: float | None = None) -> float:
    """The two-sided critical value: 1.96 at 0.95; Student's where the standard error rests on few `degrees` of freedom."""
    return float(norm.ppf(0.5 + level / 2) if degrees is None else student.ppf(0.5 + level / 2, degrees))


def simultaneous_level(level: float, k: int) -> float:
    """The level each of `k` intervals needs so that all cover at once with probability `level` (Bonferroni)."""
    return 1 - (1 - level) / max(k, 1)


def wilson(successes: float, n: int, level: float = 0.95) -> Estimate:
    """A share of `n` independent trials."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials: there is no share to estimate")
    low, high = _score_ends(successes / n, n, critical(level))
    return Estimate(value=successes / n, low=low, high=high, level=level, n=n, method="wilson")


def _score_ends(share: float, n: float, z: float) -> tuple[float, float]:
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Rounding must not push an end past the share itself at 0 or 1.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def share_ratio(successes: int, n: int, reference_successes: int, reference_n: int, level: float = 0.95) -> Estimate:
    """(successes / n) / (reference_successes / reference_n), two independent shares; needs a reference above zero."""
    if min(n, reference_n) < 1 or reference_successes < 1:
        raise ValueError("a ratio needs rows on both sides and a reference share above zero")
    x, m, y, n2 = float(successes), float(n), float(reference_successes), float(reference_n)
    value, z = (x / m) / (y / n2), critical(level)

    def score(log_ratio: float) -> float:
        return _ratio_score(math.exp(log_ratio), x, m, y, n2)

    centre = math.log(max(value, 0.5 / m / (y / n2)))
    low = 0.0 if x == 0 else math.exp(brentq(lambda t: score(t) - z, centre - 40, math.log(value)))
    high = math.exp(brentq(lambda t: score(t) + z, math.log(value) if x else centre - 40, centre + 40))
    return Estimate(value=value, low=min(low, value), high=max(high, value), level=level, n=n, method="koopman")


def _ratio_score(ratio: float, x: float, m: float, y: float, n: float) -> float:
    """The score statistic of `ratio`, falling in it; shares under the hypothesis by maximum likelihood (a quadratic)."""
    b = m * ratio + x + n + y * ratio
    root = math.sqrt(max(b * b - 4 * (m + n) * ratio * (x + y), 0.0))
    p2 = min(2 * (x + y) / (b + root), 1.0)
    p1 = min(ratio * p2, 1.0)
    variance = p1 * (1 - p1) / m + ratio * ratio * p2 * (1 - p2) / n
    gap = x / m - ratio * y / n
    return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap) if gap else 0.0


def auc(scores: Array, positives: Array, level: float = 0.95) -> Estimate:
    """P(score of a positive > score of a negative), ties counting one half."""
    over, under = placements(scores, positives)  # (positives,), (negatives,)
    value, variance = float(over.mean()), _placement_variance(over, under)
    z, smaller = critical(level), min(len(over), len(under))
    if variance <= 0 or smaller < 2 or not 0 < value < 1:
        low, high = _score_ends(value, smaller, z)
        return Estimate(value=value, low=low, high=high, level=level, n=len(scores), method="wilson on the smaller class")
    logit, half = math.log(value / (1 - value)), z * math.sqrt(variance) / (value * (1 - value))
    found = Estimate(
        value=value, low=min(_logistic(logit - half), value), high=max(_logistic(logit + half), value),
        level=level, n=len(scores), method="delong",
    )  # fmt: skip
    return wider(found, *_newcombe_ends(value, len(over), len(under), z), method="newcombe 5") if _few(value, smaller) else found


def _few(value: float, smaller: int) -> bool:
    return smaller * min(value, 1 - value) < FEW


def _newcombe_ends(value: float, m: int, n: int, z: float) -> tuple[float, float]:
    """The AUCs from which `value` lies no further than z standard errors, by Hanley and McNeil with equal class sizes."""

    def error(true: float) -> float:
        share = (1 - true) / (2 - true) + true / (1 + true)
        return math.sqrt(max(true * (1 - true) / (m * n) * (1 + ((m + n) / 2 - 1) * share), 0.0))

    low = brentq(lambda true: value - true - z * error(true), 0.0, value)
    return float(low), float(brentq(lambda true: true - value - z * error(true), value, 1.0))


def wider(found: Estimate, low: float, high: float, *, method: str) -> Estimate:
    """`found` with ends that reach at least to `low` and `high`."""
    ends = {"low": None if found.low is None else min(found.low, low), "high": None if found.high is None else max(found.high, high)}
    return found.model_copy(update=ends | {"method": f"wider of {found.method} and {method}"})


def auc_difference(scores_a: Array, scores_b: Array, positives: Array, level: float = 0.95) -> Estimate:
    """auc(a) - auc(b) of two scores of the same rows."""
    (over_a, under_a), (over_b, under_b) = placements(scores_a, positives), placements(scores_b, positives)
    value, smaller, z = float(over_a.mean() - over_b.mean()), min(len(over_a), len(under_a)), critical(level)
    if np.array_equal(over_a, over_b) and np.array_equal(under_a, under_b):
        # Nothing moved among the rows at hand: what none of them showed can still be this share of all.
        half = _score_ends(0.0, smaller, z)[1]
        return Estimate(value=0.0, low=-half, high=half, level=level, n=len(scores_a), method="wilson on the smaller class")
    a, b = auc(scores_a, positives, level), auc(scores_b, positives, level)
    variance = _placement_variance(over_a - over_b, under_a - under_b)
    if variance <= 0 or smaller < 2:
        return difference(a, b)
    found = normal(
        value, math.sqrt(variance), len(scores_a), low=-1, high=1, method="paired delong", level=level, degrees=smaller - 1
    )  # fmt: skip
    if not (_few(a.value, smaller) or _few(b.value, smaller)):
        return found
    alone = _placement_variance(over_a, under_a), _placement_variance(over_b, under_b)
    scale = 2 * math.sqrt(alone[0] * alone[1])
    correlation = (sum(alone) - variance) / scale if scale > 0 else 0.0
    return wider(found, *_difference_ends(a, b, correlation), method="zou-donner")


def placements(scores: Array, positives: Array) -> tuple[Array, Array]:
    """Per positive the share of negatives it outscores, per negative the share of positives that outscore it."""
    scores, positives = np.asarray(scores, float), np.asarray(positives, bool)
    m, n = int(positives.sum()), int((~positives).sum())
    if not m or not n:
        raise ValueError("an AUC needs rows of both classes")
    ranks = rankdata(scores)
    over = (ranks[positives] - rankdata(scores[positives])) / n
    under = 1 - (ranks[~positives] - rankdata(scores[~positives])) / m
    return over, under


def _placement_variance(over: Array, under: Array) -> float:
    return sum(float(part.var(ddof=1)) / len(part) if len(part) > 1 else 0.0 for part in (over, under))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b of two independent estimates with intervals of one level; conservative where they are positively related."""
    low, high = _difference_ends(a, b)
    sizes = [part.n for part in (a, b) if part.n is not None]
    method = f"newcombe ({a.method})"
    return Estimate(value=a.value - b.value, low=low, high=high, level=a.level, n=min(sizes, default=None), method=method)


def _difference_ends(a: Estimate, b: Estimate, correlation: float = 0.0) -> tuple[float, float]:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        raise ValueError("the difference needs both ends of both intervals")

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one * one - 2 * correlation * one * other + other * other, 0.0))

    value = a.value - b.value
    return value - reach(a.value - a.low, b.high - b.value), value + reach(a.high - a.value, b.value - b.low)


def mean_ratio(top: Array, bottom: Array, level: float = 0.95) -> Estimate:
    """mean(top) / mean(bottom) of paired rows, `bottom` never negative; both ends open where few rows make up `bottom`."""
    top, bottom, n = np.asarray(top, float), np.asarray(bottom, float), len(top)
    if n < 2 or not bottom.mean() > 0 or bottom.min() < 0:
        raise ValueError("a ratio of means needs two rows, and a denominator above zero")
    unit = float(np.abs(top).max()) or 1.0  # so that squares neither overflow nor vanish
    scale, (y, x) = unit / float(bottom.mean()), (top / unit, bottom / bottom.mean())
    value, z = float(y.mean()), critical(level, max(float(effective_rows(x)) - 1, 1.0))
    yy, yx, xx = (z * z * float(np.mean((a - a.mean()) * (b - b.mean()))) / (n - 1) for a, b in ((y, y), (y, x), (x, x)))
    # The ratios r with (mean(y) - r mean(x))² <= z² var(mean(y) - r mean(x)), where mean(x) = 1: a quadratic in r.
    curvature, middle = 1 - xx, value - yx
    if curvature <= 0:
        return Estimate(value=value * scale, low=None, high=None, level=level, n=n, method="fieller")
    half = math.sqrt(max(middle * middle - curvature * (value * value - yy), 0.0))
    low, high = min((middle - half) / curvature, value), max((middle + half) / curvature, value)
    return Estimate(value=value * scale, low=low * scale, high=high * scale, level=level, n=n, method="fieller")


def effective_rows(weights: Array) -> float:
    """How many rows of one weight would spread a sum as these do (Kish): 1 where a single row is everything."""
    shares = np.asarray(weights, float) / float(np.sum(weights))
    return float(1 / np.sum(shares * shares))


def normal(
    value: float,
    standard_error: float,
    n: int | None,
    *,
    low: float | None = None,
    high: float | None = None,
    method: str,
    level: float = 0.95,
    degrees: float | None = None,
) -> Estimate:
    """value ± z standard errors (t with `degrees` of freedom), cut to the metric's range [low, high]."""
    if not math.isfinite(standard_error) or standard_error < 0:
        raise ValueError(f"a standard error of {standard_error} gives no interval")
    half = critical(level, degrees) * standard_error
    bottom, top = value - half, value + half
    # The value itself may stand a rounding error outside its range.
    bottom = min(value, bottom if low is None else max(low, bottom))
    top = max(value, top if high is None else min(high, top))
    return Estimate(value=value, low=bottom, high=top, level=level, n=n, method=method)


def jackknife(leave_one_out: Array) -> Array:
    """Standard error from the statistic without each of g blocks of rows: (g, …) -> (…)."""
    g = len(leave_one_out)
    return np.asarray(np.sqrt((g - 1) / g * ((leave_one_out - leave_one_out.mean(axis=0)) ** 2).sum(axis=0)))


def worst_name(estimates: Mapping[str, Estimate], *, how: Literal["min", "max"]) -> str:
    """The group with the extreme value; the first of equals."""
    if not estimates:
        raise ValueError("there is no group to choose from")
    return (min if how == "min" else max)(estimates, key=lambda name: estimates[name].value)


def worst(estimates: Mapping[str, Estimate], *, how: Literal["min", "max"], level: float = 0.95) -> Estimate:
    """The extreme over groups, given intervals that cover all at once (made at `simultaneous_level(level, len(estimates))`).

    If every interval covers, the least truth is at least the least low and at most the least high: a valid interval for
    the extreme itself, although the group with the extreme value was picked by looking.
    """
    chosen, extreme = estimates[worst_name(estimates, how=how)], min if how == "min" else max
    lows, highs = [e.low for e in estimates.values()], [e.high for e in estimates.values()]
    return Estimate(
        value=chosen.value,
        low=None if None in lows else extreme(end for end in lows if end is not None),
        high=None if None in highs else extreme(end for end in highs if end is not None),
        level=level,
        n=chosen.n,
        method=f"{chosen.method}, simultaneous over {len(estimates)} groups",
    )
