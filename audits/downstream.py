"""The model a user of the synthetic table would train, and how well it predicts real rows.

Histogram gradient boosting with scikit-learn's defaults, on every column but the target; every audit that trains a model
trains this one. What is scored follows from the target: two classes give an AUC, more a one-vs-rest AUC averaged over the
classes, a number or a date an R². A number of which the training rows hold two values, 0 and 1 say, is two classes.

The error of the averaged AUC comes from influence functions, which give DeLong's variance in the case of one AUC and,
subtracted row by row, the error of a difference of two models on the same rows (Cortes and Mohri 2004; van der Vaart,
Asymptotic Statistics, chapter 20). R² is one minus a ratio of two means, the squared errors' and the target's spread.
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
from guardrail.statistics import auc, auc_difference, critical, effective_rows, mean_ratio, normal, placements, wider
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.schema import Numeric, Schema

Array = NDArray[np.float64]
Kind = Literal["two classes", "classes", "number"]
MOST_CLASSES = 20
LEAST_OF_CLASS = 10
LEAST_NUMBERS = 20


@dataclass(frozen=True)
class Task:
    """What is predicted."""

    schema: Schema
    target: str
    kind: Kind
    values: tuple[float, ...]
    """The two numbers told apart where the target is a number of two classes, ascending."""
    labels: NDArray[np.int64]
    """The class of each category or of each of `values`, -1 for none; the rare ones of very many are one class."""
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
        """The rows that say what is to be predicted: a number, or one of the classes."""
        return frame[frame[self.target].notna() if self.kind == "number" else self._classes_of(frame) >= 0]

    def truth(self, frame: pd.DataFrame) -> Array:
        """(rows,) the class of each known row, or its number."""
        if self.kind == "number":
            return np.clip(numbers(frame[self.target]), -LARGEST, LARGEST)
        return self._classes_of(frame).astype(np.float64)

    def class_name(self, label: int) -> str:
        """What the cells of a class that is not merged say."""
        code = int(np.flatnonzero(self.labels == label)[0])
        return f"{self.values[code]:g}" if self.values else (categories(self.target, self.schema) or ())[code]

    def _classes_of(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        return np.append(self.labels, -1)[_codes(frame, self.target, self.schema, self.values)]

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
    """The task that the schema's target sets; `train` says whether a number is two classes, and which of very many are told apart."""
    target = schema.target
    if target is None:
        raise ValueError("there is no target to predict")
    words, values = categories(target, schema), _two_values(schema, target, train)
    if words is None and not values:
        return Task(schema, target, "number", (), np.empty(0, np.int64), 0, train)
    codes, labels, merged = _codes(train, target, schema, values), np.arange(len(words or values)), 0
    counts = np.bincount(codes[codes >= 0], minlength=len(labels))
    if np.count_nonzero(counts) == 2:
        labels = np.where(counts > 0, np.cumsum(counts > 0) - 1, -1)
    elif len(labels) > MOST_CLASSES:
        merged = len(labels) - MOST_CLASSES
        labels[np.argsort(-counts, kind="stable")] = np.minimum(np.arange(len(labels)), MOST_CLASSES)
    return Task(schema, target, "two classes" if labels.max() == 1 else "classes", values, labels, merged, train)


def _two_values(schema: Schema, target: str, train: pd.DataFrame) -> tuple[float, ...]:
    """The two numbers that the target can be, by the rows or by a schema that leaves room for no third; else none."""
    column = schema.columns[target]
    if not isinstance(column, Numeric):
        return ()
    present = numbers(train[target])
    found = np.unique(present[np.isfinite(present)])
    if len(found) == 2:
        return float(found[0]), float(found[1])
    return (column.low, column.high) if column.kind == "integer" and column.high - column.low == 1 else ()


def _codes(frame: pd.DataFrame, target: str, schema: Schema, values: tuple[float, ...]) -> NDArray[np.int64]:
    """(rows,) which category, or which of `values`, a row's target is; -1 for none."""
    if not values:
        return word_codes(frame[target], target, schema)
    cells = numbers(frame[target])
    return np.select([cells == value for value in values], list(range(len(values))), -1).astype(np.int64)


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
    if task.kind == "number":
        residual, spread = _squares(truth, predicted)
        return _one_minus(_doubted(mean_ratio(residual, spread)))
    value, influence = _macro(task, predicted, truth)
    found = normal(value, _error(influence), len(truth), low=0.0, high=1.0, method="influence function")
    return _averaged(found, [auc(predicted[:, c], truth == c) for c in assessable_classes(truth, task.classes)])


