"""Does a model trained on the synthetic data treat groups alike? Measured by fairlearn, beside a model trained on real data.

The story: somebody trains a classifier on the release and uses it on people. Here that is the model of
`guardrail.audits.downstream`; it is trained on synthetic rows, and once more on as many training rows, and both are tested
on the same holdout. The second is the control: what of the difference is in the real data. Differences are those of Hardt,
Price and Srebro 2016 (arxiv.org/abs/1610.02413) and of fairlearn's guide.

A row matters only through its group, its label and its prediction, so drawing rows with replacement is drawing these
counts from a multinomial: the bootstrap is one call. The intervals describe this model on new people, not the luck of
training it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from numpy.typing import NDArray

from guardrail.audits.downstream import Task, task_of
from guardrail.audits.groups import MOST_GROUPS, Grouping, beyond, groupings, number_of_groups
from guardrail.audits.views import sample_rows
from guardrail.statistics import critical, simultaneous_level, wilson, worst
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Bars

Array = NDArray[Any]
PARITY, ODDS = "fairness.demographic_parity_difference", "fairness.equalized_odds_difference"
_MEANING = {
    PARITY: "The largest difference between two groups' shares of favourable predictions",
    ODDS: "The larger of the largest differences between two groups' true-positive and false-positive rates",
}
_BY_FAIRLEARN: dict[str, Callable[..., float]] = {PARITY: demographic_parity_difference, ODDS: equalized_odds_difference}


@dataclass(frozen=True)
class Trial:
    """The holdout as the two models see it; rows without a target are left out."""

    truth: Array
    """(rows,) 0 or 1: the favourable class."""
    predicted: dict[str, Array]
    """`synthetic` and `real`: the model trained on it -> (rows,) 0 or 1."""
    groupings: tuple[Grouping, ...]
    favourable: str


@dataclass(frozen=True)
class Parity:
    """Does a model trained on the synthetic data favour one group over another?

    0: all groups alike. The reference is the same difference for a model trained on real data. 1, the worst: one group
    always and another never gets the favourable prediction (or, for equalized odds, the right one). For each sensitive
    attribute and their intersection; the headline is the worst of them.
    """

    name: ClassVar[str] = "parity"
    metrics: ClassVar[tuple[str, ...]] = (PARITY, ODDS)
    needs: ClassVar[tuple[Need, ...]] = ("train", "holdout", "synthetic", "target", "sensitive")
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)

    most: int = 20_000
    """Rows each model is trained on."""
    fewest: int = 30
    """A rate over fewer holdout rows is too rough: its group is left out and named."""
    replicates: int = 1_000

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        trial = _trial(evidence, self.most, rng)
        if isinstance(trial, str):
            return tuple(Finding.not_assessable(metric, trial) for metric in self.metrics)
        return tuple(self._finding(metric, trial, rng) for metric in self.metrics)

    def _finding(self, metric: str, trial: Trial, rng: np.random.Generator) -> Finding:
        kept, left_out = self._large_enough(metric, trial)
        if not kept:
            return Finding.not_assessable(metric, f"no sensitive attribute has two groups with {self.fewest} holdout rows per rate")
        level = simultaneous_level(0.95, len(kept))
        found = {
            source: {name: self._difference(metric, trial, source, grouping, rng, level) for name, grouping in kept.items()}
            for source in trial.predicted
        }
        most = MOST_GROUPS // len(_named_rates(metric))
        listed, more = _largest(kept, most)
        extremes = {source: worst(differences, how="max") for source, differences in found.items()}
        return Finding.measured(
            metric,
            extremes["synthetic"],
            estimand=(
                f"{_MEANING[metric]}, for the worst of {', '.join(kept)}; gradient boosting on all other columns, trained on synthetic "
                f"rows, tested on {len(trial.truth)} holdout rows; favourable: {trial.favourable}."
            ),
            reference=extremes["real"].value,
            comparisons={"real": extremes["real"]} | {f"real, {name}": estimate for name, estimate in found["real"].items()},
            groups=found["synthetic"] | _rates(metric, trial, listed),
            left_out=tuple(left_out[:MOST_GROUPS]),
            plots=_plots(metric, trial, listed),
            caveats=(*beyond(more, most), *_caveats(len(left_out), self.fewest, trial)),
        )

    def _large_enough(self, metric: str, trial: Trial) -> tuple[dict[str, Array], list[str]]:
        """Attribute -> (rows,) codes of its groups, -1 for groups with too few rows; attributes with two groups or more."""
        kept, left_out = {}, []
        for grouping in trial.groupings:
            by_truth = counts(grouping.codes[0], trial.truth, trial.truth, len(grouping.labels)).sum(axis=2)  # (groups, 2)
            rows = by_truth.sum(axis=1) if metric == PARITY else by_truth.min(axis=1)
            large = rows >= self.fewest
            left_out += [label for label, keep in zip(grouping.labels, large, strict=True) if not keep]
            if large.sum() >= 2:
                kept[grouping.attribute] = np.where(large[grouping.codes[0]], grouping.codes[0], -1)
        return kept, left_out

    def _difference(self, metric: str, trial: Trial, source: str, codes: Array, rng: np.random.Generator, level: float) -> Estimate:
        rows = codes >= 0
        groups = np.unique(codes[rows], return_inverse=True)[1]
        return self.interval(metric, groups, trial.truth[rows], trial.predicted[source][rows], rng, level)

    def interval(self, metric: str, groups: Array, truth: Array, predicted: Array, rng: np.random.Generator, level: float) -> Estimate:
        """fairlearn's value with a bootstrap interval; groups are 0, 1, … and all occur."""
        value = float(_BY_FAIRLEARN[metric](truth, predicted, sensitive_features=groups))
        cells = counts(groups, truth, predicted, groups.max() + 1)
        # Half a row more in each cell: a rate of 0 of 30 is not certain to be 0, and drawing from 30 rows alone would say so.
        likely = (cells + 0.5) / (cells + 0.5).sum()
        drawn = rng.multinomial(len(truth), likely.ravel(), self.replicates).reshape(-1, *cells.shape)
        centre, redrawn = rates(metric, likely), rates(metric, drawn)
        # The pair that looks worst was picked by looking, so the lower end allows for the largest error of any pair. The
        # upper end needs no such care: picking can only have made the difference larger.
        low = value - float(np.quantile(widest(redrawn - centre), 0.5 + level / 2))
        high = value + critical(level) * float(widest(redrawn).std(ddof=1))
        return Estimate(value=value, low=max(0.0, low), high=max(value, min(1.0, high)), level=level, n=len(truth), method="bootstrap")


