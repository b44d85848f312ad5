"""The attack on canaries: numbers by hand, honest mechanisms left alone, planted faults refuted."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, norm

from guardrail.audits.privacy.claim import Claim, epsilon_of_any, epsilon_of_gaussian, epsilon_shown, watched
from guardrail.training.accounting import calibrate, epsilon_prv, total_variation
from guardrail.vocabulary.canaries import CanaryRecord
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.receipt import GaussianQuery, Mechanism, PrivacyClaim, SampledGaussian

from .test_accounting import receipt

DELTA = 1e-5


def mechanism(epsilon: float, *, rate: float = 0.05, steps: int = 200) -> SampledGaussian:
    def at(noise: float) -> list[Mechanism]:
        return [SampledGaussian(what="gradients of net", noise_multiplier=noise, sample_rate=rate, steps=steps, clip=1.0)]

    return at(calibrate(at, epsilon=epsilon, delta=DELTA))[0]  # type: ignore[return-value]


AT = {epsilon: mechanism(epsilon) for epsilon in (1.0, 3.0)}


def claim_of(*mechanisms: Mechanism, **changes: Any) -> PrivacyClaim:
    epsilon = epsilon_prv(list(mechanisms), DELTA)
    fields: dict[str, Any] = {
        "epsilon": epsilon, "epsilon_rdp": epsilon, "delta": DELTA, "unit": "row", "mechanisms": mechanisms,
        "records_public": 10_000, "records_source": "declared public", "noise": "secure", "schema_sources": {},
    }  # fmt: skip
    return PrivacyClaim(**(fields | changes))


@cache
def most(step: Mechanism) -> float:
    return total_variation([step])


def left(step: SampledGaussian, n: int, seed: int, *, noise: float = 1.0, clips: float = 1.0, where: str = "a") -> CanaryRecord:
    """What a training leaves of `n` canaries: exactly so distributed, without the training. `noise`: times that of the claim."""
    rng = np.random.default_rng(seed)
    included = rng.random(n) < 0.5
    parts = rng.binomial(step.steps, step.sample_rate, n) * included * clips
    scores = parts + noise * step.noise_multiplier * math.sqrt(step.steps) * rng.normal(size=n)
    told = {"included": tuple(included.tolist()), "scores": tuple(scores.tolist())}
    return CanaryRecord(what=step.what, where=where, total_variation=most(step), **told)


def found(schema: Any, claim: PrivacyClaim | None, *records: CanaryRecord) -> tuple[Finding, Finding]:
    epsilon, verdict = Claim().measure(Evidence(schema=schema, receipt=receipt(claim), canaries=records), np.random.default_rng(0))
    return epsilon, verdict


def test_a_gaussian_s_epsilon_by_hand():
    """Corollary 1 of Dong, Roth and Su at mu = 1, epsilon = 2: delta = Phi(-1.5) - e^2 Phi(-2.5)."""
    delta = norm.cdf(-1.5) - math.exp(2) * norm.cdf(-2.5)
    assert epsilon_of_gaussian(1.0, delta) == pytest.approx(2.0, abs=1e-9)
    assert epsilon_of_gaussian(1e-9, DELTA) == 0.0


def test_the_epsilon_of_guesses_by_hand():
    """84 of 100 right: Clopper and Pearson's lower end at 97.5 % is 0.7532, so mu = 2 x 0.6846."""
    assert epsilon_shown(84, 100, DELTA, 0.975) == pytest.approx(epsilon_of_gaussian(2 * 0.6846, DELTA), rel=2e-3)
    assert epsilon_shown(50, 100, DELTA, 0.975) == 0.0 == epsilon_shown(0, 100, DELTA, 0.975)


def test_a_bound_that_assumes_nothing_of_the_noise_by_hand():
    """With delta 0: the least epsilon at which 90 of 100 fair guesses, each right with e^eps / (1 + e^eps), are not too many."""
    epsilon = epsilon_of_any(90, 100, 0.0, 0.05)
    assert binom.sf(89, 100, 1 / (1 + math.exp(-epsilon))) == pytest.approx(0.05, rel=1e-6)
    assert epsilon_of_any(50, 100, DELTA, 0.05) == 0.0


def test_total_variation_of_one_gaussian_by_hand():
    """2 Phi(1 / (2 sigma)) - 1, and it grows to 1."""
    for noise in (0.5, 2.0):
        query = GaussianQuery(what="counts", sensitivity=3.0, noise_multiplier=noise)
        exact = 2 * norm.cdf(1 / (2 * noise)) - 1
        assert exact <= total_variation([query]) <= exact + 5e-3
    assert total_variation([]) == 0.0


