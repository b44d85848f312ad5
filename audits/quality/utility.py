"""Train on synthetic, test on real: what the synthetic table is worth to somebody who wants to predict the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from guardrail.audits.downstream import Array, Task, cannot_score, few_rows_decide, score, score_difference, task_of
from guardrail.audits.groups import MOST_GROUPS, beyond, groupings, largest_groups, number_of_groups
from guardrail.audits.quality.detection import roc_points
from guardrail.audits.views import sample_rows
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Curve, Plot, Whiskers

AUC, GAP = "quality.utility_auc", "quality.utility_gap"
LEAST_ROWS = 20
CAVEATS = (
    "one target and one kind of model: other questions may be answered worse",
    "the gap is read on one draw of rows and one training of each model; the interval covers the test rows, not another draw",
)


@dataclass(frozen=True)
class _Test:
    """Models trained at equal n on synthetic, real and floor rows, and what they said about the same holdout rows."""

    task: Task
    rows: pd.DataFrame
    truth: Array
    predicted: dict[str, Array]
    n: int
    caveats: tuple[str, ...]

    def scores(self) -> dict[str, Estimate]:
        return {role: score(self.task, predicted, self.truth) for role, predicted in self.predicted.items()}

    def behind_real(self, role: str) -> Estimate:
        return score_difference(self.task, self.predicted["real"], self.predicted[role], self.truth)


@dataclass(frozen=True)
class Utility:
    """How well does a model trained on synthetic rows predict real ones, and how much worse than one trained on real rows?

    AUC: 0.5 is a coin toss, 1 perfect; the reference is the same model trained on as many training rows. Gap: 0, the
    reference, is no loss; the worst is what a model without any dependence loses, shown as the floor.
    """

    name: ClassVar[str] = "utility"
    metrics: ClassVar[tuple[str, ...]] = (AUC, GAP)
    needs: ClassVar[tuple[Need, ...]] = ("train", "holdout", "synthetic", "target")
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)

    most_rows: int = 50_000
    """Rows each model is trained on at most; shared out among the classes where there are more than two."""

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        test = self._tested(evidence, rng)
        if isinstance(test, str):
            return tuple(Finding.not_assessable(metric, test) for metric in self.metrics)
        scores = test.scores()
        return _auc_finding(test, scores, evidence), _gap_finding(test, scores)

    def _tested(self, evidence: Evidence, rng: np.random.Generator) -> _Test | str:
        """The trained models' predictions, or why there are none."""
        train, holdout, synthetic = evidence.train, evidence.holdout, evidence.synthetic
        if train is None or holdout is None or synthetic is None:
            raise ValueError("utility needs train, holdout and synthetic")
        task = task_of(evidence.schema, train)
        rows = task.known(holdout).reset_index(drop=True)
        if reason := cannot_score(task, task.truth(rows)):
            return f"the holdout cannot test a model: {reason}"
        sources = {"synthetic": synthetic, "real": train, "floor": evidence.floor_rows(rng)}
        known = {role: task.known(frame) for role, frame in sources.items()}
        n = min(len(known["synthetic"]), len(known["real"]), self.most_rows // max(1, task.classes // 2))
        if n < LEAST_ROWS:
            return f"there are {n} rows with a known target to train on, and a model needs {LEAST_ROWS}"
        known = {role: sample_rows(frame, n, rng) for role, frame in known.items() if len(frame) >= LEAST_ROWS}
        predicted = {role: task.predictions(frame, rows, rng) for role, frame in known.items()}
        few = (caveat,) if (caveat := few_rows_decide(task, task.truth(rows))) else ()
        return _Test(
            task, rows, task.truth(rows), predicted, n, (*CAVEATS, *few, *_caveats(task, sources | {"holdout": holdout}, known, n))
        )


def _caveats(task: Task, sources: dict[str, pd.DataFrame], known: dict[str, pd.DataFrame], n: int) -> list[str]:
    unknown = {role: len(frame) - len(task.known(frame)) for role, frame in sources.items()}
    what = "a target" if task.kind == "number" else "a target of the classes in train"
    said = [f"{count} {role} rows without {what} were left out" for role, count in unknown.items() if count and role != "floor"]
    if task.kind != "number":
        alone = [role for role, frame in known.items() if len(np.unique(task.truth(frame))) == 1]
        said += [f"the {role} rows hold a single class of the target, so the model trained on them is constant" for role in alone]
    if task.merged:
        said.append(f"the {task.merged} rarest categories of the target count as one class")
    if "floor" not in known or len(known["floor"]) < n:
        said.append(f"the floor has {len(known.get('floor', ()))} rows with a target, fewer than the {n} the others are trained on")
    return said


def _auc_finding(test: _Test, scores: dict[str, Estimate], evidence: Evidence) -> Finding:
    if test.task.kind == "number":
        return Finding.not_assessable(AUC, "the target is a number; see quality.utility_gap")
    comparisons = {role: estimate for role, estimate in scores.items() if role != "synthetic"}
    groups, left_out, said = _by_group(test, evidence)
    return Finding.measured(
        AUC,
        scores["synthetic"],
        estimand=f"{test.task.score_name} on {len(test.truth)} holdout rows of histogram gradient boosting "
        f"trained on {test.n} synthetic rows",
        reference=scores["real"].value,
        comparisons=comparisons,
        groups=groups,
        left_out=left_out,
        plots=_plots(test, scores),
        caveats=(*test.caveats, *said),
    )


def _gap_finding(test: _Test, scores: dict[str, Estimate]) -> Finding:
    comparisons = {f"score_{role}": estimate for role, estimate in scores.items()}
    if "floor" in test.predicted:
        comparisons["floor"] = test.behind_real("floor")
    return Finding.measured(
        GAP,
        test.behind_real("synthetic"),
        estimand=f"{test.task.score_name} of a model trained on {test.n} real rows minus that of one trained on {test.n} synthetic rows, "
        f"both on the same {len(test.truth)} holdout rows",
        reference=0.0,
        comparisons=comparisons,
        plots=(_whiskers(test, scores),),
        caveats=test.caveats,
    )


def _by_group(test: _Test, evidence: Evidence) -> tuple[dict[str, Estimate], tuple[str, ...], tuple[str, ...]]:
    """The synthetic-trained model's score in each sensitive group with enough rows of the classes; the others, and what to say of them."""
    found, small = {}, []
    listed, rest = largest_groups(groupings([test.rows], evidence.schema, test.task.train))
    for group in listed:
        if cannot_score(test.task, test.truth[group.rows]):
            small.append(group.label)
        else:
            found[group.label] = score(test.task, test.predicted["synthetic"][group.rows], test.truth[group.rows])
    few = (f"{number_of_groups(len(small))} with too few holdout rows to score left out",) if small else ()
    return found, (*small, *rest)[:MOST_GROUPS], (*few, *beyond(len(rest)))


def _plots(test: _Test, scores: dict[str, Estimate]) -> tuple[Plot, ...]:
    if test.task.kind != "two classes":
        return (_whiskers(test, scores),)
    curves = {role: roc_points(predicted[:, 1], test.truth == 1) for role, predicted in test.predicted.items()}
    title = f"Predicting {test.task.target} of holdout rows, by what the model was trained on"
    return (Curve(title=title, x="false positive rate", y="true positive rate", series=curves, diagonal=True),)


def _whiskers(test: _Test, scores: dict[str, Estimate]) -> Whiskers:
    return Whiskers(
        title=f"Predicting {test.task.target} of holdout rows, by what the model was trained on",
        labels=tuple(scores),
        values=tuple(estimate.value for estimate in scores.values()),
        lows=tuple(estimate.low for estimate in scores.values()),
        highs=tuple(estimate.high for estimate in scores.values()),
        line=scores["real"].value,
        unit=test.task.score_name,
    )
