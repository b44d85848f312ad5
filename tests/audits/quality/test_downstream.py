"""The scores of the downstream model and their errors, against scikit-learn, the bootstrap and arithmetic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from guardrail.audits.quality.downstream import MOST_CLASSES, Task, cannot_score, score, score_difference, task_of
from guardrail.statistics import auc, bootstrap
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.schema import Schema


def width(found: Estimate) -> float:
    return (found.high or 0) - (found.low or 0)


def classes(*words: str) -> Task:
    schema = Schema.model_validate({"target": "y", "columns": {"y": {"kind": "categorical", "categories": words}}})
    return task_of(schema, pd.DataFrame({"y": pd.Categorical(words, words)}))


def number() -> Task:
    schema = Schema.model_validate({"target": "y", "columns": {"y": {"kind": "numeric", "low": 0, "high": 1}}})
    return task_of(schema, pd.DataFrame({"y": [0.0, 1.0]}))


def three_classes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=[0.6, 0.3, 0.1]).astype(float)
    good = np.exp(rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[truth.astype(int)])
    bad = np.exp(np.log(good) + rng.normal(size=(n, 3)))
    return good / good.sum(axis=1, keepdims=True), bad / bad.sum(axis=1, keepdims=True), truth


def test_macro_auc_is_scikit_learns() -> None:
    good, _, truth = three_classes(400, 1)
    assert score(classes("a", "b", "c"), good, truth).value == pytest.approx(roc_auc_score(truth, good, multi_class="ovr"))


def test_error_of_the_macro_auc_and_of_a_difference_agrees_with_the_bootstrap() -> None:
    task = classes("a", "b", "c")
    good, bad, truth = three_classes(900, 2)
    rng = np.random.default_rng(3)
    single = bootstrap(lambda r: score(task, good[r], truth[r]).value, 900, rng, 200)
    paired = bootstrap(lambda r: score_difference(task, good[r], bad[r], truth[r]).value, 900, rng, 200)
    assert width(score(task, good, truth)) == pytest.approx(2 * 1.96 * single, rel=0.2)
    assert width(score_difference(task, good, bad, truth)) == pytest.approx(2 * 1.96 * paired, rel=0.2)


def test_of_two_classes_the_influences_give_delongs_error() -> None:
    good, _, truth = three_classes(900, 4)
    binary, two = np.column_stack([1 - good[:, 1], good[:, 1]]), (truth == 1).astype(float)
    macro = score(classes("a", "b", "c"), np.column_stack([binary, np.zeros(900)]), two)
    assert macro.value == pytest.approx(auc(binary[:, 1], two == 1).value)
    assert width(macro) == pytest.approx(width(auc(binary[:, 1], two == 1)), rel=0.03)


def test_r_squared_is_scikit_learns_and_its_error_the_bootstraps() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(size=700)
    a, b = truth + rng.normal(size=700) * 0.5, truth * 0.5
    task = number()
    assert score(task, a, truth).value == pytest.approx(r2_score(truth, a))
    assert score_difference(task, a, b, truth).value == pytest.approx(r2_score(truth, a) - r2_score(truth, b))
    single = bootstrap(lambda r: r2_score(truth[r], a[r]), 700, rng, 300)
    paired = bootstrap(lambda r: r2_score(truth[r], a[r]) - r2_score(truth[r], b[r]), 700, rng, 300)
    assert width(score(task, a, truth)) == pytest.approx(2 * 1.96 * single, rel=0.15)
    assert width(score_difference(task, a, b, truth)) == pytest.approx(2 * 1.96 * paired, rel=0.15)


def test_interval_of_the_difference_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng, task, covered = np.random.default_rng(6), number(), 0
    truth_gap = (1 - 0.25) - (1 - 0.5)  # noise variances 0.25 and 0.5 of a target with variance 1
    for _ in range(600):
        y = rng.normal(size=300)
        a, b = y + 0.5 * rng.normal(size=300), y + np.sqrt(0.5) * rng.normal(size=300)
        found = score_difference(task, a, b, y)
        covered += (found.low or 0) <= truth_gap <= (found.high or 0)
    assert 0.92 <= covered / 600 <= 0.98


def test_huge_targets_do_not_overflow() -> None:
    truth = np.linspace(-1e150, 1e150, 50)
    assert score(number(), truth, truth).value == 1
    assert score(number(), np.zeros(50), truth).value == pytest.approx(0)


def test_too_few_rows_of_every_class_cannot_be_scored() -> None:
    assert cannot_score(classes("a", "b"), np.array([0.0] * 50 + [1.0] * 9)) is not None
    assert cannot_score(classes("a", "b"), np.array([0.0] * 50 + [1.0] * 10)) is None
    assert cannot_score(number(), np.ones(50)) == "the target is constant"
    assert cannot_score(number(), np.arange(5.0)) is not None


def test_the_rarest_of_many_classes_are_one() -> None:
    words = [f"w{i}" for i in range(30)]
    schema = Schema.model_validate({"target": "y", "columns": {"y": {"kind": "categorical", "categories": words}}})
    cells = [word for i, word in enumerate(words) for _ in range(i + 1)]
    task = task_of(schema, pd.DataFrame({"y": pd.Categorical(cells, words)}))
    assert task.classes == MOST_CLASSES + 1
    assert task.merged == 10
    rare = pd.DataFrame({"y": pd.Categorical(["w0", "w9", "w10", "w29"], words)})
    assert task.truth(rare).tolist() == [MOST_CLASSES, MOST_CLASSES, MOST_CLASSES - 1, 0]