@pytest.mark.parametrize("epsilon", AT)
def test_an_honest_training_is_left_alone(epsilon: float, mixed_schema: Any):
    """Of 200: the bound stays below the claim in at least 95 in 100, and none is called refuted (expected: at most 0.2)."""
    claim = claim_of(AT[epsilon])
    results = [
        found(mixed_schema, claim, left(AT[epsilon], 400, seed), left(AT[epsilon], 400, seed + 1000, where="b")) for seed in range(200)
    ]
    assert sum(shown.low < claim.epsilon for shown, _ in results) >= 190
    assert sum(verdict.value for _, verdict in results) == 0


FAULTS: dict[str, dict[str, float]] = {"noise off": {"noise": 1e-9}, "noise halved": {"noise": 0.5}, "clip skipped": {"clips": 1000.0}}


@pytest.mark.parametrize("epsilon", AT)
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_refuted(fault: str, epsilon: float, mixed_schema: Any):
    """With 400 canaries over ten weights, the clip skipped on one of these: off always, else at least 16 of 20."""
    claim, refuted = claim_of(AT[epsilon]), 0
    for seed in range(20):
        everywhere = {} if fault == "clip skipped" else FAULTS[fault]
        records = [left(AT[epsilon], 40, 100 * seed + i, where=str(i), **(everywhere if i else FAULTS[fault])) for i in range(10)]
        refuted += int(found(mixed_schema, claim, *records)[1].value)
    assert refuted >= (20 if fault == "noise off" else 16)


def test_noise_halved_is_refuted_by_the_guesses_alone_with_enough_canaries():
    """The noise seen where nobody is needs no attacker; an attacker finds it out as well."""
    for epsilon, step in AT.items():
        attacks = [watched([step], [left(step, 2000, seed, noise=0.5)])[0].attacks()[0] for seed in range(20)]
        assert sum(attack.p_value() < 1e-3 for attack in attacks) >= 16, epsilon


def test_guesses_by_hand(mixed_schema: Any):
    """One query with sigma 4: of four canaries three are told right by a score above one half."""
    query = GaussianQuery(what="counts", sensitivity=3.0, noise_multiplier=4.0)
    record = CanaryRecord(
        what="counts", where="its cells", included=(True, True, False, False), scores=(0.9, 0.1, 0.4, -3.0), total_variation=0.1
    )
    (seen,) = watched([query], [record])
    attack, _ = seen.attacks()
    assert (attack.correct, attack.n) == (3, 4)
    right = 0.55
    assert attack.p_value() == pytest.approx(right**4 + 4 * right**3 * (1 - right))
    assert seen.p_noise() == pytest.approx(1 - math.exp(-(0.4**2 + 3.0**2) / 16 / 2))  # chi-square with two degrees of freedom


def test_a_reader_learns_ceiling_threat_model_and_what_was_attacked(mixed_schema: Any):
    shown, verdict = found(mixed_schema, claim_of(AT[3.0]), left(AT[3.0], 400, 0))
    text = " ".join((shown.estimand, *shown.caveats, *verdict.caveats))
    for word in ("sees every noisy step", "gradients of net", "Ceiling", "never confirm", "no proof"):
        assert word in text
    assert shown.high is None and shown.low == shown.value and shown.reference == pytest.approx(3.0, abs=0.02)


def test_a_claim_above_the_ceiling_cannot_be_refuted_and_says_so(mixed_schema: Any):
    step = AT[3.0].model_copy(update={"noise_multiplier": 0.3})
    claim = claim_of(step)
    _, verdict = found(mixed_schema, claim, left(step, 30, 0))
    assert claim.epsilon > 15 and any("Cannot refute" in caveat for caveat in verdict.caveats)


def test_a_refuted_claim_says_do_not_release(mixed_schema: Any):
    _, verdict = found(mixed_schema, claim_of(AT[1.0]), left(AT[1.0], 400, 0, noise=1e-9))
    assert verdict.value == 1 and any("Do not release" in caveat for caveat in verdict.caveats)


def test_without_evidence_nothing_is_said(mixed_schema: Any):
    """Missing evidence is unknown, never pass."""
    query = GaussianQuery(what="counts", sensitivity=1.0, noise_multiplier=5.0)
    record = left(AT[1.0], 400, 0)
    cases = {
        "without differential privacy": (None, ()),
        "canaries: 2000": (claim_of(AT[1.0]), ()),
        "seeded": (claim_of(AT[1.0], noise="seeded"), (record,)),
        "no canaries took part in: counts": (claim_of(AT[1.0], query), (record,)),
        "does not know": (claim_of(query), (record,)),
    }
    for words, (claim, records) in cases.items():
        for finding in found(mixed_schema, claim, *records):
            assert finding.value is None and finding.status == "not_assessable" and words in finding.reason
