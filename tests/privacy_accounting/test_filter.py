import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.privacy_accounting.filter import _shares, epsilon_filtered
from guardrail.privacy_accounting.rdp import ORDERS, curve, epsilon
from guardrail.vocabulary.receipt import GaussianQuery, SampledGaussian

LIMITS = st.floats(0.05, 50)
DELTAS = st.floats(1e-10, 1e-2)


def gaussian(noise):
    return curve([GaussianQuery(what="q", sensitivity=1, noise_multiplier=noise)])


@settings(max_examples=50, deadline=None)
@given(LIMITS, DELTAS)
def test_the_orders_share_exactly_delta(limit, delta):
    shares = _shares(limit, delta)
    assert shares.sum() == pytest.approx(1, abs=1e-12) and (shares > 0).all()


@settings(max_examples=50, deadline=None)
@given(LIMITS, DELTAS, st.floats(0.2, 100))
def test_choosing_adaptively_never_costs_less_than_choosing_beforehand(limit, delta, noise):
    assert epsilon_filtered(gaussian(noise), limit=limit, delta=delta) >= epsilon(gaussian(noise), delta)


def test_near_its_limit_the_filter_costs_a_few_percent():
    for noise in (0.5, 1, 4, 20):
        beforehand = epsilon(gaussian(noise), 1e-5)
        assert epsilon_filtered(gaussian(noise), limit=beforehand, delta=1e-5) < 1.07 * beforehand


def test_many_private_trainings_stay_within_a_fifth_of_the_plain_sum():
    run = SampledGaussian(what="g", noise_multiplier=1.0, sample_rate=0.01, steps=1000, clip=1, normaliser=1)
    for runs in (2, 5, 20):
        total = curve([run] * runs)
        plain = epsilon(total, 1e-5)
        assert epsilon_filtered(total, limit=plain, delta=1e-5) < 1.2 * plain


def test_nothing_spent_is_nothing():
    assert epsilon_filtered(np.zeros(len(ORDERS)), limit=3, delta=1e-5) == 0


@settings(max_examples=30, deadline=None)
@given(LIMITS, DELTAS, st.lists(st.floats(0.5, 50), min_size=1, max_size=6))
def test_spending_more_never_lowers_what_is_spent(limit, delta, noises):
    total, before = np.zeros(len(ORDERS)), 0.0
    for noise in noises:
        total = total + gaussian(noise)
        now = epsilon_filtered(total, limit=limit, delta=delta)
        assert now >= before
        before = now
