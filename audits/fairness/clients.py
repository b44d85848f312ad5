"""Does a federation's common model serve all clients alike? Every client's own word about its own records.

A model of many is an average, and who differs from the others pays for it. Each client compares samples with its records where they
are and sends one number; under privacy it sends none, since nobody paid for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Whiskers
from guardrail.vocabulary.receipt import ClientServed


@dataclass(frozen=True)
class Clients:
    """How much worse does the model serve one client of a federation than another?

    0: all alike. A client's shortfall is the mean total variation distance, column by column, of its records from as many samples, beyond
    that of samples from samples; the gap is between the clients with the largest and the smallest.
    """

    name: ClassVar[str] = "clients"
    metrics: ClassVar[tuple[str, ...]] = ("fairness.group_fidelity_gap",)
    needs: ClassVar[tuple[Need, ...]] = ("served",)
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        (metric,) = self.metrics
        if evidence.served is None:
            return (Finding.not_assessable(metric, evidence.unmet(self.needs)),)
        if len(evidence.served) < 2:
            return (Finding.not_assessable(metric, f"{len(evidence.served)} client said how the model serves it: nothing to compare"),)
        clients = {f"client {one.client}": Estimate(value=one.shortfall, low=one.low, high=one.high) for one in evidence.served}
        within = {label: estimate for one in evidence.served for label, estimate in _extremes(one).items()}
        finding = Finding.measured(
            metric,
            _gap(evidence.served),
            estimand="The shortfall of the client that is served worst minus that of the client that is served best.",
            reference=0.0,
            groups=clients | within,
            plots=(Whiskers.of(clients, title="How far each client's records are from the samples", line=0.0, unit="total variation"),),
            caveats=(
                "Each number is a client's own word, computed where its records are.",
                "Clients whose records differ from each other cannot all be near to one model: a gap may be theirs and not the training's.",
                "Groups within a client are those of the sensitive attribute that is served most unequally there, the best and the worst.",
                "The largest of many noisy numbers minus the smallest is above 0 even where all are served alike.",
            ),
        )
        return (finding,)


def _extremes(one: ClientServed) -> dict[str, Estimate]:
    """The groups of this client that are served best and worst, of the attribute where they lie furthest apart."""
    if (unequal := one.most_unequal()) is None:
        return {}
    name, best, worst = unequal
    return {
        f"client {one.client}, {name}={value}": Estimate(value=found.value, low=found.low, high=found.high)
        for value, found in one.groups[name].items()
        if value in (best, worst)
    }


def _gap(served: tuple[ClientServed, ...]) -> Estimate:
    """Between two extremes, with their own intervals taken as independent."""
    worst, best = max(served, key=lambda one: one.shortfall), min(served, key=lambda one: one.shortfall)
    value = worst.shortfall - best.shortfall
    down = math.hypot(worst.shortfall - worst.low, best.high - best.shortfall)
    up = math.hypot(worst.high - worst.shortfall, best.shortfall - best.low)
    return Estimate(value=value, low=max(0.0, value - down), high=value + up)
