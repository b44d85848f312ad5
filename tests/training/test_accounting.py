"""Our accounting against an independent implementation (dp-accounting), and the search for noise."""

from __future__ import annotations

import pytest
from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.pld import PLDAccountant

from guardrail.training.accounting import calibrate, epsilon_prv, epsilon_rdp
from guardrail.vocabulary.errors import PrivacyRefused
from guardrail.vocabulary.receipt import GaussianQuery, Mechanism, SampledGaussian

DELTA = 1e-5


def counting(noise: float) -> GaussianQuery:
    return GaussianQuery(what="counts", sensitivity=3.0, noise_multiplier=noise)


def gradients(noise: float, rate: float, steps: int) -> SampledGaussian:
    return SampledGaussian(what="gradients", noise_multiplier=noise, sample_rate=rate, steps=steps, clip=1.0)


def independent_epsilon(mechanisms: list[Mechanism], delta: float = DELTA) -> float:
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for mechanism in mechanisms:
        event = dp_event.GaussianDpEvent(mechanism.noise_multiplier)
        if isinstance(mechanism, SampledGaussian):
            event = dp_event.SelfComposedDpEvent(dp_event.PoissonSampledDpEvent(mechanism.sample_rate, event), mechanism.steps)
        accountant.compose(event)
    return float(accountant.get_epsilon(delta))


CASES: list[list[Mechanism]] = [
    [counting(4.0)],
    [gradients(1.0, 0.01, 1000)],
    [counting(20.0), gradients(3.0, 0.1, 400)],
    [counting(70.0), gradients(40.0, 0.2, 400)],
    [counting(2.5), gradients(1.2, 0.1, 400), gradients(1.2, 0.1, 400)],
]


@pytest.mark.parametrize("mechanisms", CASES)
def test_epsilon_equals_an_independent_recomputation_within_one_percent(mechanisms: list[Mechanism]):
    truth = independent_epsilon(mechanisms)
    assert truth * 0.9999 <= epsilon_prv(mechanisms, DELTA) <= truth * 1.01


@pytest.mark.parametrize("mechanisms", CASES)
def test_renyi_accounting_is_never_below_the_tighter_accountant(mechanisms: list[Mechanism]):
    assert epsilon_rdp(mechanisms, DELTA) >= independent_epsilon(mechanisms)


def test_epsilon_at_a_smaller_delta_is_larger():
    assert epsilon_prv(CASES[2], 1e-7) > epsilon_prv(CASES[2], 1e-5)


def test_no_mechanism_costs_nothing():
    assert epsilon_prv([], DELTA) == 0 == epsilon_rdp([gradients(1.0, 0.1, 0)], DELTA)


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 3.0, 10.0])
def test_calibrated_noise_costs_what_was_asked_and_hardly_less(epsilon: float):
    def mechanisms(noise: float) -> list[Mechanism]:
        return [counting(100.0), gradients(noise, 0.1, 200)]

    noise = calibrate(mechanisms, epsilon=epsilon, delta=DELTA)
    assert 0.98 * epsilon <= independent_epsilon(mechanisms(noise)) <= epsilon
    assert epsilon_prv(mechanisms(noise), DELTA) <= epsilon


def test_an_epsilon_that_other_mechanisms_have_used_up_is_refused():
    with pytest.raises(PrivacyRefused, match="cannot be met"):
        calibrate(lambda noise: [counting(0.5), gradients(noise, 0.1, 10)], epsilon=1.0, delta=DELTA)