def counts(groups: Array, truth: Array, predicted: Array, n_groups: int) -> Array:
    """(groups, 2, 2): rows by group, label and prediction."""
    return np.bincount(groups * 4 + truth * 2 + predicted, minlength=4 * n_groups).reshape(n_groups, 2, 2)


def rates(metric: str, cells: Array) -> Array:
    """(…, groups, 2, 2) counts or shares -> (…, rates compared, groups): selection rates, or false- and true-positive rates."""
    compared = cells.sum(axis=-2)[..., None, :, :] if metric == PARITY else np.moveaxis(cells, -2, -3)  # (…, rates, groups, 2)
    return np.asarray(compared[..., 1] / np.maximum(compared.sum(axis=-1), 1e-9))


def widest(found: Array) -> Array:
    """(…, rates, groups) -> (…,): the largest difference between two groups in any of the rates."""
    return np.asarray((found.max(axis=-1) - found.min(axis=-1)).max(axis=-1))


def _trial(evidence: Evidence, most: int, rng: np.random.Generator) -> Trial | str:
    """Both models' predictions on the holdout, or why there are none."""
    train, holdout, synthetic, schema = evidence.train, evidence.holdout, evidence.synthetic, evidence.schema
    if train is None or holdout is None or synthetic is None or schema.target is None or not schema.sensitive:
        return evidence.unmet(Parity.needs)
    task = task_of(schema, train)
    known = {name: task.known(frame) for name, frame in {"synthetic": synthetic, "train": train, "holdout": holdout}.items()}
    if reason := _not_two(task, [known["train"], known["holdout"]]):
        return f"the target {task.target!r} {reason}"
    for name, frame in known.items():
        if not len(frame):
            return f"no row of {name} has a value of the target {task.target!r}"
    n, tested = min(most, len(known["synthetic"]), len(known["train"])), known["holdout"].reset_index(drop=True)
    predicted = {
        source: task.predictions(sample_rows(known[name], n, rng), tested, rng).argmax(axis=1)
        for source, name in {"synthetic": "synthetic", "real": "train"}.items()
    }
    favourable = f"{task.target} = {task.class_name(1)}"
    return Trial(task.truth(tested).astype(np.int64), predicted, groupings([tested], schema, train), favourable)


