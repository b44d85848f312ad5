import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.audits.privacy.copies import Copies, row_ids
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.schema import Schema


def measure(schema, train, synthetic, holdout=None):
    (finding,) = Copies().measure(Evidence(schema=schema, train=train, synthetic=synthetic, holdout=holdout), np.random.default_rng(0))
    return finding


def test_by_hand_on_four_rows():
    schema = Schema.model_validate(
        {"columns": {"a": {"kind": "numeric", "low": 0, "high": 9}, "b": {"kind": "categorical", "categories": ["x", "y"]}}}
    )

    def table(a, b):
        return pd.DataFrame({"a": np.array(a, float), "b": pd.Categorical(b, categories=["x", "y"])})

    train = table([1, 2, np.nan, 2], ["x", "y", None, "y"])
    synthetic = table([1, np.nan, 2, 1], ["x", None, "x", "y"])  # copies: the first, and the second (missing equals missing)
    holdout = table([2, 5], ["y", "x"])
    finding = measure(schema, train, synthetic, holdout)
    assert finding.value == 0.5
    assert finding.reference == 0.5
    assert finding.groups["copies of rows unique in train"].value == 0.5
    assert finding.groups["holdout: copies of rows unique in train"].value == 0.0
    assert 0 < finding.low < 0.5 < finding.high < 1


def test_five_in_a_hundred_planted_copies_are_caught(mixed_schema, mixed_table):
    rng = np.random.default_rng(1)
    train, holdout, honest = (mixed_table(n, rng) for n in (2000, 1000, 1000))
    planted = pd.concat([honest[50:], train[:50]], ignore_index=True)
    finding = measure(mixed_schema, train, planted, holdout)
    assert finding.value >= 0.05
    assert finding.low > finding.comparisons["holdout"].high


def test_honest_rows_raise_no_alarm(mixed_schema, mixed_table):
    rng = np.random.default_rng(2)
    finding = measure(mixed_schema, mixed_table(2000, rng), mixed_table(1000, rng), mixed_table(1000, rng))
    assert finding.low <= finding.comparisons["holdout"].high


def test_in_a_coarse_table_chance_copies_are_explained_by_the_holdout():
    schema = Schema.model_validate({"columns": {"a": {"kind": "boolean"}, "b": {"kind": "boolean"}}})
    rng = np.random.default_rng(3)
    train, synthetic, holdout = (pd.DataFrame({c: pd.array(rng.random(200) < 0.5, dtype="boolean") for c in "ab"}) for _ in range(3))
    finding = measure(schema, train, synthetic, holdout)
    assert finding.value == finding.reference == finding.comparisons["floor"].value == 1.0
    assert "4 different rows" in " ".join(finding.caveats)


def test_without_a_holdout_there_is_a_share_and_no_reference(mixed_schema, mixed_table):
    train = mixed_table(300, np.random.default_rng(4))
    finding = measure(mixed_schema, train, train)
    assert finding.value == 1.0
    assert finding.reference is None
    assert "holdout" not in finding.comparisons


def test_groups_tell_whose_rows_were_copied(mixed_schema, mixed_table):
    rng = np.random.default_rng(5)
    train, honest = mixed_table(1500, rng), mixed_table(1500, rng)
    women = train[train["sex"] == "female"]
    finding = measure(mixed_schema, train, pd.concat([honest[honest["sex"] == "male"], women], ignore_index=True))
    assert finding.groups["sex=female"].value == 1.0
    assert finding.groups["sex=male"].value < 0.05


cells = st.sampled_from([None, 0.0, -0.0, 1.0, 2.5])
rows = st.lists(st.tuples(cells, st.sampled_from([None, "x", "y"]), st.sampled_from([None, True, False])), min_size=1, max_size=12)


@given(rows, rows)
def test_row_numbers_agree_with_comparing_cell_by_cell(left, right):
    def frame(found):
        a, b, c = zip(*found, strict=True)
        return pd.DataFrame({"a": np.array(a, float), "b": pd.Categorical(b, categories=["x", "y"]), "c": pd.array(c, dtype="boolean")})

    first, second = row_ids(frame(left), frame(right))
    for i, row in enumerate(left):
        for j, other in enumerate(right):
            assert (first[i] == second[j]) == (row == other)


@pytest.mark.parametrize("n", [0, 1])
def test_tables_of_hardly_any_rows_do_not_crash(mixed_schema, mixed_table, n):
    rng = np.random.default_rng(6)
    finding = measure(mixed_schema, mixed_table(n, rng), mixed_table(n, rng), mixed_table(n, rng))
    assert finding.status == ("measured" if n else "not_assessable")
