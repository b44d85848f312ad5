"""A privacy filter: what may still be spent when each run is chosen after the results of earlier ones are known.

Composition theorems fix all mechanisms beforehand. People do not: they look at a result and choose the next run. Feldman
and Zrnic (arXiv 2008.11193, theorem 4.3) show that Rényi divergences at ONE order, fixed beforehand, may be added up
under such choices as long as their sum stays below a bound fixed beforehand. Picking the best order at the end is a
choice after the fact, so each order gets its own share of delta beforehand, the largest the one that suits a Gaussian
mechanism of the limit's size; the shares add up to delta (a union bound), and then any order may be the one that holds.
A smaller share costs its order -log(share)/(order-1) of epsilon.

Covered: adaptively chosen mechanisms, stopping at any time, a limit stated before the results it depends on.
Not covered: a limit raised because of what was seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .rdp import ORDERS, Curve, epsilon, price

_FADING, _EVEN = 0.3, 0.1
"""Shares fade by this factor with every step from the favoured order; this part of delta is spread evenly over all."""


def epsilon_filtered(spent: Curve, *, limit: float, delta: float) -> float:
    """The epsilon at `delta` that adaptively chosen mechanisms with total `spent` have used of a `limit`."""
    if not spent.any():
        return 0.0
    return max(0.0, float(np.min(spent + _prices(limit, delta))))


@lru_cache(maxsize=256)
def _prices(limit: float, delta: float) -> Curve:
    return np.array([price(order, delta * share) for order, share in zip(ORDERS, _shares(limit, delta), strict=True)])


def _shares(limit: float, delta: float) -> Curve:
    """Each order's part of delta, adding up to 1."""
    distance = np.abs(np.arange(len(ORDERS)) - ORDERS.index(_order_of(limit, delta)))
    fading = _FADING**distance
    return np.asarray((1 - _EVEN) * fading / fading.sum() + _EVEN / len(ORDERS))


def _order_of(limit: float, delta: float) -> float:
    """The order at which a Gaussian mechanism that spends exactly `limit` is converted best."""
    orders = np.array(ORDERS, dtype=float)
    low, high = 1e-12, 1e6
    for _ in range(100):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if epsilon(middle * orders, delta) < limit else (low, middle)
    prices = np.array([price(order, delta) for order in ORDERS])
    return ORDERS[int(np.argmin(low * orders + prices))]
