"""The model a user of the synthetic table would train, and how well it predicts real rows.

Histogram gradient boosting with scikit-learn's defaults, on every column but the target. What is scored follows from the
target's kind alone: two categories give an AUC, more a one-vs-rest AUC averaged over the classes, a number or a date an R².
Errors of the last two come from influence functions, which give DeLong's variance in the case of one AUC and, subtracted row
by row, the error of a difference of two models on the same rows (Cortes and Mohri 2004; van der Vaart, Asymptotic
Statistics, chapter 20).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from guardrail.audits.views import LARGEST, categories, features, learnable, numbers, word_codes
from guardrail.statistics import auc, auc_difference, normal, placements
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.schema import Schema

Array = NDArray[np.float64]
Kind = Literal["two classes", "classes", "number"]
MOST_CLASSES = 20
LEAST_OF_CLASS = 10
LEAST_NUMBERS = 20


@dataclass(frozen=True)
class Task:
    """What is predicted. `labels` maps a category's code to the class told apart; the rare ones of very many are one class."""

    schema: Schema
    target: str
    kind: Kind
    labels: NDArray[np.int64]
    merged: int
    """Categories that went into the last class together."""
    train: pd.DataFrame

    @property
    def score_name(self) -> str:
        return {"two classes": "AUC", "classes": "macro one-vs-rest AUC", "number": "R²"}[self.kind]

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1 if len(self.labels) else 0

    def known(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows whose target is not missing."""
        return frame[frame[self.target].notna()]

    def truth(self, frame: pd.DataFrame) -> Array:
        """(rows,) the class of each row, or its number."""
        if self.kind == "number":
            return np.clip(numbers(frame[self.target]), -LARGEST, LARGEST)
        return self.labels[word_codes(frame[self.target], self.target, self.schema)].astype(np.float64)

    def predictions(self, learning: pd.DataFrame, testing: pd.DataFrame, rng: np.random.Generator) -> Array:
        """Predictions for `testing` after training on `learning`: (rows,) numbers, else (rows, classes) probabilities."""
        x, unseen = (features(part, self.schema, [self.target], self.train) for part in (learning, testing))
        y, seed = self.truth(learning), int(rng.integers(2**31))
        kept = learnable(x)
        x, unseen = x[kept], unseen[kept]
        if self.kind == "number":
            scale = float(np.abs(y).max()) or 1.0  # squares of large numbers overflow
            if not kept or np.ptp(y) == 0:
                return np.full(len(testing), float(y[0]))
            return np.asarray(HistGradientBoostingRegressor(random_state=seed).fit(x, y / scale).predict(unseen) * scale)
        result, seen = np.zeros((len(testing), self.classes)), np.unique(y).astype(int)
        if len(seen) == 1 or not kept:
            result[:, seen] = np.bincount(y.astype(int))[seen] / len(y)
            return result
        rare = np.bincount(y.astype(int))[seen].min() < 2  # the early stopping's split needs two rows of each class
        model = HistGradientBoostingClassifier(random_state=seed, early_stopping=False if rare else "auto")
        result[:, seen] = model.fit(x, y.astype(int)).predict_proba(unseen)
        return result


def task_of(schema: Schema, train: pd.DataFrame) -> Task:
    """The task that the schema's target sets; `train` says which classes of very many are told apart."""
    if schema.target is None:
        raise ValueError("there is no target to predict")
    words = categories(schema.target, schema)
    if words is None:
        return Task(schema, schema.target, "number", np.empty(0, np.int64), 0, train)
    labels = np.arange(len(words))
    if len(words) > MOST_CLASSES:
        codes = word_codes(train[schema.target], schema.target, schema)
        order = np.argsort(-np.bincount(codes[codes >= 0], minlength=len(words)), kind="stable")
        labels[order] = np.minimum(np.arange(len(words)), MOST_CLASSES)
    merged = max(len(words) - MOST_CLASSES, 0)
    return Task(schema, schema.target, "two classes" if len(words) == 2 else "classes", labels, merged, train)


def assessable_classes(truth: Array, classes: int) -> NDArray[np.int64]:
    """The classes with enough rows inside and outside them to be scored."""
    counts = np.bincount(truth.astype(int), minlength=classes)
    return np.flatnonzero(np.minimum(counts, len(truth) - counts) >= LEAST_OF_CLASS)


def cannot_score(task: Task, truth: Array) -> str | None:
    """Why these rows cannot test a model, or None."""
    if task.kind == "number":
        if len(truth) < LEAST_NUMBERS:
            return f"{len(truth)} rows with a known target; R² needs {LEAST_NUMBERS}"
        return "the target is constant" if np.ptp(truth) == 0 else None
    if len(assessable_classes(truth, task.classes)):
        return None
    return f"no class of the target has {LEAST_OF_CLASS} rows inside and {LEAST_OF_CLASS} outside it, of {len(truth)} rows"


def score(task: Task, predicted: Array, truth: Array) -> Estimate:
    """The task's score of one model on rows it never saw."""
    if task.kind == "two classes":
        return auc(predicted[:, 1], truth == 1)
    value, influence = _influences(task, predicted, truth)
    low, high = (None, 1.0) if task.kind == "number" else (0.0, 1.0)
    return normal(value, _error(influence), len(truth), low=low, high=high, method="influence function")


def score_difference(task: Task, a: Array, b: Array, truth: Array) -> Estimate:
    """Score of `a` minus score of `b` on the same rows."""
    if task.kind == "two classes":
        return auc_difference(a[:, 1], b[:, 1], truth == 1)
    (value_a, influence_a), (value_b, influence_b) = _influences(task, a, truth), _influences(task, b, truth)
    bound = None if task.kind == "number" else 1.0
    low = None if bound is None else -bound
    error = 0.0 if np.array_equal(a, b) else _error(influence_a - influence_b)
    return normal(value_a - value_b, error, len(truth), low=low, high=bound, method="paired influence function")


def _error(influence: Array) -> float:
    # Without a single error the influences vanish; one row more or less is the least doubt.
    return max(float(influence.std()) / math.sqrt(len(influence)), 1 / len(influence))


def _influences(task: Task, predicted: Array, truth: Array) -> tuple[float, Array]:
    """The score, and how much each row's presence moves it: (rows,)."""
    if task.kind == "number":
        return _r_squared(predicted, truth)
    parts = [_one_vs_rest(predicted[:, c], truth == c) for c in assessable_classes(truth, task.classes)]
    return float(np.mean([value for value, _ in parts])), np.mean([influence for _, influence in parts], axis=0)


def _r_squared(predicted: Array, truth: Array) -> tuple[float, Array]:
    scale = float(max(np.abs(truth).max(), np.abs(predicted).max())) or 1.0
    residual, spread = ((truth - predicted) / scale) ** 2, ((truth - truth.mean()) / scale) ** 2
    lost = float(residual.mean() / spread.mean())
    return 1 - lost, (lost * spread - residual) / spread.mean()


def _one_vs_rest(scores: Array, positives: NDArray[Any]) -> tuple[float, Array]:
    over, under = placements(scores, positives)
    value, share = float(over.mean()), float(positives.mean())
    influence = np.empty(len(scores))
    influence[positives], influence[~positives] = (over - value) / share, (under - value) / (1 - share)
    return value, influence
