import math

import numpy as np
import pytest
from dp_accounting.rdp import rdp_privacy_accountant as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.privacy_accounting.rdp import ORDERS, curve, epsilon, price, sampled_gaussian
from guardrail.vocabulary.receipt import GaussianQuery, SampledGaussian


def step(noise=1.0, rate=0.01, steps=1):
    return SampledGaussian(what="gradients", noise_multiplier=noise, sample_rate=rate, steps=steps, clip=1, normaliser=1)


@pytest.mark.parametrize("noise", [0.4, 0.7, 1.0, 2.5, 12.0])
@pytest.mark.parametrize("rate", [1e-5, 0.001, 0.1, 0.5, 0.95, 1.0])
def test_curve_equals_the_reference_library(noise, rate):
    theirs = np.array([reference._compute_rdp_poisson_subsampled_gaussian(rate, noise, np.array([order]))[0] for order in ORDERS])
    ours, whole = curve([step(noise, rate)]), np.array([float(order).is_integer() for order in ORDERS])
    np.testing.assert_allclose(ours[whole], theirs[whole], rtol=1e-6, atol=1e-9)
    # At fractional orders that library adds the alternating terms without their signs: an upper bound.
    assert (ours[~whole] <= theirs[~whole] * (1 + 1e-6)).all()


def test_curve_equals_opacus():
    analysis = pytest.importorskip("opacus.accountants.analysis.rdp")
    for noise, rate in ((0.8, 0.2), (1.1, 0.02), (3.0, 0.0041)):
        theirs = analysis.compute_rdp(q=rate, noise_multiplier=noise, steps=300, orders=list(ORDERS))
        np.testing.assert_allclose(curve([step(noise, rate, 300)]), theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("order", [1.25, 1.5, 2.5, 4.5, 3, 8])
def test_divergence_equals_the_integral_it_stands_for(order):
    """Rényi divergence of (1-q) N(0, s) + q N(1, s) from N(0, s), integrated on a fine grid."""
    for noise, rate in ((0.7, 0.3), (1.5, 0.05), (2.5, 0.95), (1.0, 0.5)):
        x = np.linspace(-60, 60, 400_001)
        ratio = np.log1p(-rate + rate * np.exp((2 * x - 1) / (2 * noise**2)))
        density = np.exp(order * ratio - x**2 / (2 * noise**2)) / (noise * math.sqrt(2 * math.pi))
        truth = math.log(np.trapezoid(density, x)) / (order - 1)
        assert sampled_gaussian(order, noise, rate) == pytest.approx(truth, rel=1e-6)


def test_epsilon_equals_the_reference_library_at_the_same_orders():
    for noise, rate, steps, delta in ((1.0, 0.01, 1000, 1e-5), (0.6, 0.2, 30, 1e-6), (5.0, 0.1, 500, 1e-3)):
        spent = curve([step(noise, rate, steps)])
        theirs, _ = reference.compute_epsilon(ORDERS, spent, delta)
        assert epsilon(spent, delta) == pytest.approx(theirs, abs=1e-6)


def test_a_gaussian_query_costs_order_over_twice_the_squared_noise():
    query = GaussianQuery(what="count", sensitivity=3, noise_multiplier=2)
    np.testing.assert_allclose(curve([query]), np.array(ORDERS) / 8)
    np.testing.assert_allclose(curve([query, query, step(1, 0.1, 7)]), 2 * curve([query]) + 7 * curve([step(1, 0.1)]))


def test_nothing_run_costs_nothing():
    assert epsilon(curve([]), 1e-5) == 0.0
    assert epsilon(curve([step(steps=0)]), 1e-5) == 0.0


@settings(max_examples=60, deadline=None)
@given(st.floats(0.3, 50), st.floats(1e-6, 1), st.integers(1, 10_000), st.floats(1e-12, 0.1))
def test_more_noise_or_fewer_steps_never_cost_more(noise, rate, steps, delta):
    base = epsilon(curve([step(noise, rate, steps)]), delta)
    assert math.isfinite(base) and base >= 0
    assert epsilon(curve([step(noise * 1.3, rate, steps)]), delta) <= base + 1e-9
    assert epsilon(curve([step(noise, rate, 2 * steps)]), delta) >= base - 1e-9
    assert epsilon(curve([step(noise, rate, steps)]), delta / 2) >= base - 1e-9


def test_tiny_and_huge_noise_stay_finite():
    for noise in (1e-3, 1e4):
        assert np.isfinite(curve([step(noise, 0.01, 100)])).all()


def test_price_falls_with_the_order():
    assert price(2, 1e-5) > price(8, 1e-5) > price(64, 1e-5)
