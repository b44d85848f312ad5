"""Whether the training was steady in its second half: no swing that does not settle, no exploding or fading gradient.

The signs are those that the monitor warns of while training (`guardrail.training.signs`), looked for in the curves it kept.
Beginnings are often rough and prove little, so the first half only serves to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guardrail.statistics import wilson
from guardrail.training.signs import EXPLOSION, FADING, FIRST, explodes, fades, swings
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.monitor import Curve, MonitorRecord
from guardrail.vocabulary.plots import Curve as Plot

METRIC = "training.stability"
LEAST_STEPS = 100
"""Shorter trainings have too few losses to tell a swing from noise."""
RECENT = 100
"""Losses of the curve in which a swing is looked for."""
WINDOWS = 20
CAVEATS = (
    "a steady training may have learned nothing, and an adversarial one that swings may still sample well",
    "windows follow one another and are alike, so the interval is narrower than that of independent trials",
    "the curves are thinned to 200 points: a swing from step to step shows only in trainings of few steps",
)


@dataclass(frozen=True)
class Stability:
    """In what share of the second half of training was there no sign of trouble?

    1: in none of 20 windows did a loss swing, a gradient explode or fade; 0: in all of them. A training with steps whose loss
    was not finite counts as many windows as unsteady as those steps fill.
    """

    name: ClassVar[str] = "stability"
    metrics: ClassVar[tuple[str, ...]] = (METRIC,)
    needs: ClassVar[tuple[Need, ...]] = ("monitor",)
    modalities: ClassVar[tuple[str, ...]] = ("tabular", "image", "text", "music", "series")

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        record = evidence.monitor
        if record is None:
            return (Finding.not_assessable(METRIC, evidence.unmet(self.needs)),)
        if record.steps < LEAST_STEPS or not record.losses:
            return (Finding.not_assessable(METRIC, f"the training took {record.steps} steps; {LEAST_STEPS} are the least"),)
        steady = {name: _steady(record, name) for name in record.losses}
        every = np.logical_and.reduce(list(steady.values()))
        lost = min(int(every.sum()), int(np.ceil(WINDOWS * record.lost / record.steps)))
        return (
            Finding.measured(
                METRIC,
                wilson(int(every.sum()) - lost, WINDOWS),
                estimand=(
                    f"share of {WINDOWS} windows of the second half of {record.steps:,} steps in which no player's loss swung and no "
                    f"gradient grew to {EXPLOSION:g} times, or shrank to {FADING:g} of, what it was in the first steps"
                ),
                reference=1.0,
                groups={f"player={name}": wilson(int(windows.sum()), WINDOWS) for name, windows in steady.items()},
                plots=_plots(record),
                caveats=(*CAVEATS, *_said(record)),
            ),
        )


def _steady(record: MonitorRecord, player: str) -> np.ndarray:
    """(windows,) bool: which show no sign."""
    ends = np.linspace(record.steps / 2, record.steps, WINDOWS + 1)[1:]
    losses, norms = record.losses[player], record.gradient_norms.get(player, ())
    return np.array([not swings(_upto(losses, end)[-RECENT:]) and not _gradient_sign(_upto(norms, end)) for end in ends])


def _gradient_sign(norms: list[float]) -> bool:
    return len(norms) > FIRST and (explodes(norms) or fades(norms))


def _upto(curve: Curve, step: float) -> list[float]:
    return [value for at, value in curve if at <= step]


def _plots(record: MonitorRecord) -> tuple[Plot, ...]:
    """Losses and gradient norms by step."""
    drawn = (("Loss of each player", "loss", record.losses), ("Norm of each player's gradient", "norm", record.gradient_norms))
    return tuple(Plot(title=title, x="step", y=unit, series=dict(curves)) for title, unit, curves in drawn if any(curves.values()))


def _said(record: MonitorRecord) -> tuple[str, ...]:
    lost = (f"the loss was not a finite number in {record.lost:,} of {record.steps:,} steps",) if record.lost else ()
    return (*(f"while training it was said: {warning}" for warning in record.warnings), *lost)
