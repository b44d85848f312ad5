"""Can a record be drawn back from a client's update? An attack on the updates of a federation, as they leave.

The attacker is whoever sees a single update (the server, without secure aggregation), knows the weights it started from and the record's
class. The worst case is tried: a client with one record that takes one step. Compared is with the mean image of the record's class,
which needs no update: an attack that does no better has learned nothing of the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guardrail.statistics import wilson
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding

RECOGNISED = 20.0
"""Decibels of peak signal to noise from which on an image is taken to be recovered."""
ATTACKED = 20
"""Records; a search for one may take seconds."""


@dataclass(frozen=True)
class GradientInversion:
    """What share of the records can be drawn back from a client's update?

    0: none of those tried. 1, the worst: all of them, to 20 decibels and better. The reference is the share that the mean image of
    the record's class reaches without any update.
    """

    name: ClassVar[str] = "inversion"
    metrics: ClassVar[tuple[str, ...]] = ("privacy.gradient_inversion",)
    needs: ClassVar[tuple[Need, ...]] = ("train", "update_attack")
    modalities: ClassVar[tuple[str, ...]] = ("image",)

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        (metric,) = self.metrics
        if evidence.train is None or evidence.update_attack is None or not len(evidence.train):
            return (Finding.not_assessable(metric, evidence.unmet(self.needs) or "no training records"),)
        decibels = evidence.update_attack(min(ATTACKED, len(evidence.train)), rng)
        attack, mean = (self._share(column) for column in decibels.T)
        finding = Finding.measured(
            metric,
            attack,
            estimand=(
                f"The probability that a training image is drawn back to a peak signal-to-noise ratio of {RECOGNISED:g} dB or better from "
                "the update of a client that has it alone and takes one step from the first weights."
            ),
            reference=mean.value,
            comparisons={"class mean": mean},
            caveats=(
                f"In the mean over {len(decibels)} images: {decibels[:, 0].mean():.1f} dB by the attack, {decibels[:, 1].mean():.1f} dB by "
                "the mean image of the class.",
                "Clients with many records that take many steps give less away; an attack that fails certifies nothing.",
                "Under secure aggregation the server sees no single update; what this attack needs is then kept from it.",
            ),
        )
        return (finding,)

    @staticmethod
    def _share(decibels: np.ndarray) -> Estimate:
        return wilson(int((decibels >= RECOGNISED).sum()), len(decibels))
