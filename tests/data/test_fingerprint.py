"""The fingerprint names what a table says, under a key, and nothing about how it was stored."""

from __future__ import annotations

import decimal
import hashlib
import hmac
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.data.fingerprint import fingerprint
from guardrail.data.split import held_out
from guardrail.data.tables import read_table, write_table
from guardrail.vocabulary.errors import DataError

KEY = b"k" * 32


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "n": pd.array([1, 2, None, 2], dtype="Int64"),
            "x": [0.1, 1e308, np.nan, -0.0],
            "word": pd.Series(["é", "01", None, "no"], dtype=object),
            "yes": pd.array([True, None, False, True], dtype="boolean"),
            "long": pd.array([2**62 + 1, 2**62, None, 0], dtype="Int64"),
            "when": pd.to_datetime(["2024-01-01", "2024-01-01T10:00:00.123456", None, "1969-07-20"], format="ISO8601"),
        }
    )


def test_row_order_column_order_and_index_do_not_matter() -> None:
    shuffled = table().sample(frac=1, random_state=3)[["when", "yes", "x", "word", "n", "long"]]
    assert fingerprint(shuffled, KEY) == fingerprint(table(), KEY)


def test_csv_and_parquet_of_one_table_have_one_fingerprint(tmp_path: Path) -> None:
    prints = {fingerprint(table(), KEY)}
    for name in ("t.csv", "t.tsv", "t.parquet"):
        write_table(table(), tmp_path / name)
        prints.add(fingerprint(read_table(tmp_path / name), KEY))
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([1, 2], [1.0, 2.0]), ([1, 2], ["1", "2.0"]), ([1], [True + 0]), ([0.0], [-0.0]), ([None], [np.nan]), ([None], ["NA"]),
        (["é"], ["e\u0301"]), ([True], ["true"]), (["2024-01-01T00:00:00Z"], ["2024-01-01T02:00:00+02:00"]),
        (["2024-01-01"], [pd.Timestamp("2024-01-01", tz="UTC")]),
        ([pd.Timestamp("2024-01-01", tz="Asia/Tokyo")], [pd.Timestamp("2023-12-31 15:00")]),
        ([1.5, np.inf], ["1.5", "inf"]), ([2**53 + 1], [str(2**53 + 1)]), ([2.0**60], [2**60]),
        ([decimal.Decimal(10**25 + 1)], ["1" + "0" * 24 + "1"]),
    ],
)  # fmt: skip
def test_two_spellings_of_one_value_are_one(left: list[object], right: list[object]) -> None:
    frames = [pd.DataFrame({"c": pd.Series(cells, dtype=object)}) for cells in (left, right)]
    assert fingerprint(frames[0], KEY) == fingerprint(frames[1], KEY)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([2**53], [2**53 + 1]), (["110101199003070011"], ["110101199003070020"]), ([2**64], ["18446744073709551617"]),
        ([decimal.Decimal(10**25)], [decimal.Decimal(10**25 + 1)]), ([10**400], [10**400 + 1]),
        (["1"], ["01"]), ([1], [True]), (["a", "b"], ["ab", ""]), ([0.1], [0.1 + 2**-55]), (["a"], ["A"]), ([None], [0]), (["x"], ["x "]),
    ],
)  # fmt: skip
def test_different_values_have_different_fingerprints(left: list[object], right: list[object]) -> None:
    frames = [pd.DataFrame({"c": pd.Series(cells, dtype=object)}) for cells in (left, right)]
    assert fingerprint(frames[0], KEY) != fingerprint(frames[1], KEY)


def test_a_changed_cell_a_dropped_row_a_doubled_row_a_renamed_column_and_another_key_all_show() -> None:
    changed = table()
    changed.loc[0, "n"] = 7
    others = [changed, table().iloc[1:], pd.concat([table(), table().iloc[[0]]]), table().rename(columns={"n": "m"}), table().iloc[:0]]
    prints = [fingerprint(frame, KEY) for frame in [table(), *others]] + [fingerprint(table(), b"j" * 32)]
    assert len(set(prints)) == len(prints)


def test_cells_cannot_trade_places_between_columns() -> None:
    assert fingerprint(pd.DataFrame({"a": ["x"], "b": ["y"]}), KEY) != fingerprint(pd.DataFrame({"a": ["y"], "b": ["x"]}), KEY)
    assert fingerprint(pd.DataFrame({"a": ["1:x"], "b": ["y"]}), KEY) != fingerprint(pd.DataFrame({"a": ["1"], "b": ["x1:y"]}), KEY)


