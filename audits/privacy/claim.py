"""Does an attack on the training's canaries contradict the claimed epsilon?

The attacker sees every noisy step and answer, and chose the canaries; all it must tell is which of them took part, each by a fair
coin. Under the claim it is right about each with probability at most (1 + TV) / 2, TV being the total variation of the mechanism
that the receipt names: so is the number of right guesses compared, by an exact binomial test, over all of a mechanism's canaries and
over those of every weight. Where no canary is there is noise alone, and its spread is compared with the one that was paid for.
For the printed epsilon the noise is taken to be Gaussian of unknown size: the least epsilon, at the claim's delta, of a Gaussian
mechanism (Dong, Roth and Su 2022, arXiv 1905.02383) that lets an attacker be right as often (lower end by Clopper and Pearson).
After Nasr et al. 2023, arXiv 2302.07956, in one run as Steinke, Nasr and Jagielski 2023, arXiv 2305.08846; their bound, which
assumes nothing of the noise, stands beside it. An attack can only refute: a claim that withstands it is not thereby true.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta, binom, chi2, norm

from guardrail.vocabulary.canaries import CanaryRecord
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.receipt import Mechanism, PrivacyClaim, SampledGaussian

ALARM = 0.001
"""Probability, at most, that an honest training is called refuted: over all its tests together."""
LEVEL = 0.975
"""Of the lower bound on epsilon, over all attacks together."""
LOUD = 6.0
"""Deviations above what is expected of a canary, from which on it is called loud."""


@dataclass(frozen=True)
class Watched:
    """The canaries of one mechanism, or those of one weight in it."""

    mechanism: Mechanism
    where: str
    included: np.ndarray
    """(canaries,) bool"""
    scores: np.ndarray
    """(canaries,) float, in clips or sensitivities"""
    total_variation: float

    @property
    def name(self) -> str:
        return f"{self.mechanism.what}, {self.where}" if self.where else self.mechanism.what

    def attacks(self) -> tuple[Attack, Attack]:
        """Two rules, fixed before anything is seen. The first is at its best where the training is honest or its noise too small; the
        second where a clip is missing, so that single canaries come through louder than noise and clip allow."""
        expected, deviation = _expected(self.mechanism), _deviation(self.mechanism)
        loud = expected + LOUD * math.hypot(deviation, math.sqrt(expected))
        return self._attack(expected / 2, "above half of what is expected"), self._attack(loud, "louder than anything expected")

    def _attack(self, threshold: float, rule: str) -> Attack:
        """Guesses `took part` above the threshold."""
        return Attack(self, rule, int(((self.scores > threshold) == self.included).sum()), len(self.included))

    def p_noise(self) -> float:
        """Probability of so little noise, or less, in the entries where no canary is."""
        alone = self.scores[~self.included] / _deviation(self.mechanism)
        return float(chi2.cdf((alone**2).sum(), len(alone))) if len(alone) else 1.0


@dataclass(frozen=True)
class Attack:
    """What came of guessing by one rule."""

    on: Watched
    rule: str
    correct: int
    n: int

    def __str__(self) -> str:
        return f"{self.correct:,} of {self.n:,} right for {self.on.name}, {self.rule}"

    def p_value(self) -> float:
        """Probability of so many right guesses, or more, where the training was what the receipt says."""
        return float(binom.sf(self.correct - 1, self.n, (1 + self.on.total_variation) / 2))


@dataclass(frozen=True)
class Claim:
    """Is the claimed epsilon contradicted by what an attacker finds out?

    0 is a claim that withstood the attack, 1 one that did not. Epsilon 0 is an attacker who does no better than tossing a coin.
    """

    name: ClassVar[str] = "claim"
    metrics: ClassVar[tuple[str, ...]] = ("privacy.empirical_epsilon", "privacy.claim")
    needs: ClassVar[tuple[Need, ...]] = ("receipt",)
    modalities: ClassVar[tuple[str, ...]] = ("tabular", "image", "text", "music", "series")

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        reason = self._unmet(evidence)
        if reason or evidence.receipt is None or evidence.receipt.privacy is None:
            return tuple(Finding.not_assessable(metric, reason) for metric in self.metrics)
        claim = evidence.receipt.privacy
        seen = watched(claim.mechanisms, evidence.canaries)
        attacks = [attack for one in seen for attack in one.attacks()]
        return _shown(claim, attacks), _verdict(claim, seen, attacks)

    def _unmet(self, evidence: Evidence) -> str:
        if evidence.receipt is None:
            return evidence.unmet(self.needs)
        claim = evidence.receipt.privacy
        if claim is None:
            return "trained without differential privacy: there is no claim to attack"
        if not claim.valid:
            return "no privacy claim: the noise was seeded, and whoever knows the seed can take it away"
        paid, seen = {mechanism.what for mechanism in claim.mechanisms}, {record.what for record in evidence.canaries}
        if unpaid := sorted(seen - paid):
            return f"there are canaries of a mechanism ({unpaid[0]}) that the receipt does not know: they are not those of this training"
        if missing := sorted(paid - seen):
            return (
                f"no canaries took part in: {', '.join(missing)}; add `canaries: 2000` to the spec's privacy section "
                "(a player that is not clipped in one pass cannot have any)"
            )
        return ""


def watched(mechanisms: Sequence[Mechanism], records: Sequence[CanaryRecord]) -> list[Watched]:
    """Every record, and all records of a mechanism together where there are several."""
    by_name = {mechanism.what: mechanism for mechanism in mechanisms}
    each = [
        Watched(by_name[one.what], one.where, np.array(one.included, dtype=bool), np.array(one.scores), one.total_variation)
        for one in records
    ]
    together = []
    for mechanism in by_name.values():
        own = [one for one in each if one.mechanism is mechanism]
        if len(own) > 1:
            included, scores = np.concatenate([one.included for one in own]), np.concatenate([one.scores for one in own])
            together.append(Watched(mechanism, "", included, scores, max(one.total_variation for one in own)))
    return [*together, *each]


def _shown(claim: PrivacyClaim, attacks: Sequence[Attack]) -> Finding:
    """The largest of the epsilons that the attacks show."""
    level = 1 - (1 - LEVEL) / len(attacks)
    bounds = [epsilon_shown(attack.correct, attack.n, claim.delta, level) for attack in attacks]
    attack, shown = attacks[int(np.argmax(bounds))], max(bounds)
    steinke = epsilon_of_any(attack.correct, attack.n, claim.delta, 1 - level)
    return Finding.measured(
        "privacy.empirical_epsilon",
        Estimate(value=shown, low=shown, high=None, level=LEVEL, n=attack.n, method="clopper-pearson"),
        estimand=(
            f"Least epsilon at delta = {claim.delta:g} of a training whose canaries are told apart as well as these ({attack}; the "
            f"strongest of {len(attacks)} attacks), by an attacker who chose them and sees every noisy step."
        ),
        reference=claim.epsilon,
        comparisons={"steinke": Estimate.exact(steinke)},
        caveats=(
            "A lower bound: it can refute the claimed epsilon and never confirm it.",
            f"Ceiling: with so many canaries no attack could show more than {_ceiling(claim, attacks):.2f}.",
            "The noise is taken to be Gaussian of unknown size; `steinke` is the bound that assumes nothing of it.",
            "Canaries lie in dead entries beside those of every weight and answer: the model is the same without them, and a fault that "
            "spares such entries is not seen.",
        ),
    )


def _verdict(claim: PrivacyClaim, seen: Sequence[Watched], attacks: Sequence[Attack]) -> Finding:
    tests = {str(attack): attack.p_value() for attack in attacks}
    tests |= {f"noise on {one.name} smaller than paid for": one.p_noise() for one in seen}
    strongest = min(tests, key=lambda name: tests[name])
    p = min(1.0, tests[strongest] * len(tests))
    refuted, ceiling = p < ALARM, _ceiling(claim, attacks)
    return Finding.measured(
        "privacy.claim",
        Estimate.exact(float(refuted), sum(len(one.included) for one in seen if one.where)),
        estimand=f"1 where the claimed noise cannot have let the attacker find out what it did (p < {ALARM:g}), else 0.",
        caveats=(
            f"Strongest of {len(tests)} tests: {strongest}; p-value, corrected for their number: {p:.2g}.",
            "Refuted: the training did not do what its receipt says. Do not release."
            if refuted
            else "Not refuted, which is no proof: only what this attack can see was tried.",
            *(() if claim.epsilon <= ceiling else (f"Cannot refute by guesses: the claim lies above their ceiling of {ceiling:.2f}.",)),
        ),
    )


def _ceiling(claim: PrivacyClaim, attacks: Sequence[Attack]) -> float:
    n = max(attack.n for attack in attacks)
    return epsilon_shown(n, n, claim.delta, 1 - (1 - LEVEL) / len(attacks))


def _expected(mechanism: Mechanism) -> float:
    """What a canary that takes part adds up to, in clips or sensitivities."""
    return mechanism.steps * mechanism.sample_rate if isinstance(mechanism, SampledGaussian) else 1.0


def _deviation(mechanism: Mechanism) -> float:
    """Of the noise that adds up beside it."""
    return mechanism.noise_multiplier * (math.sqrt(mechanism.steps) if isinstance(mechanism, SampledGaussian) else 1.0)


def epsilon_shown(correct: int, n: int, delta: float, level: float) -> float:
    """Epsilon at `delta` of the Gaussian mechanism that lets an attacker be right as often as `correct` of `n` guesses show, at
    least, with confidence `level`."""
    share = float(beta.ppf(1 - level, correct, n - correct + 1)) if correct else 0.0
    return epsilon_of_gaussian(2 * float(norm.ppf(share)), delta) if share > 0.5 else 0.0


def epsilon_of_gaussian(mu: float, delta: float) -> float:
    """Of mu-Gaussian differential privacy, by corollary 1 of Dong, Roth and Su."""

    def excess(epsilon: float) -> float:
        return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu))) - delta

    return 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, mu * mu / 2 + mu * 40))


def epsilon_of_any(correct: int, n: int, delta: float, alpha: float) -> float:
    """Steinke, Nasr and Jagielski's bound for any (epsilon, delta) mechanism, from all `n` guesses: the least epsilon at which so many
    right ones have probability above `alpha`."""

    def probability(epsilon: float) -> float:
        q = 1 / (1 + math.exp(-epsilon))
        tail = float(binom.sf(correct - 1, n, q))
        steps = np.arange(1, correct + 1)
        gain = (float(binom.sf(correct - 1, n, q)), binom.sf(correct - 1 - steps, n, q))
        most = float(np.max((gain[1] - gain[0]) / steps)) if correct else 0.0
        return min(1.0, tail + 2 * n * delta * most)

    if probability(0.0) > alpha:
        return 0.0
    high = 1.0
    while probability(high) <= alpha and high < 64:
        high *= 2
    return float(brentq(lambda epsilon: probability(epsilon) - alpha, 0.0, high)) if high < 64 else 64.0
