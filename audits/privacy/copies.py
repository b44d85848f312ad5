"""Did the generator hand out training rows? The share of synthetic rows equal to one, cell by cell.

The attacker reads the synthetic file and takes what he sees for true. He is right whenever a row of it is a training
row. Chance copies happen where columns are few and coarse, which is what the controls are for: real rows that the
generator never saw (`holdout`) copy training rows at the rate that chance alone explains, and rows without any
dependence between columns (`floor`) are the naive baseline.

Equality is exact: rows are numbered by their cells (`row_ids`), one column after the other, so no two different rows can
share a number as they could share a hash. Cells are compared as cast: 1 and 1.0 agree, a missing value equals a missing
value, 0.0 equals -0.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from guardrail.audits.groups import MOST_GROUPS, beyond, groups_of
from guardrail.statistics import wilson
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Whiskers

Array = NDArray[Any]
TITLE = "Rows that equal a training row"


@dataclass(frozen=True)
class Copies:
    """What share of the synthetic rows is a training row, cell by cell?

    0: none is. The reference is the share of holdout rows that equal a training row: what honest rows from the same
    population reach by chance. 1, the worst: the synthetic data is the training data.
    """

    name: ClassVar[str] = "copies"
    metrics: ClassVar[tuple[str, ...]] = ("privacy.exact_copies",)
    needs: ClassVar[tuple[Need, ...]] = ("train", "synthetic")
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        (metric,) = self.metrics
        train, synthetic, holdout = evidence.train, evidence.synthetic, evidence.holdout
        if train is None or synthetic is None:
            return (Finding.not_assessable(metric, evidence.unmet(self.needs)),)
        if not len(train) or not len(synthetic):
            return (Finding.not_assessable(metric, f"{len(train)} training rows and {len(synthetic)} synthetic rows: nothing to compare"),)
        others = {"floor": evidence.floor_rows(rng)} | ({"holdout": holdout} if holdout is not None and len(holdout) else {})
        ids = dict(zip(["train", "synthetic", *others], row_ids(train, synthetic, *others.values()), strict=True))
        comparisons = {name: _share(np.isin(ids[name], ids["train"])) for name in others}
        copied = np.isin(ids["synthetic"], ids["train"])
        listed, rest = groups_of([synthetic, train], evidence.schema, train)
        groups = _unique(ids) | {group.label: group.sized(_share(copied[group.rows])) for group in listed}
        share = _share(copied)
        reference = comparisons["holdout"].value if "holdout" in comparisons else None
        finding = Finding.measured(
            metric,
            share,
            estimand=f"The probability that a synthetic row equals, in every cell, at least one of the {len(train)} training rows.",
            reference=reference,
            comparisons=comparisons,
            groups=groups,
            left_out=rest[:MOST_GROUPS],
            plots=(Whiskers.of({"synthetic": share, **comparisons, **groups}, title=TITLE, line=reference, unit="share"),),
            caveats=(*_caveats(synthetic, reference), *beyond(len(rest))),
        )
        return (finding,)


def row_ids(*frames: pd.DataFrame) -> list[Array]:
    """One whole number per row and frame, equal exactly where all cells are equal. Exact: no hashing of rows."""
    ids = np.zeros(sum(map(len, frames)), np.int64)
    for column in frames[0].columns:
        cells = pd.concat([frame[column].reset_index(drop=True) for frame in frames], ignore_index=True)
        codes, values = pd.factorize(cells)  # missing: -1
        # Renumbered after each column, so that the product stays below (rows + 1) squared.
        ids = pd.factorize(ids * (len(values) + 1) + codes + 1)[0].astype(np.int64)
    return np.split(ids, np.cumsum([len(frame) for frame in frames])[:-1])


def _unique(ids: dict[str, Array]) -> dict[str, Estimate]:
    """Copies of training rows that occur once weigh most: they are somebody's and nobody else's."""
    numbers, counts = np.unique(ids["train"], return_counts=True)
    alone = numbers[counts == 1]
    shares = {"copies of rows unique in train": _share(np.isin(ids["synthetic"], alone))}
    if "holdout" in ids:
        shares["holdout: copies of rows unique in train"] = _share(np.isin(ids["holdout"], alone))
    return shares


def _share(hits: Array) -> Estimate:
    return wilson(int(hits.sum()), len(hits))


def _caveats(synthetic: pd.DataFrame, reference: float | None) -> tuple[str, ...]:
    distinct = int(np.prod([min(float(column.nunique(dropna=False)), 1e6) for _, column in synthetic.items()], dtype=float).clip(max=1e18))
    coarse = f" The synthetic columns allow about {distinct:,} different rows." if distinct < 1e6 else ""
    control = "read it beside the holdout's share" if reference is not None else "without a holdout there is nothing to read it against"
    return (
        f"Where columns are few or coarse, rows coincide by chance: {control}.{coarse}",
        "One changed cell makes a copy unequal: 0 does not say that no training record can be recognised.",
        "A person with several identical rows, or the same person in train and holdout, raises both shares.",
    )
