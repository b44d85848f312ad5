"""Splits: nobody in both parts, and nobody moved by somebody else."""

from __future__ import annotations

import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.data.split import held_out, rows_of_units
from guardrail.data.tables import read_table, write_table
from guardrail.vocabulary.errors import DataError


def rows(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame({"who": rng.integers(0, n // 4, n), "x": rng.random(n), "word": rng.choice(["a", "b"], n)})


def split(frame: pd.DataFrame, *, unit: str, holdout: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    held = held_out(frame, unit=unit, holdout=holdout, seed=seed)
    return frame[~held], frame[held]


def few_rows_per_unit(frame: pd.DataFrame, unit: str, seed: int, most: int = 1) -> pd.DataFrame:
    return frame[rows_of_units(frame, unit=unit, most=most, seed=seed)[0]]


def contents(frame: pd.DataFrame) -> set[tuple[object, ...]]:
    return set(frame.itertuples(index=False, name=None))


@pytest.mark.parametrize("unit", ["row", "who"])
def test_every_row_is_in_one_part_and_the_share_is_about_the_one_asked(unit: str) -> None:
    frame = rows(4000)
    train, holdout = split(frame, unit=unit, holdout=0.2, seed=1)
    assert len(train) + len(holdout) == 4000
    assert not contents(train) & contents(holdout)
    spread = 5 * (0.16 / (4000 if unit == "row" else 1000)) ** 0.5 * (1 if unit == "row" else 1.2)
    assert abs(len(holdout) / 4000 - 0.2) < spread


def test_nobody_is_in_both_parts() -> None:
    train, holdout = split(rows(2000), unit="who", holdout=0.3, seed=1)
    assert not set(train["who"]) & set(holdout["who"])


@pytest.mark.parametrize("unit", ["row", "who"])
def test_adding_or_removing_one_unit_moves_no_other(unit: str) -> None:
    frame = rows(600)
    _, before = split(frame, unit=unit, holdout=0.3, seed=1)
    for left_out in range(0, 600, 37):
        kept = frame.drop(left_out) if unit == "row" else frame[frame["who"] != frame["who"][left_out]]
        _, after = split(kept, unit=unit, holdout=0.3, seed=1)
        assert contents(after) == contents(before) & contents(kept)


def test_equal_rows_fall_independently_and_one_less_moves_none_of_the_others() -> None:
    sizes = []
    for copies in range(400, 402):
        train, _ = split(pd.DataFrame({"x": [1] * copies}), unit="row", holdout=0.5, seed=1)
        sizes.append(len(train))
    assert 150 < sizes[0] < 250 and sizes[1] - sizes[0] in (0, 1)


def test_order_and_index_do_not_matter_and_the_seed_does() -> None:
    frame = rows(500)
    _, first = split(frame, unit="row", holdout=0.3, seed=1)
    _, shuffled = split(frame.sample(frac=1, random_state=2), unit="row", holdout=0.3, seed=1)
    _, other = split(frame, unit="row", holdout=0.3, seed=2)
    assert contents(first) == contents(shuffled) != contents(other)


def test_no_holdout_asked_is_none_kept_and_no_rows_are_no_error() -> None:
    assert not held_out(rows(8), unit="row", holdout=0, seed=1).any()
    assert len(held_out(rows(8).iloc[:0], unit="row", holdout=0.5, seed=1)) == 0


def test_a_missing_unit_is_an_error_that_names_the_row() -> None:
    frame = pd.DataFrame({"who": ["a", None], "x": [1, 2]})
    for call in (lambda: split(frame, unit="who", holdout=0.5, seed=1), lambda: few_rows_per_unit(frame, "who", 1)):
        with pytest.raises(DataError, match="row 2 has no 'who'"):
            call()
    with pytest.raises(DataError, match="did you mean 'who'"):
        split(frame, unit="whom", holdout=0.5, seed=1)


@pytest.mark.parametrize("most", [1, 3])
def test_few_rows_of_every_unit_are_kept_and_the_choice_is_that_units_own(most: int) -> None:
    frame = rows(600)
    kept = few_rows_per_unit(frame, "who", 1, most)
    assert contents(kept) <= contents(frame)
    assert kept["who"].value_counts().to_dict() == frame["who"].value_counts().clip(upper=most).to_dict()
    for someone in frame["who"].unique()[:20]:
        without = few_rows_per_unit(frame[frame["who"] != someone].sample(frac=1, random_state=1), "who", 1, most)
        assert contents(without) == contents(kept[kept["who"] != someone])
    assert contents(few_rows_per_unit(frame, "who", 2, most)) != contents(kept)


def groups(cells: list[object], dtype: object = object) -> int:
    """How many units the cells name."""
    frame = pd.DataFrame({"who": pd.Series(cells, dtype=dtype), "x": range(len(cells))})
    kept, names = rows_of_units(frame, unit="who", most=1, seed=1)
    assert kept.sum() == len(set(names))
    return int(kept.sum())


ALIKE = [
    "110101199003070011",
    "110101199003070020",
    "12e4",
    "120000",
    "1.1",
    "1.10",
    "012",
    "12",
    "12.0",
    "True",
    "true",
    "2024-01-01",
    "a",
    "A",
]


def test_persons_whose_names_are_one_number_or_one_date_are_still_two() -> None:
    assert groups(ALIKE) == len(ALIKE)
    assert groups([int(ALIKE[0]), int(ALIKE[1]), 2**53, 2**53 + 1, 2**64 + 1]) == 5
    assert groups([2**53, 2**53 + 1], "int64") == groups([2**53, 2**53 + 1], "Int64") == groups([2**64 - 1, 2**64 - 2], "UInt64") == 2
    assert (
        groups([decimal.Decimal(10**25), decimal.Decimal(10**25 + 1), decimal.Decimal("1.0000000000000000000001"), decimal.Decimal(1)]) == 4
    )


def test_one_person_is_one_unit_however_the_name_is_stored() -> None:
    assert groups([12, 12.0, "12", np.int8(12), decimal.Decimal("12.0"), " 12"]) == 1
    assert groups(["é", "e\u0301"]) == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_names_of_persons_survive_a_file(suffix: str, tmp_path: Path) -> None:
    write_table(pd.DataFrame({"who": ALIKE, "x": range(len(ALIKE))}), tmp_path / f"t.{suffix}")
    assert len(few_rows_per_unit(read_table(tmp_path / f"t.{suffix}"), "who", 1)) == len(ALIKE)
    write_table(pd.DataFrame({"who": [int(ALIKE[0]), int(ALIKE[1])], "x": [1, 1]}), tmp_path / f"n.{suffix}")
    assert len(few_rows_per_unit(read_table(tmp_path / f"n.{suffix}"), "who", 1)) == 2


@settings(max_examples=100, deadline=None)
@given(who=st.lists(st.sampled_from(ALIKE) | st.text("01.e- a", max_size=4), min_size=1, max_size=6))
def test_units_are_the_distinct_words_of_the_file(who: list[str]) -> None:
    words = [word.strip() or "0" for word in who]
    assert groups(list(words)) == len(set(words))


@pytest.mark.parametrize("nothing", ["", " ", "?", "NA", "None", None, np.nan, pd.NaT])
def test_rows_of_nobody_are_refused_and_not_taken_for_one_person(nothing: object) -> None:
    frame = pd.DataFrame({"who": pd.Series(["a", nothing, "b", nothing], dtype=object), "x": range(4)})
    for call in (lambda: split(frame, unit="who", holdout=0.5, seed=1), lambda: few_rows_per_unit(frame, "who", 1)):
        with pytest.raises(DataError, match=r"row 2 has no 'who'.*every row needs a unit.*\(2 such rows\)"):
            call()


@pytest.mark.parametrize(
    ("cells", "dtype"), [([1.0, 2.0**53], "float64"), ([1.0, 2.0**24], "float32"), ([np.inf], "float64"), ([1.0, 2.0**24], "Float32")]
)
def test_names_that_a_float_has_already_merged_are_refused(cells: list[float], dtype: str) -> None:
    assert groups([1.0, 1.0, 2.0], dtype) == 2
    with pytest.raises(DataError, match="read that column as text"):
        groups(cells, dtype)
