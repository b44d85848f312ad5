"""One column at a time: 1 - mean total variation distance of synthetic against train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from guardrail.audits.quality.variation import COMPARED, Tables, common_tables, similarities, too_small
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Bars, Plot, Whiskers

METRIC = "quality.marginals"
CAVEATS = (
    "columns one at a time: a generator that ignores every dependence scores as well as real rows",
    "copied training rows score as well as real rows; see privacy.exact_copies and privacy.nearest_record_share",
)


@dataclass(frozen=True)
class Marginals:
    """Does each column look like the training data's?

    1: every column has the training data's shares. The reference: what a holdout of the same size (or, where it is smaller,
    two resamples of train) reaches, the best that honest rows can do. 0: no value of any column in common.
    """

    name: ClassVar[str] = "marginals"
    metrics: ClassVar[tuple[str, ...]] = (METRIC,)
    needs: ClassVar[tuple[Need, ...]] = ("train", "synthetic")
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)

    most_rows: int = 50_000
    shown: int = 3
    """Columns whose shares are drawn: those that differ most."""

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        if reason := too_small(evidence):
            return (Finding.not_assessable(METRIC, reason),)
        tables = common_tables(evidence, rng, self.most_rows)
        sizes = tables.binned.sizes
        found = {role: similarities(zip(a.T, b.T, sizes, strict=True), len(a)) for role, (a, b) in tables.compared.items()}
        columns = {name: found["synthetic"].mean([j]) for j, name in enumerate(tables.binned.names)}
        comparisons = {role: found[role].mean() for role in COMPARED if role in found}
        reference = tables.reference(comparisons)
        return (
            Finding.measured(
                METRIC,
                found["synthetic"].mean(),
                estimand=f"1 - total variation distance between synthetic and train, mean over {len(columns)} columns, "
                f"at {tables.n} rows a side",
                reference=reference,
                comparisons=comparisons,
                groups=columns,
                plots=(_overview(columns, reference), *_details(tables, columns, self.shown)),
                caveats=(*CAVEATS, *tables.caveats),
            ),
        )


def _overview(columns: dict[str, Estimate], reference: float | None) -> Whiskers:
    order = sorted(columns, key=lambda name: columns[name].value)
    return Whiskers(
        title="Similarity of each column to the training data's, the least similar first",
        labels=tuple(order),
        values=tuple(columns[name].value for name in order),
        lows=tuple(columns[name].low for name in order),
        highs=tuple(columns[name].high for name in order),
        line=reference,
        unit="1 - total variation distance",
    )


def _details(tables: Tables, columns: dict[str, Estimate], shown: int) -> tuple[Plot, ...]:
    order = sorted(columns, key=lambda name: columns[name].value)[:shown]
    return tuple(_shares(tables, tables.binned.names.index(name)) for name in order)


def _shares(tables: Tables, j: int, most: int = 24) -> Bars:
    """The shares of one column's values; of very many, the commonest in train and the rest as one."""
    size, labels = tables.binned.sizes[j], tables.binned.labels[j]
    shares = {
        role: np.bincount(tables.of(role)[:, j], minlength=size) / tables.n for role in tables.roles if role in ("train", "synthetic")
    }
    occurring = np.flatnonzero(shares["train"] + shares["synthetic"])
    kept = occurring
    if len(occurring) > most:
        kept = np.sort(occurring[np.argsort(-shares["train"][occurring], kind="stable")[: most - 1]])
    rest = {role: max(0.0, 1 - float(values[kept].sum())) for role, values in shares.items()}
    tail = len(kept) < len(occurring)
    return Bars(
        title=f"Shares of {tables.binned.names[j]}",
        labels=(*(labels[i] for i in kept), *(("all others",) if tail else ())),
        series={role: (*(float(values[i]) for i in kept), *((rest[role],) if tail else ())) for role, values in shares.items()},
    )