def score_difference(task: Task, a: Array, b: Array, truth: Array) -> Estimate:
    """Score of `a` minus score of `b` on the same rows."""
    if task.kind == "two classes":
        return auc_difference(a[:, 1], b[:, 1], truth == 1)
    if task.kind == "number":
        residual_a, residual_b, spread = _squares(truth, a, b)
        same = Estimate(value=0.0, low=0.0, high=0.0, n=len(truth), method="no prediction differs")
        return _doubted(same if np.array_equal(a, b) else mean_ratio(residual_b - residual_a, spread))
    (value_a, influence_a), (value_b, influence_b) = _macro(task, a, truth), _macro(task, b, truth)
    error = _error(influence_a - influence_b)
    found = normal(value_a - value_b, error, len(truth), low=-1.0, high=1.0, method="paired influence function")
    return _averaged(found, [auc_difference(a[:, c], b[:, c], truth == c) for c in assessable_classes(truth, task.classes)])


def few_rows_decide(task: Task, truth: Array) -> str | None:
    """The caveat for a numeric target that a handful of rows spreads; normal rows weigh like a third of them."""
    if task.kind != "number":
        return None
    (spread,) = _squares(truth)
    rows = effective_rows(spread)
    if rows >= min(LEAST_NUMBERS, len(truth) / 5):
        return None
    return (
        f"a few rows carry most of the target's spread: the {len(truth)} holdout rows weigh like {rows:.0f} equal ones, R² rests on "
        "the largest of them, and its interval has open ends where they may as well have been absent"
    )


def _error(influence: Array) -> float:
    # Without a single error the influences vanish; one row more or less is the least doubt.
    return max(float(influence.std()) / math.sqrt(len(influence)), 1 / len(influence))


def _averaged(found: Estimate, classes: list[Estimate]) -> Estimate:
    """`found`, no narrower than the classes' own intervals, which know how few rows a class has, make their mean."""
    below, above = (math.hypot(*(getattr(each, end) - each.value for each in classes)) / len(classes) for end in ("low", "high"))
    return wider(found, found.value - below, found.value + above, method="newcombe over the classes")


def _macro(task: Task, predicted: Array, truth: Array) -> tuple[float, Array]:
    """The one-vs-rest AUC averaged over the classes, and how much each row's presence moves it: (rows,)."""
    parts = [_one_vs_rest(predicted[:, c], truth == c) for c in assessable_classes(truth, task.classes)]
    return float(np.mean([value for value, _ in parts])), np.mean([influence for _, influence in parts], axis=0)


def _one_vs_rest(scores: Array, positives: NDArray[Any]) -> tuple[float, Array]:
    over, under = placements(scores, positives)
    value, share = float(over.mean()), float(positives.mean())
    influence = np.empty(len(scores))
    influence[positives], influence[~positives] = (over - value) / share, (under - value) / (1 - share)
    return value, influence


def _squares(truth: Array, *predicted: Array) -> list[Array]:
    """Each model's squared errors and then the target's squared distances from its mean, in units that cannot overflow."""
    scale = float(max(np.abs(values).max() for values in (truth, *predicted))) or 1.0
    return [(truth / scale - values / scale) ** 2 for values in (*predicted, np.full(len(truth), truth.mean()))]


def _one_minus(lost: Estimate) -> Estimate:
    """The score is at most 1."""
    low = None if lost.high is None else 1 - lost.high
    return lost.model_copy(update={"value": 1 - lost.value, "low": low, "high": 1.0 if lost.low is None else min(1 - lost.low, 1.0)})


def _doubted(found: Estimate) -> Estimate:
    """Without a single error, or a single difference, one row more or less is the least doubt."""
    least = critical(found.level) / (found.n or 1)
    low = None if found.low is None else min(found.low, found.value - least)
    return found.model_copy(update={"low": low, "high": None if found.high is None else max(found.high, found.value + least)})
