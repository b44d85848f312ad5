"""What did training cost in privacy? The epsilon and delta of the receipt, read and not estimated.

The attacker of this audit is any attacker: differential privacy bounds what the best of them can do. Nothing is measured
on records, so the numbers are exact; whether the accounting itself is right is for the tests of training to show, and
an attack that succeeds beyond the bound would refute it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Curve
from guardrail.vocabulary.privacy_meaning import best_tpr, in_words
from guardrail.vocabulary.receipt import PrivacyClaim


@dataclass(frozen=True)
class Accounting:
    """Which (epsilon, delta) does the released model keep?

    0 is a model that has learned nothing from any single record; there is no worst value. Epsilon 1 lets an attacker's
    odds grow by a factor of 2.7, epsilon 3 by 20, epsilon 10 by 22,026. Delta is the probability that the bound fails.
    """

    name: ClassVar[str] = "accounting"
    metrics: ClassVar[tuple[str, ...]] = ("privacy.epsilon", "privacy.delta")
    needs: ClassVar[tuple[Need, ...]] = ("receipt",)
    modalities: ClassVar[tuple[str, ...]] = ("tabular", "image", "text", "music", "series")

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        if evidence.receipt is None:
            return self._unknown(evidence.unmet(self.needs))
        claim = evidence.receipt.privacy
        if claim is None:
            return self._unknown("trained without differential privacy: no epsilon bounds what the model gives away")
        if not claim.valid:
            return self._unknown("no privacy claim: the noise was seeded, and whoever knows the seed can take it away")
        return self._epsilon(claim), self._delta(claim)

    def _unknown(self, reason: str) -> tuple[Finding, ...]:
        return tuple(Finding.not_assessable(metric, reason) for metric in self.metrics)

    def _epsilon(self, claim: PrivacyClaim) -> Finding:
        return Finding.measured(
            "privacy.epsilon",
            Estimate.exact(claim.epsilon),
            estimand=(
                f"Upper bound on epsilon at delta = {claim.delta:g} for everything that left by training, by the PRV accountant; "
                f"unit of privacy: {claim.unit} ({claim.bounded_by}); "
                f"neighbouring data sets: {claim.relation}."
            ),
            comparisons={"rdp": Estimate.exact(claim.epsilon_rdp)},
            plots=(_bound(claim),),
            caveats=(
                in_words(claim.epsilon, claim.delta, unit=claim.unit),
                "Covers the released model and everything drawn from it. Does not cover the numbers of this report, which are "
                "computed from private records, nor other releases from the same data: `guardrail budget` adds those up.",
                "Bounds what is learned from one unit's presence, not what is true of a whole group: a correct statistic about a "
                "group can still harm its members.",
                _public_inputs(claim),
            ),
        )

    def _delta(self, claim: PrivacyClaim) -> Finding:
        return Finding.measured(
            "privacy.delta",
            Estimate.exact(claim.delta),
            estimand="The delta at which privacy.epsilon was computed: the probability with which its bound may fail altogether.",
            caveats=(
                f"A delta near one in the number of records ({claim.records_public:g}, {claim.records_source}) would allow publishing "
                f"a random record outright; here delta times records is {claim.delta * claim.records_public:.2g}.",
            ),
        )


def _bound(claim: PrivacyClaim) -> Curve:
    rates = [0.0, *np.geomspace(0.001, 1, 61).tolist()]
    return Curve(
        title="The most any membership attack can reach",
        x="false-positive rate",
        y="true-positive rate, at most",
        series={f"epsilon = {claim.epsilon:.3g}": tuple((x, best_tpr(claim.epsilon, claim.delta, x)) for x in rates)},
        diagonal=True,
    )


def _public_inputs(claim: PrivacyClaim) -> str:
    """The claim is conditional on what was declared public; the reader must be able to doubt it."""
    sources = sorted(set(claim.schema_sources.values()))
    return "Holds if what training took as public is public; columns: " + ("; ".join(sources) or "no source stated") + "."
