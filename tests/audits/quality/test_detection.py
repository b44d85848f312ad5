"""Telling synthetic rows from real ones: possible where dependence is lost, impossible on honest rows, misled by copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from guardrail.audits.quality.detection import Detection, roc_points
from guardrail.vocabulary.evidence import Audit, Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Curve
from guardrail.vocabulary.schema import Schema


def measure(evidence: Evidence, audit: Detection | None = None) -> Finding:
    (finding,) = (audit or Detection()).measure(evidence, np.random.default_rng(0))
    return finding


def test_it_is_an_audit() -> None:
    assert isinstance(Detection(), Audit)


def test_honest_rows_are_a_coin_toss(honest: Evidence) -> None:
    finding = measure(honest)
    assert (finding.low or 0) <= 0.5 <= (finding.high or 0)
    assert finding.reference == 0.5
    assert finding.n == 4000
    assert finding.comparisons["holdout"].n == 2000
    assert any("holdout was told apart on 2000" in caveat for caveat in finding.caveats)


def test_rows_without_dependence_are_told_apart_as_the_floor_is(ignorant: Evidence) -> None:
    finding = measure(ignorant)
    assert (finding.low or 0) > 0.7
    assert (finding.comparisons["floor"].low or 0) > 0.7


def test_copies_are_not_told_apart_and_the_caveats_say_so(copied: Evidence) -> None:
    finding = measure(copied)
    assert (finding.high or 1) < 0.55
    assert any("privacy.exact_copies" in caveat for caveat in finding.caveats)


def test_one_giveaway_column_is_enough(honest: Evidence) -> None:
    assert honest.synthetic is not None
    finding = measure(replace(honest, synthetic=honest.synthetic.assign(income=-1.0)))
    assert (finding.low or 0) > 0.98
    assert (finding.high or 0) <= 1


def test_the_curve_rises_from_the_hits_at_no_false_alarm_to_one(ignorant: Evidence) -> None:
    curve = measure(ignorant).plots[0]
    assert isinstance(curve, Curve)
    assert set(curve.series) == {"synthetic", "holdout", "floor"}
    for points in curve.series.values():
        rates = [rate for _, rate in points]
        assert rates == sorted(rates)
        assert rates[-1] == 1


def test_curve_of_four_rows_by_hand() -> None:
    # Positives 4 and 2, negatives 3 and 1: 4 is found at no false alarm, 2 once the threshold lets the 3 pass.
    points = dict(roc_points(np.array([4.0, 2, 3, 1]), np.array([True, True, False, False]), steps=4))
    assert points == {0.0: 0.5, 0.25: 0.5, 0.5: 1.0, 0.75: 1.0, 1.0: 1.0}


@pytest.mark.parametrize("rows", [0, 1, 2, 49])
def test_hardly_any_rows_cannot_be_assessed(honest: Evidence, rows: int) -> None:
    assert honest.synthetic is not None
    finding = measure(replace(honest, synthetic=honest.synthetic.iloc[:rows]))
    assert finding.status == "not_assessable"
    assert f"{rows} rows a side" in (finding.reason or "")


def test_constant_and_empty_columns_leave_a_coin_toss() -> None:
    column = {"kind": "numeric", "low": 0, "high": 1, "missing": True}
    schema = Schema.model_validate(
        {"columns": {"same": column, "void": column, "none": {"kind": "categorical", "categories": ["a"], "missing": True}}}
    )
    frame = pd.DataFrame({"same": np.ones(120), "void": np.full(120, np.nan), "none": pd.Categorical([None] * 120, ["a"])})
    for table in (frame, frame.assign(same=np.nan)):
        finding = measure(Evidence(schema, train=table, synthetic=table))
        assert finding.value == 0.5
        assert (finding.low or 1) < 0.5 < (finding.high or 0)


def test_a_column_known_in_one_table_only_is_told_apart(honest: Evidence) -> None:
    assert honest.synthetic is not None
    finding = measure(replace(honest, synthetic=honest.synthetic.assign(income=np.nan)), Detection(most_rows=1000))
    assert (finding.low or 0) > 0.9


def test_no_holdout_or_a_tiny_one_is_left_out_of_the_comparisons(honest: Evidence) -> None:
    assert honest.holdout is not None
    for holdout in (None, honest.holdout.iloc[:5]):
        assert set(measure(replace(honest, holdout=holdout), Detection(most_rows=400)).comparisons) == {"floor"}
