"""Whether the samples cover the training records: which clusters of the records no sample falls into.

Counting found modes is how mode collapse is shown on data whose modes are known (Metz et al. 2017, arXiv 1611.02163); here the
modes are clusters of the training records, found by the monitor, and a cluster is missing where it got less than a tenth of the
samples that its size lets expect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guardrail.statistics import wilson
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.monitor import MonitorRecord
from guardrail.vocabulary.plots import Curve

METRIC = "training.mode_collapse"
REASON = "no samples were compared with clusters of the records: there are too few records, or sampling takes too long"
CAVEATS = (
    "counts clusters, not variety inside them: a model that repeats one example of each cluster scores 0",
    "the clusters are found in the records by k-means, and need not be the kinds that a reader would name",
    "computed from training records, so outside epsilon; private trainings have no such record",
)


@dataclass(frozen=True)
class Collapse:
    """What share of the kinds of training records is missing from the samples?

    0: every cluster of the records got its samples, at least a tenth of what its size lets expect. 1: all samples fall
    outside every cluster. A model that makes one thing only misses all clusters but one.
    """

    name: ClassVar[str] = "collapse"
    metrics: ClassVar[tuple[str, ...]] = (METRIC,)
    needs: ClassVar[tuple[Need, ...]] = ("monitor",)
    modalities: ClassVar[tuple[str, ...]] = ("tabular", "image", "text", "music", "series")

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        record = evidence.monitor
        if record is None:
            return (Finding.not_assessable(METRIC, evidence.unmet(self.needs)),)
        counts = record.mode_counts
        if counts is None:
            return (Finding.not_assessable(METRIC, REASON),)
        missing = min(max(counts.total - counts.found, 0), counts.total)
        return (
            Finding.measured(
                METRIC,
                wilson(missing, counts.total),
                estimand=f"share of {counts.total} clusters of the training records that {counts.n_samples:,} samples of the model miss",
                reference=0.0,
                plots=_plots(record),
                caveats=CAVEATS,
            ),
        )


def _plots(record: MonitorRecord) -> tuple[Curve, ...]:
    if len(record.modes) < 2:
        return ()
    missing = tuple((float(step), 1 - found) for step, found in record.modes)
    return (Curve(title="Clusters of the records that the samples miss", x="step", y="share", series={"missing": missing}),)
