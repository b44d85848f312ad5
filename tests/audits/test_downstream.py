"""The scores of the downstream model and their errors, against scikit-learn, the bootstrap and arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from math import erf

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from guardrail.audits.downstream import MOST_CLASSES, Task, cannot_score, few_rows_decide, score, score_difference, task_of
from guardrail.audits.fairness.parity import Parity
from guardrail.audits.quality.utility import Utility
from guardrail.statistics import auc
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.schema import Schema


def width(found: Estimate) -> float:
    return (found.high or 0) - (found.low or 0)


def covers(found: Estimate, truth: float) -> bool:
    return (found.low is None or found.low <= truth) and (found.high is None or truth <= found.high)


def bootstrap(statistic: Callable[[np.ndarray], float], n: int, rng: np.random.Generator, replicates: int) -> float:
    """The slow truth: the standard error of `statistic(row indices)` over rows drawn with replacement."""
    return float(np.std([statistic(rng.integers(0, n, n)) for _ in range(replicates)], ddof=1))


def classes(*words: str) -> Task:
    schema = Schema.model_validate({"target": "y", "columns": {"y": {"kind": "categorical", "categories": words}}})
    return task_of(schema, pd.DataFrame({"y": pd.Categorical(words, words)}))


def number() -> Task:
    schema = Schema.model_validate({"target": "y", "columns": {"y": {"kind": "numeric", "low": 0, "high": 1}}})
    return task_of(schema, pd.DataFrame({"y": [0.0, 0.5, 1.0]}))


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


def lognormal(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A target most of whose spread is in its largest rows, the best prediction of it, and one that is pulled in."""
    known = rng.normal(size=n)
    best = np.exp(1.2 * known + 0.18)
    return np.exp(1.2 * known + 0.6 * rng.normal(size=n)), best, 0.7 * best + 1


# E[Y²] - E[best²] and Var(Y) of the lognormals above, with variances 1.44 + 0.36 and 1.44 of the logarithm.
SPREAD = np.exp(3.6) - np.exp(1.8)
LOST = (np.exp(3.6) - np.exp(2 * 1.44 + 0.36)) / SPREAD
# The pulled one errs by 0.3 best - 1 besides.
LOST_MORE = (0.09 * np.exp(2 * 1.44 + 0.36) - 0.6 * np.exp(0.9) + 1) / SPREAD


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_r_squared_of_a_heavy_tailed_target_is_covered(n: int) -> None:
    rng, task, single, paired = np.random.default_rng(7), number(), 0, 0
    for _ in range(400):
        y, best, pulled = lognormal(n, rng)
        single += covers(score(task, best, y), 1 - LOST)
        paired += covers(score_difference(task, best, pulled, y), LOST_MORE)
    assert single / 400 >= 0.92
    assert paired / 400 >= 0.92


@pytest.mark.parametrize(("n", "noise"), [(20, 0.5), (20, 1.0), (50, 0.5), (200, 1.0)])
def test_r_squared_of_a_normal_target_is_covered_without_waste(n: int, noise: float) -> None:
    rng, task, covered, widths = np.random.default_rng(8), number(), 0, []
    for _ in range(400):
        predicted = rng.normal(size=n)
        found = score(task, predicted, predicted + noise * rng.normal(size=n))
        covered += covers(found, 1 / (1 + noise**2))
        widths.append(np.inf if found.low is None else width(found))
    assert covered / 400 >= 0.93
    assert np.median(widths) * np.sqrt(n) < 4.2 if n >= 50 else np.isfinite(np.median(widths))


def test_a_target_that_few_rows_spread_says_so_and_leaves_the_ends_open() -> None:
    rng = np.random.default_rng(9)
    outlier = np.r_[rng.normal(size=99), 1e6]
    found = score(number(), np.zeros(100), outlier)
    assert (found.low, found.high) == (None, 1.0)
    assert "weigh like 1 equal ones" in (few_rows_decide(number(), outlier) or "")
    for n in (20, 100, 1000):
        assert few_rows_decide(number(), rng.normal(size=n)) is None
    assert few_rows_decide(classes("a", "b"), np.zeros(5)) is None


