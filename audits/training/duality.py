"""How far two players of a game are from equilibrium: the duality gap (Grnarova et al. 2019, arXiv 1811.05512).

Each player in turn is trained alone for some steps against the other as it stands; what the two gain together is the gap. At a
Nash equilibrium neither gains anything. The monitor takes these excursions on copies, on records kept apart for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guardrail.statistics import normal
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.monitor import MonitorRecord
from guardrail.vocabulary.plots import Curve

METRIC = "training.duality_gap"
REPEATS = 3
"""The last estimates of training, whose spread is the error of the last."""
CAVEATS = (
    "an excursion of a few steps finds an opponent that is bad, not the worst one: the true gap is no smaller",
    "the interval is the spread of the last estimates, each at other weights; it holds what training still moved",
    "in units of the game's value, so to be compared between trainings of one family only",
)


@dataclass(frozen=True)
class Duality:
    """How much would the worst opponent of each player gain over the present one?

    0: neither player could do better alone, a Nash equilibrium. The reference is the gap of the untrained players; there is no
    worst value. Families that play no game have none.
    """

    name: ClassVar[str] = "duality"
    metrics: ClassVar[tuple[str, ...]] = (METRIC,)
    needs: ClassVar[tuple[Need, ...]] = ("monitor",)
    modalities: ClassVar[tuple[str, ...]] = ("tabular", "image", "text", "music", "series")

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        record = evidence.monitor
        if record is None:
            return (Finding.not_assessable(METRIC, evidence.unmet(self.needs)),)
        if not record.duality_gap:
            return (Finding.not_assessable(METRIC, "the family plays no zero-sum game, or the training was too short for its excursions"),)
        step, _ = record.duality_gap[-1]
        return (
            Finding.measured(
                METRIC,
                _last([max(0.0, value) for _, value in record.duality_gap][-REPEATS:]),
                estimand=f"gain of both players together when each is trained alone against the other as it stood at step {step:,}",
                reference=record.duality_reference,
                plots=_plots(record),
                caveats=CAVEATS,
            ),
        )


def _last(values: list[float]) -> Estimate:
    """The last estimate, with the spread of those around it; of a single one only the least value is known."""
    if len(values) == 1:
        return Estimate(value=values[0], low=0.0, high=None, n=1, method="a single estimate")
    spread = float(np.std(values, ddof=1))
    return normal(values[-1], spread, len(values), low=0.0, method=f"spread of the last {len(values)} estimates", degrees=len(values) - 1)


def _plots(record: MonitorRecord) -> tuple[Curve, ...]:
    before = () if record.duality_reference is None else ((0.0, record.duality_reference),)
    found = (*before, *((float(step), value) for step, value in record.duality_gap))
    return (Curve(title="Duality gap while training", x="step", y="gap", series={"gap": found}),) if len(found) > 1 else ()
