"""Who is missing from the synthetic data: each group's share there against its share of the training data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from guardrail.audits.groups import MOST_GROUPS, beyond, groupings, number_of_groups
from guardrail.statistics import share_ratio, simultaneous_level, worst, worst_name
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Bars, Plot, Whiskers

METRIC = "bias.representation"
LEVEL = 0.95
CAVEATS = (
    "shares only: a group can keep its share and lose its truth; see quality.utility_auc by group and the fairness findings",
    "shares are compared with the training data, which may itself leave people out",
)


@dataclass(frozen=True)
class _Counts:
    """Rows of each group in two tables."""

    labels: tuple[str, ...]
    train: tuple[int, ...]
    other: tuple[int, ...]
    train_rows: int
    other_rows: int

    def expected(self, i: int) -> float:
        """Rows the rarer of the two tables would hold if the shares were train's; blind to what the other table holds."""
        return min(self.train[i], self.other_rows * self.train[i] / self.train_rows)

    def ratios(self, chosen: Iterable[int], level: float) -> dict[str, Estimate]:
        """Each on as many records as the group has in the table where it has fewest: a ratio about one person is about one."""
        found = {}
        for i in chosen:
            ratio = share_ratio(self.other[i], self.other_rows, self.train[i], self.train_rows, level)
            found[self.labels[i]] = ratio.model_copy(update={"n": min(self.train[i], self.other[i])})
        return found

    def least(self, ratios: dict[str, Estimate]) -> Estimate:
        """The headline rests on both tables: a large group that is wholly gone must not make it one about no record."""
        return worst(ratios, how="min", level=LEVEL).model_copy(update={"n": min(self.train_rows, self.other_rows)})


@dataclass(frozen=True)
class Representation:
    """Which group lost most of its share of the data?

    The least, over all groups of people, of (share in synthetic) / (share in train). 1: no group lost anything. 0: a group
    is gone. The reference: the least ratio of the holdout, which is below 1 by chance alone.
    """

    name: ClassVar[str] = "representation"
    metrics: ClassVar[tuple[str, ...]] = (METRIC,)
    needs: ClassVar[tuple[Need, ...]] = ("train", "synthetic", "sensitive")
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)

    least_expected: int = 150
    """Rows a group would have at train's share to enter the headline. Two honest samples of 150 rows each vary enough to put
    the lower end of the least of a dozen ratios near a half; with 100 it fell below in one honest split out of forty."""
    most_listed: int = MOST_GROUPS
    """Groups in the finding's table: the worst of all, then the largest."""

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        train, synthetic = evidence.train, evidence.synthetic
        if train is None or synthetic is None:
            raise ValueError("bias.representation needs train and synthetic")
        for role, frame in (("training", train), ("synthetic", synthetic)):
            if frame.empty:
                return (Finding.not_assessable(METRIC, f"the {role} data has no rows"),)
        counts = self._counted(evidence, train, synthetic)
        large, small = self._split(counts)
        if not large:
            sizes = f"{len(train)} training and {len(synthetic)} synthetic rows"
            reason = f"no group would have {self.least_expected} rows on both sides, of {sizes}"
            return (Finding.not_assessable(METRIC, reason),)
        level = simultaneous_level(LEVEL, len(large))
        ratios = counts.ratios(large, level)
        comparisons = self._holdout(evidence, train)
        worst_one = counts.labels.index(worst_name(ratios, how="min"))
        listed = list(dict.fromkeys([worst_one, *large, *small]))[: self.most_listed]
        new = [i for i, rows in enumerate(counts.train) if not rows]
        return (
            Finding.measured(
                METRIC,
                counts.least(ratios),
                estimand=f"least ratio of a group's share among {len(synthetic)} synthetic rows to its share among {len(train)} training "
                f"rows, over {len(large)} groups; here {counts.labels[worst_one]}",
                reference=comparisons["holdout"].value if comparisons else 1.0,
                comparisons=comparisons,
                groups=counts.ratios(sorted(listed, key=[*large, *small].index), level),
                left_out=tuple(counts.labels[i] for i in (*small, *new)[: self.most_listed]),
                plots=(_ratios(ratios), _shares(counts, large)),
                caveats=(*CAVEATS, *self._said(counts, small, new), *beyond(len(large) + len(small) - len(listed), len(listed))),
            ),
        )

    def _counted(self, evidence: Evidence, train: pd.DataFrame, other: pd.DataFrame) -> _Counts:
        found = groupings([train, other], evidence.schema, train)
        labels = tuple(label for grouping in found for label in grouping.labels)
        rows = np.concatenate([grouping.sizes() for grouping in found], axis=1).tolist()
        return _Counts(labels, tuple(rows[0]), tuple(rows[1]), len(train), len(other))

    def _split(self, counts: _Counts) -> tuple[list[int], list[int]]:
        """Groups of the training data large enough for the headline, and the others, the largest first."""
        present = sorted((i for i, count in enumerate(counts.train) if count), key=lambda i: -counts.train[i])
        large = [i for i in present if counts.expected(i) >= self.least_expected]
        return large, present[len(large) :]

    def _holdout(self, evidence: Evidence, train: pd.DataFrame) -> dict[str, Estimate]:
        if evidence.holdout is None or evidence.holdout.empty:
            return {}
        counts = self._counted(evidence, train, evidence.holdout)
        large, _ = self._split(counts)
        if not large:
            return {}
        return {"holdout": counts.least(counts.ratios(large, simultaneous_level(LEVEL, len(large))))}

    def _said(self, counts: _Counts, small: list[int], new: list[int]) -> list[str]:
        gone = sum(not counts.other[i] for i in small)
        said = []
        if small:
            said.append(
                f"{number_of_groups(len(small))} with too few rows to judge (under {self.least_expected} expected) not in the headline"
            )
        if gone:
            said.append(f"of these, {gone:,} wholly absent from the synthetic data")
        if new:
            said.append(f"{number_of_groups(len(new))} in the synthetic data only")
        return said


def _ratios(ratios: dict[str, Estimate], most: int = 40) -> Plot:
    order = sorted(ratios, key=lambda label: ratios[label].value)[:most]
    return Whiskers.of(
        {label: ratios[label] for label in order},
        title="Share in the synthetic data over share in the training data, the greatest loss first",
        line=1.0,
        unit="ratio of shares",
    )


def _shares(counts: _Counts, large: list[int], most: int = 40) -> Plot:
    shown = large[:most]
    return Bars(
        title="Shares of the groups",
        labels=tuple(counts.labels[i] for i in shown),
        series={
            "train": tuple(counts.train[i] / counts.train_rows for i in shown),
            "synthetic": tuple(counts.other[i] / counts.other_rows for i in shown),
        },
    )
