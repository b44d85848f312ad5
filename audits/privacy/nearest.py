"""Are synthetic rows drawn towards the training rows? Distance to the closest record, training against unseen rows.

The story: a generator that memorised puts its rows next to training rows. Real rows from the same population that it
never saw are the control: an honest synthetic row has its nearest neighbour in either half with probability one half
(Platzer and Reutterer 2021, doi.org/10.3389/fdata.2021.679939). Both sides have the same number of rows, and both make
the scale of the distance, so that under honesty they are exchangeable and one half is exact.

A real row that is nearest to many synthetic rows makes the share less certain than its number of rows suggests: the
interval knows by how much, from the permutation of the labels 'training' and 'unseen'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from guardrail.audits.groups import MOST_GROUPS, beyond, groups_of
from guardrail.audits.privacy.distances import coordinates, nearest
from guardrail.audits.views import sample_rows
from guardrail.statistics import wilson
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Whiskers
from guardrail.vocabulary.schema import Schema

Array = NDArray[Any]
TITLE = "Synthetic rows whose nearest real row is a training row"


@dataclass(frozen=True)
class Nearest:
    """Are synthetic rows closer to training rows than to unseen rows?

    0.5, the reference: neither. 1, the worst: every synthetic row has a training row for its nearest neighbour. Below
    0.5: further from training rows than chance, as after a filter that drops near copies; such a filter leaks who is in.
    """

    name: ClassVar[str] = "nearest"
    metrics: ClassVar[tuple[str, ...]] = ("privacy.nearest_record_share",)
    needs: ClassVar[tuple[Need, ...]] = ("train", "holdout", "synthetic")
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)

    most_records: int = 10_000
    """Rows of each real side that are searched."""
    most_synthetic: int = 5_000
    """Synthetic rows whose neighbours are looked for."""
    fewest: int = 10
    """Below so many rows on a side nothing is said."""

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        (metric,) = self.metrics
        train, holdout, synthetic = evidence.train, evidence.holdout, evidence.synthetic
        if train is None or holdout is None or synthetic is None:
            return (Finding.not_assessable(metric, evidence.unmet(self.needs)),)
        n = min(len(train), len(holdout), self.most_records)
        if min(n, len(synthetic)) < self.fewest:
            return (Finding.not_assessable(metric, f"fewer than {self.fewest} rows of train, holdout or synthetic data"),)
        rows, train, holdout = len(train), sample_rows(train, n, rng), sample_rows(holdout, n, rng)
        synthetic = sample_rows(synthetic, self.most_synthetic, rng)
        wins, records = _closer_to_train(evidence.schema, train, holdout, synthetic)
        share = _share(wins, records, 2 * n)
        listed, rest = groups_of([synthetic, train], evidence.schema, train)
        large = [group for group in listed if group.rows.sum() >= self.fewest]
        left_out = (*(group.label for group in listed if group not in large), *rest)
        groups = {group.label: group.sized(_share(wins[group.rows], records[group.rows], 2 * n)) for group in large}
        finding = Finding.measured(
            metric,
            share,
            estimand=(
                f"The probability that a synthetic row is closer to one of {n} random training rows than to all of {n} rows the "
                "generator never saw, ties counting one half; sum over columns of quantile differences and mismatches."
            ),
            reference=0.5,
            groups=groups,
            left_out=left_out[:MOST_GROUPS],
            plots=(Whiskers.of({"all rows": share, **groups}, title=TITLE, line=0.5, unit="share"),),
            caveats=(
                "Distances describe, they never certify: a copy of the training data with most cells perturbed scores like an "
                "honest generator.",
                f"{n} of {rows} training rows are searched: a row copied from the others counts as honest.",
                *beyond(len(rest)),
            ),
        )
        return (finding,)


def _closer_to_train(schema: Schema, train: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[Array, Array]:
    """Per synthetic row 1, 1/2 or 0, and which real record was its nearest (training rows first)."""
    members, others, points = coordinates(schema, pd.concat([train, holdout]), train, holdout, synthetic)
    to_train, member = nearest(points, members)
    to_holdout, other = nearest(points, others)
    wins = np.where(np.isclose(to_train, to_holdout, rtol=0, atol=1e-9), 0.5, to_train < to_holdout)
    return wins, np.where(to_train <= to_holdout, member, len(train) + other)


def _share(wins: Array, records: Array, candidates: int) -> Estimate:
    """Wilson at the number of independent rows that would vary as much.

    Under honesty the labels 'training' and 'unseen' of the `candidates` real rows are one random half of them. With c the
    number of synthetic rows that have a real row for their nearest, the share varies by (sum c^2 - m^2 / candidates) / 4 m^2.
    """
    m, shared = len(records), np.unique(records, return_counts=True)[1].astype(float)
    spread = float((shared**2).sum()) - m**2 / candidates
    effective = max(1, int(m**2 / max(spread, m)))
    estimate = wilson(min(float(wins.mean()) * effective, effective), effective)
    return estimate.model_copy(update={"value": float(wins.mean()), "n": m, "method": "wilson at the effective number of rows"})
