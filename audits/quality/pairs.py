"""Two columns at a time: 1 - mean total variation distance of synthetic against train over the tables of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np

from guardrail.audits.quality.variation import COMPARED, Similarities, common_tables, similarities, too_small
from guardrail.audits.views import Codes
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Heatmap

METRIC = "quality.pairs"
CAVEATS = (
    "read it against the floor, never alone: columns drawn independently of each other score almost as high",
    "two columns at a time: what only three together show is not seen; see quality.utility_auc and quality.detection_auc",
    "copied training rows score as well as real rows; see privacy.exact_copies and privacy.nearest_record_share",
)
Pair = tuple[int, int]


@dataclass(frozen=True)
class Pairs:
    """Does each pair of columns look like the training data's?

    1: every pair of columns has the training data's table of shares. The reference: what a holdout of the same size
    (or, from a small one, two resamples of train) reaches. The floor: columns without any dependence. 0: nothing in common.
    """

    name: ClassVar[str] = "pairs"
    metrics: ClassVar[tuple[str, ...]] = (METRIC,)
    needs: ClassVar[tuple[Need, ...]] = ("train", "synthetic")
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)

    most_rows: int = 50_000
    most_pairs: int = 1_770
    """All pairs of 60 columns; of wider tables a random part."""

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        if len(evidence.schema.columns) < 2:
            return (Finding.not_assessable(METRIC, "the table has one column, so there are no pairs"),)
        if reason := too_small(evidence):
            return (Finding.not_assessable(METRIC, reason),)
        tables = common_tables(evidence, rng, self.most_rows)
        pairs, part = self._chosen(len(tables.binned.names), rng)
        found = {role: _compare(tables.binned.sizes, a, b, pairs) for role, (a, b) in tables.compared.items()}
        comparisons = {role: found[role].mean() for role in COMPARED if role in found}
        of_column = {j: [i for i, pair in enumerate(pairs) if j in pair] for j in range(len(tables.binned.names))}
        return (
            Finding.measured(
                METRIC,
                found["synthetic"].mean(),
                estimand=f"1 - total variation distance between synthetic and train, mean over {len(pairs)} pairs of columns, "
                f"at {tables.n} rows a side",
                reference=tables.reference(comparisons),
                comparisons=comparisons,
                groups={tables.binned.names[j]: found["synthetic"].mean(own) for j, own in of_column.items() if own},
                plots=(_heatmap(tables.binned.names, pairs, found["synthetic"]),),
                caveats=(*CAVEATS, *part, *tables.caveats),
            ),
        )

    def _chosen(self, columns: int, rng: np.random.Generator) -> tuple[list[Pair], tuple[str, ...]]:
        pairs = list(combinations(range(columns), 2))
        if len(pairs) <= self.most_pairs:
            return pairs, ()
        kept = np.sort(rng.choice(len(pairs), self.most_pairs, replace=False))
        return [pairs[i] for i in kept], (f"a random {self.most_pairs} of the {len(pairs)} pairs were compared",)


def _compare(sizes: Sequence[int], a: Codes, b: Codes, pairs: Sequence[Pair]) -> Similarities:
    return similarities(((a[:, i] * sizes[j] + a[:, j], b[:, i] * sizes[j] + b[:, j], sizes[i] * sizes[j]) for i, j in pairs), len(a))


def _heatmap(names: tuple[str, ...], pairs: Sequence[Pair], found: Similarities) -> Heatmap:
    values: list[list[float | None]] = [[None] * len(names) for _ in names]
    for (i, j), value in zip(pairs, found.values, strict=True):
        values[i][j] = values[j][i] = float(value)
    return Heatmap(title="Similarity of each pair of columns", rows=names, columns=names, values=tuple(tuple(row) for row in values))
