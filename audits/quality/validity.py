"""The share of synthetic rows that obeyed the schema as they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guardrail.statistics import wilson
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding

METRIC = "quality.validity"


@dataclass(frozen=True)
class Validity:
    """What share of the records obeys the schema?

    1, the reference: every record. 0: every record has a cell, or a content, that the schema does not allow.
    """

    name: ClassVar[str] = "validity"
    metrics: ClassVar[tuple[str, ...]] = (METRIC,)
    needs: ClassVar[tuple[Need, ...]] = ("synthetic",)
    modalities: ClassVar[tuple[str, ...]] = ("tabular", "image", "text", "music", "series")

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        valid = evidence.synthetic_valid
        if valid is None:
            return (Finding.not_assessable(METRIC, "it was not recorded which rows obeyed the schema before they were read into it"),)
        if not len(valid):
            return (Finding.not_assessable(METRIC, "the synthetic data has no rows"),)
        return (
            Finding.measured(
                METRIC,
                wilson(int(np.count_nonzero(valid)), len(valid)),
                estimand=f"share of rows in which every cell obeys the schema, from {len(valid)} synthetic rows as they came",
                reference=1.0,
                caveats=("each cell by itself: rules between columns (a discharge after its admission) are not in the schema",),
            ),
        )
