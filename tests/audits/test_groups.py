"""Groups are told apart by what they are, not by how they print."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from guardrail.audits.groups import groupings, largest_groups
from guardrail.vocabulary.schema import Schema


def of(frame, sensitive, **columns):
    schema = Schema.model_validate({"sensitive": sensitive, "columns": columns})
    return groupings([frame], schema, frame)


def sizes(grouping):
    return dict(zip(grouping.labels, np.bincount(grouping.codes[0], minlength=len(grouping.labels)).tolist(), strict=True))


def test_a_category_called_missing_is_not_the_missing_cells():
    cells = pd.Categorical(["(missing)"] * 3 + [None] * 2 + ["a"], ["(missing)", "a"])
    (found,) = of(pd.DataFrame({"g": cells}), ["g"], g={"kind": "categorical", "categories": ["(missing)", "a"], "missing": True})
    assert sorted(sizes(found).values()) == [1, 2, 3]
    assert sizes(found)["g=(missing)"] == 3


def test_numbers_that_print_alike_cut_bands_of_their_own():
    values = 1_000_000 + np.repeat([0.1, 0.2, 0.3, 0.4], 5)
    (found,) = of(pd.DataFrame({"x": values}), ["x"], x={"kind": "numeric", "low": 0, "high": 2e6})
    assert list(sizes(found).values()) == [5, 5, 5, 5]
    assert "x=above 1000000.1 up to 1000000.2" in found.labels


@pytest.mark.parametrize("unit", ["h", "us"])
def test_moments_of_one_day_cut_bands_of_their_own(unit):
    moments = pd.Series(np.datetime64("2024-05-05T03:00", "us") + np.repeat([0, 1, 2, 3], 5) * np.timedelta64(1, unit))
    frame = pd.DataFrame({"t": moments.astype("datetime64[us]")})
    (found,) = of(frame, ["t"], t={"kind": "datetime", "low": "2024-01-01", "high": "2024-12-31", "resolution": "second"})
    assert list(sizes(found).values()) == [5, 5, 5, 5]
    assert len(set(found.labels)) == 4


def test_days_that_differ_are_printed_as_days():
    moments = pd.Series(np.datetime64("2024-05-05", "us") + np.repeat([0, 1, 2, 3], 5) * np.timedelta64(1, "D"))
    frame = pd.DataFrame({"t": moments.astype("datetime64[us]")})
    (found,) = of(frame, ["t"], t={"kind": "datetime", "low": "2024-01-01", "high": "2024-12-31"})
    assert found.labels[0] == "t=up to 2024-05-05"


def test_an_intersection_that_prints_like_another_group_is_another_group():
    """`a=x & b=y` is a value of a, and x in a with y in b."""
    a, b = ["x & b=y", "x"], ["y", "y & b=y"]
    rows = list(product(a, b))
    frame = pd.DataFrame({"a": pd.Categorical([r[0] for r in rows], a), "b": pd.Categorical([r[1] for r in rows], b)})
    columns = {"a": {"kind": "categorical", "categories": a}, "b": {"kind": "categorical", "categories": b}}
    found = of(frame, ["a", "b"], **columns)
    labels = [label for grouping in found for label in grouping.labels]
    assert len(labels) == len(set(labels)) == 8
    assert sorted(sizes(found[2]).values()) == [1, 1, 1, 1]


def test_groups_are_those_of_a_slow_count():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: pd.Categorical.from_codes(rng.integers(-1, 3, 200), list("pqr")) for name in "abc"})
    column = {"kind": "categorical", "categories": list("pqr"), "missing": True}
    found = of(frame, list("abc"), a=column, b=column, c=column)
    slow: dict[str, int] = {}
    for cells in frame.astype(object).itertuples(index=False):
        words = [f"{name}={'(missing)' if pd.isna(cell) else cell}" for name, cell in zip("abc", cells, strict=True)]
        for label in (*words, " & ".join(words)):
            slow[label] = slow.get(label, 0) + 1
    assert {label: n for grouping in found for label, n in sizes(grouping).items()} == slow


def test_the_largest_groups_are_listed_and_the_others_named():
    words = [f"w{i:03}" for i in range(200)]
    cells = np.repeat(np.arange(200), np.arange(200) + 1)
    frame = pd.DataFrame({"g": pd.Categorical.from_codes(cells, words)})
    schema = Schema.model_validate({"sensitive": ["g"], "columns": {"g": {"kind": "categorical", "categories": words}}})
    listed, rest = largest_groups(groupings([frame, frame.iloc[:-50]], schema, frame), 100)
    assert [group.label for group in listed] == [f"g=w{i:03}" for i in range(100, 200)]
    assert [int(group.rows.sum()) for group in listed] == list(range(101, 201))
    assert listed[-1].fewest == 150
    assert rest == tuple(f"g=w{i:03}" for i in range(99, -1, -1))