def test_models_that_say_the_same_are_not_certain_to_do_so_on_other_rows() -> None:
    truth = np.arange(40.0) / 40
    for task, same, truths in [
        (number(), truth, truth),
        (classes("a", "b"), np.tile([0.5, 0.5], (40, 1)), np.arange(40.0) % 2),
        (classes("a", "b", "c"), np.tile([0.2, 0.3, 0.5], (40, 1)), np.arange(40.0) % 3),
    ]:
        found = score_difference(task, same, same.copy(), truths)
        assert found.value == 0
        assert (found.low or 0) < 0 < (found.high or 0)


def test_macro_auc_covers_the_truth_where_a_class_is_rare() -> None:
    rng, task, covered = np.random.default_rng(10), classes("a", "b", "c"), 0
    shares, shift = np.array([0.58, 0.4, 0.02]), 2.0
    # Scores N(2, 1) inside a class and N(0, 1) outside it, in every class.
    truth = 0.5 * (1 + erf(shift / 2))
    for _ in range(400):
        y = np.r_[np.full(10, 2), rng.choice(2, 490, p=shares[:2] / shares[:2].sum())]
        covered += covers(score(task, rng.normal(size=(500, 3)) + shift * np.eye(3)[y], y.astype(float)), truth)
    assert covered / 400 >= 0.93


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


def whole(low: float, high: float, kind: str, cells: list[float]) -> Task:
    schema = Schema.model_validate({"target": "y", "columns": {"y": {"kind": kind, "low": low, "high": high, "missing": True}}})
    return task_of(schema, pd.DataFrame({"y": pd.array(cells, "Int64" if kind == "integer" else "Float64")}))


def test_a_number_of_two_values_is_two_classes() -> None:
    cells = pd.DataFrame({"y": pd.array([1, 2, None, 3, 2], "Int64")})
    task = whole(0, 9, "integer", [2, 1, 2])
    assert (task.kind, task.classes, task.class_name(0), task.class_name(1)) == ("two classes", 2, "1", "2")
    assert task.known(cells).index.tolist() == [0, 1, 4]
    assert task.truth(task.known(cells)).tolist() == [0, 1, 1]
    assert whole(0, 9, "numeric", [0.0, 1.0]).kind == "two classes"


def test_a_schema_of_zero_and_one_is_two_classes_whatever_the_rows() -> None:
    assert whole(0, 1, "integer", [1, 1]).kind == "two classes"
    assert whole(0, 1, "numeric", [1, 1]).kind == "number"
    assert whole(0, 2, "integer", [0, 1, 2]).kind == "number"


def test_of_three_categories_of_which_train_knows_two_the_task_is_to_tell_these_apart() -> None:
    schema = Schema.model_validate({"target": "y", "columns": {"y": {"kind": "categorical", "categories": ["a", "b", "c"]}}})
    task = task_of(schema, pd.DataFrame({"y": pd.Categorical(["c", "a", "a"], ["a", "b", "c"])}))
    rows = pd.DataFrame({"y": pd.Categorical(["c", "b", None, "a"], ["a", "b", "c"])})
    assert (task.kind, task.class_name(1)) == ("two classes", "c")
    assert task.truth(task.known(rows)).tolist() == [1, 0]


@pytest.mark.parametrize(("values", "status"), [([0, 1], "measured"), ([3, 7], "measured"), ([0, 1, 2], "not_assessable")])
def test_utility_and_parity_agree_on_what_is_a_choice_between_two(values: list[int], status: str) -> None:
    columns = {"y": {"kind": "integer", "low": 0, "high": 9}, "sex": {"kind": "categorical", "categories": ["f", "m"]}}
    schema = Schema.model_validate({"target": "y", "sensitive": ["sex"], "columns": columns})
    rng = np.random.default_rng(11)

    def table() -> pd.DataFrame:
        sex = rng.integers(0, 2, 600)
        y = np.where(rng.random(600) < 0.7, np.array(values)[sex], rng.choice(values, 600))
        return pd.DataFrame({"y": pd.array(y, "Int64"), "sex": pd.Categorical.from_codes(sex, ["f", "m"])})

    evidence = Evidence(schema, train=table(), holdout=table(), synthetic=table())
    assert [audit.measure(evidence, rng)[0].status for audit in (Utility(), Parity())] == [status] * 2
