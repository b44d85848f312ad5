"""Rényi differential privacy of the mechanisms in a receipt, and back to (epsilon, delta).

Gaussian mechanism and conversion of Rényi to approximate differential privacy: Mironov 2017 (arXiv 1702.07476), Canonne,
Kamath and Steinke 2020 (arXiv 2004.00010, proposition 12). Poisson-sampled Gaussian at whole and fractional orders:
Mironov, Talwar and Zhang 2019 (arXiv 1908.10530, section 3.3). Neighbouring relation: add or remove one unit.

Covered: Gaussian queries and Poisson-sampled Gaussian steps, one at a time or composed, chosen beforehand.
Not covered: fixed-size batches, shuffling, other noise. For mechanisms chosen after seeing earlier results see the
filter in `guardrail.registry.filter`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, gammasgn, log_ndtr, logsumexp

from ..vocabulary.receipt import GaussianQuery, Mechanism

Curve = NDArray[np.float64]
"""Rényi divergence at each of ORDERS."""

ORDERS = (1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 256, 512)

_BLOCK = 256
"""Terms of the fractional series taken at a time."""


def curve(mechanisms: Iterable[Mechanism]) -> Curve:
    """The mechanisms' Rényi divergences added up, at each of ORDERS."""
    return np.asarray(np.sum([_curve_of(mechanism) for mechanism in mechanisms] or [np.zeros(len(ORDERS))], axis=0))


def epsilon(spent: Curve, delta: float) -> float:
    """The least epsilon that `spent` gives at `delta`; the best order is picked."""
    if not spent.any():
        return 0.0
    return float(min(max(0.0, rho + price(order, delta)) for order, rho in zip(ORDERS, spent, strict=True)))


def price(order: float, delta: float) -> float:
    """What converting Rényi divergence at `order` into epsilon at `delta` adds to it."""
    return float(np.log1p(-1 / order) - (np.log(delta) + np.log(order)) / (order - 1))


@lru_cache(maxsize=4096)
def _curve_of(mechanism: Mechanism) -> Curve:
    """Kept, because a ledger adds up the same mechanisms again at every reservation."""
    return np.array([_divergence(mechanism, order) for order in ORDERS])


def _divergence(mechanism: Mechanism, order: float) -> float:
    if isinstance(mechanism, GaussianQuery):
        return order / (2 * mechanism.noise_multiplier**2)
    return mechanism.steps * sampled_gaussian(order, mechanism.noise_multiplier, mechanism.sample_rate)


def sampled_gaussian(order: float, noise_multiplier: float, sample_rate: float) -> float:
    """One step: every unit joins with probability `sample_rate`, the sum of clipped contributions gets Gaussian noise."""
    if sample_rate == 1:
        return order / (2 * noise_multiplier**2)
    log_moment = _whole if float(order).is_integer() else _fractional
    return max(0.0, log_moment(order, noise_multiplier, sample_rate) / (order - 1))


def _whole(order: float, sigma: float, q: float) -> float:
    """log E[(density ratio)^order]: a binomial sum of positive terms."""
    k = np.arange(int(order) + 1)
    terms = _log_binomial(order, k) + k * np.log(q) + (order - k) * np.log1p(-q) + (k * k - k) / (2 * sigma**2)
    return float(logsumexp(terms))


def _fractional(order: float, sigma: float, q: float) -> float:
    """The same as two infinite series, split where the two densities meet; signs alternate beyond `order`."""
    meeting = sigma**2 * (np.log1p(-q) - np.log(q)) + 0.5
    total, sign, start = -np.inf, 1.0, 0
    while True:
        i = np.arange(start, start + _BLOCK, dtype=float)
        j = order - i
        common, signs = _log_binomial(order, i), _sign_of_binomial(order, i)
        low = common + i * np.log(q) + j * np.log1p(-q) + (i * i - i) / (2 * sigma**2) + log_ndtr((meeting - i) / sigma)
        high = common + j * np.log(q) + i * np.log1p(-q) + (j * j - j) / (2 * sigma**2) + log_ndtr((j - meeting) / sigma)
        total, sign = logsumexp(np.r_[total, low, high], b=np.r_[sign, signs, signs], return_sign=True)
        start += _BLOCK
        # Beyond `order` the terms alternate and shrink: what is left out is smaller than the last term taken.
        if start > order and max(low[-1], high[-1]) < total - 36:
            return float(total)


def _log_binomial(n: float, k: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1.0) - gammaln(n - k + 1.0))


def _sign_of_binomial(n: float, k: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(gammasgn(n - k + 1.0))
