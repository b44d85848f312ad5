"""A classifier that tells synthetic rows from training rows; the classifier two-sample test (arxiv.org/abs/1610.06545)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from guardrail.audits.views import features, learnable, sample_rows
from guardrail.statistics import auc, placements
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence, Need
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Curve
from guardrail.vocabulary.schema import Schema

METRIC = "quality.detection_auc"
LEAST_ROWS = 50
"""Per side; half of it trains, and the classifier's leaves hold 20 rows."""
CAVEATS = (
    "0.5 says that this classifier found no difference at this sample size, not that there is none",
    "copied training rows cannot be told apart either; see privacy.exact_copies and privacy.nearest_record_share",
)
Test = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""Scores of the test rows, and which of them are not from train."""


@dataclass(frozen=True)
class Detection:
    """How well can a classifier tell synthetic rows from real ones?

    0.5, the reference: a coin toss. 1: every row is told apart. Well below 0.5: synthetic rows repeat single training rows,
    so that what the classifier learns in one half misleads it in the other.
    """

    name: ClassVar[str] = "detection"
    metrics: ClassVar[tuple[str, ...]] = (METRIC,)
    needs: ClassVar[tuple[Need, ...]] = ("train", "synthetic")
    modalities: ClassVar[tuple[str, ...]] = ("tabular",)

    most_rows: int = 20_000
    """Rows of each side at most, half to train the classifier and half to test it."""

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        train, synthetic = evidence.train, evidence.synthetic
        if train is None or synthetic is None:
            raise ValueError("quality.detection_auc needs train and synthetic")
        n = min(len(train), len(synthetic), self.most_rows)
        if n < LEAST_ROWS:
            return (Finding.not_assessable(METRIC, f"there are {n} rows a side; a classifier to tell them apart needs {LEAST_ROWS}"),)
        others = {"synthetic": synthetic, "holdout": evidence.holdout, "floor": evidence.floor_rows(rng)}
        tests = {
            role: _tell_apart(train, other, evidence.schema, min(n, len(other)), rng)
            for role, other in others.items()
            if other is not None and len(other) >= LEAST_ROWS
        }
        estimates = {role: auc(*test) for role, test in tests.items()}
        found = estimates.pop("synthetic")
        return (
            Finding.measured(
                METRIC,
                found,
                estimand=f"AUC of histogram gradient boosting between synthetic and train, {n} rows a side, "
                "half to train it, half to test it",
                reference=0.5,
                comparisons=estimates,
                plots=(_roc(tests),),
                caveats=(*CAVEATS, *_smaller(estimates, found)),
            ),
        )


def _tell_apart(real: pd.DataFrame, other: pd.DataFrame, schema: Schema, n: int, rng: np.random.Generator) -> Test:
    """Random halves of `n` rows a side: the first trains, the second is scored."""
    rows = [features(sample_rows(frame, n, rng), schema, reference=real) for frame in (real, other)]
    half = n // 2
    learning = pd.concat([part.iloc[:half] for part in rows], ignore_index=True)
    testing = pd.concat([part.iloc[half:] for part in rows], ignore_index=True)
    positives, kept = np.arange(2 * (n - half)) >= n - half, learnable(learning)
    if not kept:
        return np.zeros(len(testing)), positives
    model = HistGradientBoostingClassifier(random_state=int(rng.integers(2**31)))
    model.fit(learning[kept], np.arange(2 * half) >= half)
    return np.asarray(model.predict_proba(testing[kept])[:, 1]), positives


def _smaller(comparisons: dict[str, Estimate], found: Estimate) -> tuple[str, ...]:
    return tuple(
        f"{role} was told apart on {estimate.n} test rows, not {found.n}: it has no more"
        for role, estimate in comparisons.items()
        if estimate.n != found.n
    )


def _roc(tests: dict[str, Test]) -> Curve:
    return Curve(
        title="Telling rows from training rows",
        x="false positive rate",
        y="true positive rate",
        series={role: roc_points(scores, positives) for role, (scores, positives) in tests.items()},
        diagonal=True,
    )


def roc_points(scores: NDArray[Any], positives: NDArray[np.bool_], steps: int = 60) -> tuple[tuple[float, float], ...]:
    """The ROC curve at `steps` false positive rates: few points, so that no threshold gives one record away."""
    over, _ = placements(scores, positives)  # a positive is found once the threshold lets 1 - over of the negatives pass
    rates = np.linspace(0, 1, steps + 1)
    return tuple((float(rate), float(np.mean(1 - over <= rate + 1e-12))) for rate in rates)
