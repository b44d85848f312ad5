"""Train on synthetic, test on real: what copies, honest rows and rows without dependence are worth, for every kind of target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from guardrail.audits.quality.utility import Utility
from guardrail.vocabulary.evidence import Audit, Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Curve, Whiskers
from guardrail.vocabulary.schema import Schema


def measure(evidence: Evidence) -> tuple[Finding, Finding]:
    auc, gap = Utility().measure(evidence, np.random.default_rng(0))
    return auc, gap


def aimed_at(evidence: Evidence, target: str) -> Evidence:
    return replace(evidence, schema=evidence.schema.model_copy(update={"target": target}))


@pytest.fixture(scope="module")
def of_honest(honest: Evidence) -> tuple[Finding, Finding]:
    return measure(honest)


def test_it_is_an_audit() -> None:
    assert isinstance(Utility(), Audit)


def test_honest_rows_are_worth_as_much_as_real_ones(of_honest: tuple[Finding, Finding]) -> None:
    auc, gap = of_honest
    assert auc.reference == auc.comparisons["real"].value
    assert (auc.low or 0) > 0.85
    assert abs(gap.value or 1) < 0.01
    assert gap.value == pytest.approx(gap.comparisons["score_real"].value - gap.comparisons["score_synthetic"].value)


def test_honest_rows_beat_the_floor_with_intervals_apart(of_honest: tuple[Finding, Finding]) -> None:
    auc, gap = of_honest
    assert (auc.low or 0) > (auc.comparisons["floor"].high or 0)
    assert (gap.comparisons["score_synthetic"].low or 0) > (gap.comparisons["score_floor"].high or 0)
    assert (gap.high or 0) < (gap.comparisons["floor"].low or 0)


def test_groups_are_scored_where_they_have_rows_of_both_classes(of_honest: tuple[Finding, Finding], honest: Evidence) -> None:
    groups = of_honest[0].groups
    assert {"sex=female", "sex=male", "region=west", "sex=female & region=north"} <= set(groups)
    assert honest.holdout is not None
    assert groups["sex=male"].n == int((honest.holdout["sex"] == "male").sum())


def test_the_plots_show_all_three_models(of_honest: tuple[Finding, Finding]) -> None:
    curve, whiskers = of_honest[0].plots[0], of_honest[1].plots[0]
    assert isinstance(curve, Curve) and set(curve.series) == {"synthetic", "real", "floor"}
    assert isinstance(whiskers, Whiskers) and set(whiskers.labels) == {"synthetic", "real", "floor"}


def test_rows_without_dependence_are_worth_nothing(ignorant: Evidence) -> None:
    auc, gap = measure(ignorant)
    assert (auc.high or 1) < 0.7
    assert (gap.low or 0) > 0.2


def test_copies_are_worth_exactly_what_real_rows_are(copied: Evidence) -> None:
    auc, gap = measure(copied)
    assert (gap.low or -1) < 0.005
    assert auc.value == pytest.approx(auc.reference, abs=0.01)


def test_a_target_of_three_classes(honest: Evidence) -> None:
    auc, gap = measure(aimed_at(honest, "grade"))
    assert "macro one-vs-rest AUC" in auc.estimand and "macro one-vs-rest AUC" in gap.estimand
    assert (auc.low or 0) > (auc.comparisons["floor"].high or 0)
    assert abs(gap.value or 1) < 0.03


def test_a_numeric_target_has_a_gap_in_r_squared_and_no_auc(honest: Evidence) -> None:
    auc, gap = measure(aimed_at(honest, "income"))
    assert (auc.status, auc.reason) == ("not_assessable", "the target is a number; see quality.utility_gap")
    assert "R²" in gap.estimand
    assert (gap.comparisons["score_synthetic"].low or 0) > (gap.comparisons["score_floor"].high or 0)
    assert any("synthetic rows without a target were left out" in caveat for caveat in gap.caveats)


def test_a_date_can_be_the_target(honest: Evidence) -> None:
    _, gap = measure(aimed_at(honest, "visit"))
    assert gap.status == "measured"


def test_a_synthetic_table_of_one_class_is_a_coin_toss_and_not_a_crash(honest: Evidence) -> None:
    assert honest.synthetic is not None
    auc, gap = measure(replace(honest, synthetic=honest.synthetic.assign(ill=pd.array([True] * 4000, dtype="boolean"))))
    assert auc.value == 0.5
    assert (gap.low or 0) > 0.3
    assert any("single class" in caveat for caveat in auc.caveats)


def test_a_holdout_of_one_class_cannot_test(honest: Evidence) -> None:
    assert honest.holdout is not None
    findings = measure(replace(honest, holdout=honest.holdout[honest.holdout["ill"].to_numpy(bool)]))
    assert [finding.status for finding in findings] == ["not_assessable"] * 2


@pytest.mark.parametrize("role", ["train", "holdout", "synthetic"])
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_rows_cannot_be_assessed(honest: Evidence, role: str, rows: int) -> None:
    findings = measure(replace(honest, **{role: getattr(honest, role).iloc[:rows]}))
    assert [finding.status for finding in findings] == ["not_assessable"] * 2


def test_a_class_in_one_table_only_is_handled(honest: Evidence) -> None:
    assert honest.train is not None and honest.holdout is not None and honest.synthetic is not None
    for role in ("train", "holdout", "synthetic"):
        others = {
            name: frame[frame["region"] != "west"]
            for name in ("train", "holdout", "synthetic")
            if (frame := getattr(honest, name)) is not None
        }
        others[role] = getattr(honest, role)
        auc, gap = measure(aimed_at(replace(honest, **others), "region"))
        assert auc.status == gap.status == "measured"


def test_a_class_of_a_single_training_row_is_handled(honest: Evidence) -> None:
    assert honest.synthetic is not None
    west = np.flatnonzero(honest.synthetic["region"] == "west")
    auc, _ = measure(aimed_at(replace(honest, synthetic=honest.synthetic.drop(index=west[1:])), "region"))
    assert auc.status == "measured"


def test_a_table_of_nothing_but_its_target_is_a_coin_toss() -> None:
    schema = Schema.model_validate({"target": "y", "columns": {"y": {"kind": "boolean"}}})
    frame = pd.DataFrame({"y": pd.array([True, False] * 50, dtype="boolean")})
    auc, gap = measure(Evidence(schema, train=frame, holdout=frame, synthetic=frame))
    assert (auc.value, gap.value) == (0.5, 0.0)
    assert (gap.low or 0) < 0 < (gap.high or 0)


def test_a_target_written_as_zero_and_one_is_scored_as_the_boolean_is(honest: Evidence, of_honest: tuple[Finding, Finding]) -> None:
    columns = {name: column.model_dump() for name, column in honest.schema.columns.items()}
    columns["ill"] = {"kind": "integer", "low": 0, "high": 1}
    tables = {
        name: frame.assign(ill=frame["ill"].astype("Int64"))
        for name in ("train", "holdout", "synthetic")
        if (frame := getattr(honest, name)) is not None
    }
    schema = Schema.model_validate({"target": "ill", "sensitive": ["sex", "region"], "columns": columns})
    numbered = measure(replace(honest, schema=schema, **tables))
    assert [finding.value for finding in numbered] == [finding.value for finding in of_honest]


def test_a_target_that_a_few_rows_spread_is_called_so(honest: Evidence) -> None:
    assert honest.holdout is not None
    income = honest.holdout["income"].to_numpy(float).copy()
    income[:3] = 9e9
    _, gap = measure(aimed_at(replace(honest, holdout=honest.holdout.assign(income=income)), "income"))
    assert any("a few rows carry most of the target's spread" in caveat for caveat in gap.caveats)
    assert gap.low is None or gap.high is None or gap.high - gap.low > 0.5


def test_constant_and_all_missing_features_are_no_obstacle(honest: Evidence) -> None:
    empty = {
        name: frame.assign(income=np.nan, age=pd.array([30] * len(frame), dtype="Int64"))
        for name in ("train", "holdout", "synthetic")
        if (frame := getattr(honest, name)) is not None
    }
    auc, _ = measure(replace(honest, **empty))
    assert auc.status == "measured"


def test_a_target_of_ten_thousand_categories_is_cut_to_the_commonest() -> None:
    words = [str(i) for i in range(10_000)]
    schema = Schema.model_validate(
        {"target": "y", "columns": {"x": {"kind": "numeric", "low": 0, "high": 9}, "y": {"kind": "categorical", "categories": words}}}
    )
    rng = np.random.default_rng(1)

    def table() -> pd.DataFrame:
        x = rng.integers(0, 3, 400)
        return pd.DataFrame({"x": x.astype(float), "y": pd.Categorical.from_codes(x * rng.choice([1, 3000], 400), words)})

    auc, gap = measure(Evidence(schema, train=table(), holdout=table(), synthetic=table()))
    assert any("9980 rarest categories" in caveat for caveat in auc.caveats)
    assert gap.status == "measured"
