"""Two columns at a time: by hand, on copies, on rows without dependence (which must show), on honest rows, on odd tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from guardrail.audits.quality.pairs import Pairs
from guardrail.vocabulary.evidence import Audit, Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Heatmap
from guardrail.vocabulary.schema import Schema


def measure(evidence: Evidence, audit: Pairs | None = None) -> Finding:
    (finding,) = (audit or Pairs()).measure(evidence, np.random.default_rng(0))
    return finding


def booleans(**columns: str) -> tuple[Schema, pd.DataFrame]:
    schema = Schema.model_validate({"columns": {name: {"kind": "boolean"} for name in columns}})
    frame = pd.DataFrame({name: pd.array([c == "1" for c in cells], dtype="boolean") for name, cells in columns.items()})
    return schema, frame


def test_it_is_an_audit() -> None:
    assert isinstance(Pairs(), Audit)


def test_four_rows_by_hand() -> None:
    # The columns agree in train and disagree in the synthetic rows: no combination in common, though each column's shares
    # are the same. With c constant, the pairs (a, c) and (b, c) are equal.
    schema, train = booleans(a="0011", b="0011", c="1111")
    _, synthetic = booleans(a="0011", b="1100", c="1111")
    finding = measure(Evidence(schema, train=train, synthetic=synthetic))
    assert finding.value == pytest.approx(2 / 3)
    assert {name: group.value for name, group in finding.groups.items()} == {"a": 0.5, "b": 0.5, "c": 1.0}
    heatmap = finding.plots[0]
    assert isinstance(heatmap, Heatmap)
    assert heatmap.values == ((None, 0.0, 1.0), (0.0, None, 1.0), (1.0, 1.0, None))


def test_rows_without_dependence_are_told_from_the_holdout_and_equal_the_floor(ignorant: Evidence) -> None:
    finding = measure(ignorant)
    assert finding.estimate is not None
    assert (finding.high or 0) < (finding.comparisons["holdout"].low or 0)
    assert finding.value == pytest.approx(finding.comparisons["floor"].value, abs=0.01)


def test_honest_rows_score_as_the_holdout_does_and_above_the_floor(honest: Evidence) -> None:
    finding = measure(honest)
    assert finding.value == pytest.approx(finding.reference, abs=0.02)
    assert (finding.low or 0) > (finding.comparisons["floor"].high or 0)


def test_copies_score_as_well_as_real_rows(copied: Evidence) -> None:
    finding = measure(copied)
    assert (finding.value or 0) >= (finding.comparisons["holdout"].low or 0)


def test_a_single_column_has_no_pairs() -> None:
    schema, frame = booleans(a="0101")
    finding = measure(Evidence(schema, train=frame, synthetic=frame))
    assert finding.status == "not_assessable"
    assert "one column" in (finding.reason or "")


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_rows_cannot_be_assessed(honest: Evidence, rows: int) -> None:
    assert honest.train is not None
    assert measure(replace(honest, train=honest.train.iloc[:rows])).status == "not_assessable"


def test_of_a_wide_table_a_random_part_of_the_pairs_is_compared_and_said() -> None:
    schema, frame = booleans(**{f"c{i}": "0110" * 10 for i in range(12)})
    finding = measure(Evidence(schema, train=frame, synthetic=frame), Pairs(most_pairs=20))
    assert any("a random 20 of the 66 pairs" in caveat for caveat in finding.caveats)
    heatmap = finding.plots[0]
    assert isinstance(heatmap, Heatmap)
    assert sum(cell is not None for row in heatmap.values for cell in row) == 40


def test_two_columns_of_ten_thousand_categories_fit_in_memory() -> None:
    words = [str(i) for i in range(10_000)]
    schema = Schema.model_validate({"columns": {name: {"kind": "categorical", "categories": words} for name in "ab"}})
    rng = np.random.default_rng(5)
    train, synthetic = (
        pd.DataFrame({name: pd.Categorical.from_codes(rng.integers(0, 10_000, 2000), words) for name in "ab"}) for _ in range(2)
    )
    assert (measure(Evidence(schema, train=train, synthetic=synthetic)).value or 0) < 0.05
    assert measure(Evidence(schema, train=train, synthetic=train)).value == 1