def _not_two(task: Task, real: list[pd.DataFrame]) -> str | None:
    """Why the target is no choice between two, or None."""
    if task.kind == "number":
        return "is a number: these differences are defined for two classes"
    present = len(np.unique(np.concatenate([task.truth(frame) for frame in real])))
    if task.kind == "two classes" and present == 2:
        return None
    return f"has {present} class{'es' if present != 1 else ''}: these differences are defined for two"


def _largest(kept: dict[str, Array], most: int) -> tuple[dict[str, Array], int]:
    """The same with -1 for all but the largest groups, and how many more there are."""
    sizes = [
        (rows, attribute, code) for attribute, codes in kept.items() for code, rows in enumerate(np.bincount(codes[codes >= 0])) if rows
    ]
    chosen = sorted(sizes, key=lambda size: -size[0])[:most]
    listed = {
        attribute: np.where(np.isin(codes, [code for _, of, code in chosen if of == attribute]), codes, -1)
        for attribute, codes in kept.items()
    }
    return listed, len(sizes) - len(chosen)


def _named_rates(metric: str) -> dict[str, int | None]:
    """The rates a metric compares: name -> the label whose rows count, None for all."""
    return {"selection rate": None} if metric == PARITY else {"true-positive rate": 1, "false-positive rate": 0}


def _rows_of(trial: Trial, kept: dict[str, Array], label: int | None) -> dict[str, Array]:
    """`sex=Female` -> the holdout rows of a kept group that have this label."""
    counted = np.ones(len(trial.truth), bool) if label is None else trial.truth == label
    names = {grouping.attribute: grouping.labels for grouping in trial.groupings}
    return {names[attribute][code]: (codes == code) & counted for attribute, codes in kept.items() for code in np.unique(codes[codes >= 0])}


def _rates(metric: str, trial: Trial, kept: dict[str, Array]) -> dict[str, Estimate]:
    """`sex=Female: selection rate` of the model trained on synthetic rows."""
    return {
        f"{group}: {rate}": wilson(int(trial.predicted["synthetic"][rows].sum()), int(rows.sum()))
        for rate, label in _named_rates(metric).items()
        for group, rows in _rows_of(trial, kept, label).items()
    }


def _plots(metric: str, trial: Trial, kept: dict[str, Array]) -> tuple[Bars, ...]:
    plots = []
    for rate, label in _named_rates(metric).items():
        rows = _rows_of(trial, kept, label)
        series = {
            f"trained on {source}": tuple(float(predicted[mask].mean()) for mask in rows.values())
            for source, predicted in trial.predicted.items()
        }
        plots.append(Bars(title=f"{rate.capitalize()} by group", labels=tuple(rows), series=series, unit="share of holdout rows"))
    return tuple(plots)


def _caveats(left_out: int, fewest: int, trial: Trial) -> tuple[str, ...]:
    missing = (f"{number_of_groups(left_out)} with fewer than {fewest} holdout rows behind a rate left out.",) if left_out else ()
    constant = len(np.unique(trial.predicted["synthetic"])) == 1
    useless = ("The model trained on synthetic rows gives everybody the same answer: alike, and of no use.",) if constant else ()
    return (
        *missing,
        *useless,
        "The largest of several noisy differences lies above the true one on average, the more groups the more: the lower end allows "
        "for it.",
        "About this one downstream model and this choice of favourable class; equal rates do not prove fair treatment, and labels may "
        "themselves be unfair.",
    )