def test_mixed_truth_values_and_numbers_stay_apart() -> None:
    frames = [pd.DataFrame({"c": pd.Series(cells, dtype=object)}) for cells in ([True, 1], [1, 1], [True, True])]
    assert len({fingerprint(frame, KEY) for frame in frames}) == 3


@settings(max_examples=50, deadline=None)
@given(cells=st.lists(st.none() | st.integers(-9, 9) | st.text("ab", max_size=2), min_size=1, max_size=6), data=st.data())
def test_it_is_a_function_of_the_multiset_of_rows(cells: list[object], data: st.DataObject) -> None:
    order = data.draw(st.permutations(cells))
    first, second = (fingerprint(pd.DataFrame({"c": pd.Series(rows, dtype=object)}), KEY) for rows in (cells, order))
    assert first == second


def test_a_slow_fingerprint_of_four_rows_agrees() -> None:
    """Spelled out: HMAC of each row, summed modulo 2^256, with the count under one more HMAC."""
    frame = pd.DataFrame({"b": [1, 2, 2], "a": pd.Series(["x", None, None], dtype=object)})
    names = b"1:a1:b"
    keyed = hmac.new(KEY, b"columns" + names, hashlib.sha256).digest()
    rows = [b"2:tx" + b"4:n1.0", b"0:" + b"4:n2.0", b"0:" + b"4:n2.0"]
    total = sum(int.from_bytes(hmac.new(keyed, row, hashlib.sha256).digest(), "big") for row in rows) % 2**256
    expected = hmac.new(KEY, b"table" + names + b"3:" + total.to_bytes(32, "big"), hashlib.sha256).hexdigest()
    assert fingerprint(frame, KEY) == f"hmac-sha256:{expected}"


def test_a_short_key_and_double_columns_are_refused() -> None:
    with pytest.raises(DataError, match="guessed"):
        fingerprint(table(), b"secret")
    with pytest.raises(DataError, match="appears 2 times"):
        fingerprint(pd.DataFrame([[1, 2]], columns=["é", "e\u0301"]), KEY)


def arrays(*cells: object) -> pd.DataFrame:
    column = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):
        column[row] = cell
    return pd.DataFrame({"image": pd.Series(column), "label": range(len(cells))})


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.array([1, 255], np.uint8), np.array([1, 255], np.int64)),
        (np.array([-1, 300], np.int16), np.array([-1, 300], np.int64)),
        (np.array([0.5, np.nan], np.float32), np.array([0.5, -np.nan])),
        (np.array([0.0]), np.array([-0.0])),
        (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
        (np.array([1.5], ">f8"), np.array([1.5], "<f8")),
        (np.arange(8)[::2], np.array([0, 2, 4, 6])),
        (None, np.nan),
        (np.array([], np.uint8), np.array([], np.int64)),
    ],
)
def test_how_an_array_was_stored_does_not_matter(left: object, right: object) -> None:
    whole = np.zeros((2, 2))
    assert fingerprint(arrays(whole, left), KEY) == fingerprint(arrays(whole, right), KEY)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.array([1, 2]), np.array([2, 1])),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(6), np.zeros((6, 1))),
        (np.array([1]), np.array([1.0])),
        (np.array([True]), np.array([1])),
        (np.array([np.nan]), np.array([0.0])),
        (None, np.zeros(0)),
        (np.array([0.1]), np.array([0.1 + 2**-55])),
        (np.array([256]), np.array([0])),
        (np.zeros(0), np.zeros((0, 2))),
        (np.array([49], np.uint8), "1"),
    ],
)
def test_arrays_that_say_something_else_have_another_fingerprint(left: object, right: object) -> None:
    whole = np.zeros((2, 2))
    assert fingerprint(arrays(whole, left), KEY) != fingerprint(arrays(whole, right), KEY)


def test_rows_of_arrays_are_a_multiset_too_and_fall_into_parts() -> None:
    rng = np.random.default_rng(0)
    frame = arrays(*rng.integers(0, 256, (200, 8, 8, 1), dtype=np.uint8))
    assert fingerprint(frame.sample(frac=1, random_state=1), KEY) == fingerprint(frame, KEY) != fingerprint(frame.iloc[1:], KEY)
    held = held_out(frame, unit="row", holdout=0.25, seed=0)
    assert 30 < held.sum() < 70 and np.array_equal(held_out(frame.iloc[::-1], unit="row", holdout=0.25, seed=0), held[::-1])


@pytest.mark.parametrize("cell", [np.array([None]), np.array(["a"]), np.array([1 + 2j]), [1, 2]])
def test_arrays_of_objects_have_no_fingerprint(cell: object) -> None:
    with pytest.raises(DataError, match="column 'image'"):
        fingerprint(arrays(np.zeros(2), cell), KEY)
