"""What mechanisms cost together: epsilon at a delta by privacy loss distributions (PRV), by Rényi accounting beside it.

PRV: Gopi, Lee and Wutschitz 2021, arXiv 2106.02848; RDP: Mironov, Talwar and Zhang 2019, arXiv 1908.10530; both as
implemented in Opacus, for add-or-remove-one neighbours. A Gaussian query is the sampled Gaussian at rate 1, once.
The value returned is the accountant's upper bound, not its estimate.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from opacus.accountants import PRVAccountant, RDPAccountant

from ..vocabulary.errors import PrivacyRefused
from ..vocabulary.receipt import GaussianQuery, Mechanism

MOST_NOISE = 10_000.0
History = tuple[tuple[float, float, int], ...]
"""(noise multiplier, sampling rate, steps) of each mechanism, Opacus' form."""
ORDERS = [1 + step / 10 for step in range(1, 100)] + list(range(11, 65)) + [96, 128, 192, 256, 512]
"""Renyi orders. The high ones matter below epsilon 0.3, where the best order is near ln(1/delta)/epsilon."""


def epsilon_prv(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """Upper bound on epsilon, at most about 0.4 % above the true value: the grid follows the size of the answer."""
    return _by_prv(_history(mechanisms), delta)


def epsilon_rdp(mechanisms: Sequence[Mechanism], delta: float) -> float:
    return _by_rdp(_history(mechanisms), delta)


@lru_cache(maxsize=4096)
def _by_prv(history: History, delta: float) -> float:
    """Takes a tenth of a second and is asked the same by calibration, meter and claim."""
    if not history:
        return 0.0
    accountant = PRVAccountant()
    accountant.history = list(history)
    error = min(0.1, max(1e-4, _by_rdp(history, delta) / 500))
    with _quiet():
        return float(accountant.get_epsilon(delta, eps_error=error, delta_error=delta / 1000))


@lru_cache(maxsize=4096)
def _by_rdp(history: History, delta: float) -> float:
    if not history:
        return 0.0
    accountant = RDPAccountant()
    accountant.history = list(history)
    with _quiet():
        return float(accountant.get_epsilon(delta, alphas=ORDERS))


@contextmanager
def _quiet() -> Iterator[None]:
    """log(0) at rate 1 is minus infinity, as it should be; which Renyi order was best is of no interest."""
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the")
        yield


def _history(mechanisms: Sequence[Mechanism]) -> History:
    rows: list[tuple[float, float, int]] = []
    for mechanism in mechanisms:
        rate, steps = (1.0, 1) if isinstance(mechanism, GaussianQuery) else (mechanism.sample_rate, mechanism.steps)
        if steps > 0:
            rows.append((mechanism.noise_multiplier, rate, steps))
    return tuple(rows)


def calibrate(mechanisms_at: Callable[[float], Sequence[Mechanism]], *, epsilon: float, delta: float) -> float:
    """The least noise multiplier (to 0.1 %) at which `mechanisms_at(multiplier)` cost at most `epsilon` by PRV."""
    high = 1.0
    while epsilon_rdp(mechanisms_at(high), delta) > epsilon:
        high *= 2
        if high > MOST_NOISE:
            raise PrivacyRefused(
                f"epsilon {epsilon:g} at delta {delta:g} cannot be met with noise below {MOST_NOISE:g} times the clip; "
                "ask for a larger epsilon or train for fewer epochs"
            )
    # PRV is the tighter accountant, so Renyi's answer is an upper end of the search; it is also the cheaper one.
    high = _bisect(high / 2 if high > 1 else 0.0, high, lambda noise: epsilon_rdp(mechanisms_at(noise), delta) <= epsilon)
    low = 0.75 * high
    while low > 1e-3 and epsilon_prv(mechanisms_at(low), delta) <= epsilon:
        low, high = 0.75 * low, low
    return _bisect(low, high, lambda noise: epsilon_prv(mechanisms_at(noise), delta) <= epsilon)


def _bisect(low: float, high: float, enough: Callable[[float], bool]) -> float:
    """The least value in (low, high] that is `enough`, to 0.1 %; `high` is known to be."""
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def zcdp_of(epsilon: float, delta: float) -> float:
    """rho with rho + 2 sqrt(rho ln(1/delta)) = epsilon (Bun and Steinke 2016): a scale for dividing a budget, never a claim."""
    log = math.log(1 / delta)
    return float((math.sqrt(log + epsilon) - math.sqrt(log)) ** 2)


def total_variation(mechanisms: Sequence[Mechanism]) -> float:
    """Upper bound on how far one unit can move the distribution of everything that leaves: delta at epsilon 0.

    Whoever must tell whether a unit was there is right with probability at most (1 + this) / 2.
    """
    history = _history(mechanisms)
    if not history:
        return 0.0
    accountant = PRVAccountant()
    accountant.history = list(history)
    error, slip = 1e-3, 1e-8
    with _quiet():
        return min(1.0, float(accountant._get_dprv(eps_error=error, delta_error=slip).compute_delta_estimate(-error)) + slip)
