"""Who is missing: a sex removed must show, an honest part must not, and small groups must not drown the headline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from guardrail.audits.bias.representation import Representation
from guardrail.vocabulary.evidence import Audit, Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Bars, Whiskers
from guardrail.vocabulary.schema import Schema


def measure(evidence: Evidence, audit: Representation | None = None) -> Finding:
    (finding,) = (audit or Representation()).measure(evidence, np.random.default_rng(0))
    return finding


def people(**counts: int) -> pd.DataFrame:
    cells = [name for name, count in counts.items() for _ in range(count)]
    return pd.DataFrame({"sex": pd.Categorical([None if c == "none" else c for c in cells], ["f", "m"])})


SEX = Schema.model_validate({"sensitive": ["sex"], "columns": {"sex": {"kind": "categorical", "categories": ["f", "m"], "missing": True}}})


def test_it_is_an_audit() -> None:
    assert isinstance(Representation(), Audit)


def test_four_rows_by_hand() -> None:
    # f: 1/4 against 2/4, ratio 1/2; m: 3/4 against 2/4, ratio 3/2.
    finding = measure(Evidence(SEX, train=people(f=2, m=2), synthetic=people(f=1, m=3)), Representation(least_expected=1))
    assert {name: group.value for name, group in finding.groups.items()} == {"sex=f": 0.5, "sex=m": 1.5}
    assert finding.value == 0.5
    assert finding.reference == 1.0
    assert (finding.low or 0) < 0.1 and (finding.high or 0) > 1


def test_a_removed_sex_has_a_ratio_of_zero_and_a_bound_well_below_one(honest: Evidence) -> None:
    assert honest.synthetic is not None
    finding = measure(replace(honest, synthetic=honest.synthetic[honest.synthetic["sex"] != "female"]))
    assert (finding.value, finding.low) == (0, 0)
    assert (finding.high or 1) < 0.05
    assert finding.groups["sex=female"].value == 0
    assert "sex=female" in finding.estimand


def test_a_thinned_region_is_named(honest: Evidence) -> None:
    assert honest.synthetic is not None
    rng = np.random.default_rng(1)
    kept = (honest.synthetic["region"] != "west") | (rng.random(len(honest.synthetic)) < 0.3)
    finding = measure(replace(honest, synthetic=honest.synthetic[kept]))
    assert (finding.high or 1) < 0.7
    assert "west" in finding.estimand


@pytest.mark.parametrize("seed", range(5))
def test_an_honest_part_of_ten_thousand_rows_keeps_its_lower_bound_above_a_half(
    mixed_schema: Schema, mixed_table: Callable[..., pd.DataFrame], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    finding = measure(Evidence(mixed_schema, mixed_table(10_000, rng), mixed_table(10_000, rng), mixed_table(10_000, rng)))
    assert (finding.low or 0) > 0.5
    assert finding.reference == finding.comparisons["holdout"].value
    assert (finding.high or 0) >= 0.99


def test_honest_rows_alarm_at_most_one_time_in_twenty() -> None:
    rng, alarms = np.random.default_rng(2), 0
    for _ in range(200):
        f, g = rng.binomial(1000, 0.3, 2)
        finding = measure(Evidence(SEX, train=people(f=f, m=1000 - f), synthetic=people(f=g, m=1000 - g)))
        alarms += (finding.high or 0) < 1
    assert alarms / 200 <= 0.05


def test_small_groups_are_listed_but_stay_out_of_the_headline() -> None:
    finding = measure(Evidence(SEX, train=people(f=500, m=500, none=20), synthetic=people(f=500, m=500)))
    assert finding.groups["sex=(missing)"].value == 0
    assert (finding.value or 0) > 0.9
    assert finding.left_out == ("sex=(missing)",)
    assert any(caveat.startswith("1 group with too few rows") for caveat in finding.caveats)
    assert "of these, 1 wholly absent from the synthetic data" in finding.caveats


def test_a_group_has_as_many_records_as_where_it_is_rarer_and_the_headline_has_the_smaller_tables() -> None:
    finding = measure(Evidence(SEX, train=people(f=500, m=500, none=1), synthetic=people(f=420, m=100, none=80)))
    assert {name: group.n for name, group in finding.groups.items()} == {"sex=f": 420, "sex=m": 100, "sex=(missing)": 1}
    assert finding.n == 600


def test_a_large_group_that_is_wholly_gone_leaves_a_headline_on_many_records() -> None:
    finding = measure(Evidence(SEX, train=people(f=500, m=500), synthetic=people(f=600)))
    assert (finding.value, finding.n, finding.groups["sex=m"].n) == (0, 600, 0)


def test_missing_cells_are_a_group_like_any_other() -> None:
    finding = measure(Evidence(SEX, train=people(f=500, m=500, none=300), synthetic=people(f=650, m=650)))
    assert finding.value == 0
    assert "sex=(missing)" in finding.estimand


def test_a_group_of_the_synthetic_data_only_is_named() -> None:
    finding = measure(Evidence(SEX, train=people(f=500), synthetic=people(f=400, m=100)))
    assert (finding.value, finding.groups["sex=f"].value) == (0.8, 0.8)
    assert finding.left_out == ("sex=m",)
    assert "1 group in the synthetic data only" in finding.caveats


def test_the_plots_show_ratios_and_shares(honest: Evidence) -> None:
    ratios, shares = measure(honest).plots
    assert isinstance(ratios, Whiskers) and ratios.line == 1
    assert isinstance(shares, Bars) and set(shares.series) == {"train", "synthetic"}
    assert all(0 <= share <= 1 for values in shares.series.values() for share in values)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_rows_cannot_be_assessed(honest: Evidence, rows: int) -> None:
    for role in ("train", "synthetic"):
        assert measure(replace(honest, **{role: getattr(honest, role).iloc[:rows]})).status == "not_assessable"


def test_everybody_in_one_group_is_no_loss() -> None:
    finding = measure(Evidence(SEX, train=people(m=200), synthetic=people(m=300)))
    assert finding.value == 1


def test_ten_thousand_groups_are_listed_in_part() -> None:
    words = [str(i) for i in range(10_000)]
    schema = Schema.model_validate({"sensitive": ["g"], "columns": {"g": {"kind": "categorical", "categories": words}}})
    rng = np.random.default_rng(3)
    train, synthetic = (
        pd.DataFrame({"g": pd.Categorical.from_codes(np.where(rng.random(4000) < 0.2, 0, rng.integers(1, 10_000, 4000)), words)})
        for _ in range(2)
    )
    finding = measure(Evidence(schema, train=train, synthetic=synthetic))
    assert len(finding.groups) == len(finding.left_out) == 100
    assert "g=0" in finding.estimand
    assert any(" more" in caveat for caveat in finding.caveats)
