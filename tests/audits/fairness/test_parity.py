import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

from guardrail.audits.fairness.parity import ODDS, PARITY, Parity, counts, rates, widest
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.schema import Schema


def measure(schema, train, holdout, synthetic, **settings):
    evidence = Evidence(schema=schema, train=train, holdout=holdout, synthetic=synthetic)
    return Parity(**settings).measure(evidence, np.random.default_rng(0))


def with_biased_labels(frame):
    """The planted failure: in the synthetic data no woman is ill."""
    changed = frame.copy()
    changed.loc[(changed["sex"] == "female").fillna(False), "ill"] = False
    return changed


@pytest.fixture(scope="module")
def tables(mixed_table):
    rng = np.random.default_rng(1)
    return [mixed_table(1500, rng) for _ in range(3)]


@pytest.fixture(scope="module")
def honest(mixed_schema, tables):
    return measure(mixed_schema, *tables)


@pytest.fixture(scope="module")
def biased(mixed_schema, tables):
    train, holdout, synthetic = tables
    return measure(mixed_schema, train, holdout, with_biased_labels(synthetic))


def test_biased_synthetic_labels_are_caught(biased):
    for finding in biased:
        assert finding.low > finding.comparisons["real"].high
    assert biased[0].groups["sex=female: selection rate"].value < 0.05


def test_honest_rows_are_as_fair_as_the_real_ones(honest):
    for finding in honest:
        real = finding.comparisons["real"]
        assert finding.low < real.high
        assert real.low < finding.high
        assert finding.reference == real.value


def test_the_headline_is_the_worst_attribute_and_the_intersection_is_one(honest):
    finding = honest[0]
    attributes = {name: finding.groups[name] for name in ("sex", "region", "sex & region")}
    assert finding.value == max(estimate.value for estimate in attributes.values())
    assert finding.high == max(estimate.high for estimate in attributes.values())
    assert finding.groups["sex"].level == pytest.approx(1 - 0.05 / 3)


def test_small_groups_are_left_out_and_named(honest):
    for finding in honest:
        assert not any("(missing)" in name and "&" in name for name in finding.groups)
        assert "sex=(missing) & region=east" in finding.left_out
        assert not any("region=" in caveat for caveat in finding.caveats)
        assert any("with fewer than 30 holdout rows behind a rate" in caveat for caveat in finding.caveats)


def test_by_hand_on_counts():
    cells = np.array([[[6, 2], [1, 3]], [[2, 6], [2, 2]]])  # (group, label, prediction)
    assert widest(rates(PARITY, cells)) == pytest.approx(abs(5 / 12 - 8 / 12))
    assert widest(rates(ODDS, cells)) == pytest.approx(max(abs(2 / 8 - 6 / 8), abs(3 / 4 - 2 / 4)))


@pytest.mark.parametrize(("metric", "by_fairlearn"), [(PARITY, demographic_parity_difference), (ODDS, equalized_odds_difference)])
def test_drawing_counts_is_drawing_rows(metric, by_fairlearn):
    rng = np.random.default_rng(2)
    groups, truth, predicted = rng.integers(0, 3, 400), rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    by_rows = []
    for _ in range(60):
        rows = rng.integers(0, 400, 400)
        slow = by_fairlearn(truth[rows], predicted[rows], sensitive_features=groups[rows])
        assert widest(rates(metric, counts(groups[rows], truth[rows], predicted[rows], 3))) == pytest.approx(slow)
        by_rows.append(slow)
    cells = counts(groups, truth, predicted, 3)
    by_counts = widest(rates(metric, rng.multinomial(400, cells.ravel() / 400, 4000).reshape(-1, 3, 2, 2)))
    assert by_counts.mean() == pytest.approx(np.mean(by_rows), abs=0.02)
    assert by_counts.std() == pytest.approx(np.std(by_rows), rel=0.3)


@pytest.mark.parametrize("gap", [0.0, 0.2])
def test_the_interval_covers_the_true_difference(gap):
    rng, covered = np.random.default_rng(3), 0
    for _ in range(120):
        groups, truth = rng.integers(0, 3, 600), rng.integers(0, 2, 600)
        predicted = (rng.random(600) < 0.4 + gap * (groups == 0)).astype(int)
        found = Parity(replicates=200).interval(PARITY, groups, truth, predicted, rng, 0.95)
        covered += found.low <= gap <= found.high
    assert covered >= 108


def test_an_attribute_with_one_group_cannot_be_compared(mixed_schema, tables):
    women = [frame[(frame["sex"] == "female").fillna(False)].reset_index(drop=True) for frame in tables]
    schema = mixed_schema.model_copy(update={"sensitive": ("sex",)})
    for finding in measure(schema, *women):
        assert finding.status == "not_assessable"
        assert "two groups" in finding.reason


@pytest.mark.parametrize(("target", "reason"), [("income", "is a number"), ("region", "has 4 classes")])
def test_what_is_not_a_choice_between_two_is_not_assessable(mixed_schema, tables, target, reason):
    schema = mixed_schema.model_copy(update={"target": target, "sensitive": ("sex",)})
    for finding in measure(schema, *tables):
        assert reason in finding.reason


def test_one_class_is_not_assessable(mixed_schema, tables):
    train, holdout, synthetic = (frame.assign(ill=pd.array([True] * len(frame), dtype="boolean")) for frame in tables)
    assert "has 1 class" in measure(mixed_schema, train, holdout, synthetic)[0].reason


def test_synthetic_rows_of_one_class_are_called_useless_and_not_fair(mixed_schema, tables):
    train, holdout, synthetic = tables
    finding = measure(mixed_schema, train, holdout, synthetic.assign(ill=pd.array([False] * len(synthetic), dtype="boolean")))[0]
    assert finding.value == 0.0
    assert finding.high > 0.02  # no woman in 700 was chosen: that is not proof of a rate of 0
    assert any("of no use" in caveat for caveat in finding.caveats)


def test_a_target_written_as_zero_and_one_is_a_choice_between_two(mixed_schema, tables, honest):
    columns = {name: column.model_dump() for name, column in mixed_schema.columns.items()}
    schema = Schema.model_validate(
        {"target": "ill", "sensitive": ["sex", "region"], "columns": columns | {"ill": {"kind": "integer", "low": 0, "high": 1}}}
    )
    numbered = [frame.assign(ill=frame["ill"].astype("Int64")) for frame in tables]
    finding = measure(schema, *numbered)[0]
    assert finding.value == honest[0].value
    assert "ill = 1" in finding.estimand


def test_rows_without_a_target_are_left_out(mixed_schema, tables):
    train, holdout, synthetic = tables
    gaps = pd.array(holdout["ill"], dtype="boolean")
    gaps[:100] = pd.NA
    finding = measure(mixed_schema, train, holdout.assign(ill=gaps), synthetic)[0]
    assert "1400 holdout rows" in finding.estimand
