"""From raw tables to the schema's: kinds, faults, and the three ways to treat them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from guardrail.data.cast import cast, cast_leniently
from guardrail.vocabulary.errors import DataError
from guardrail.vocabulary.schema import Schema


def schema_of(**columns: dict[str, Any]) -> Schema:
    return Schema.model_validate({"columns": columns})


AGE = {"kind": "integer", "low": 17, "high": 90}
ALL = schema_of(
    x={"kind": "numeric", "low": -1, "high": 1, "missing": True},
    n=AGE | {"missing": True},
    size={"kind": "ordinal", "categories": ["small", "large"], "missing": True},
    sex={"kind": "categorical", "categories": ["f", "m"], "missing": True},
    yes={"kind": "boolean", "missing": True},
    day={"kind": "datetime", "low": "2020-01-01", "high": "2020-12-31", "missing": True},
)


def raw(**cells: Any) -> pd.DataFrame:
    row = {"x": 0.5, "n": 20, "size": "small", "sex": "f", "yes": "true", "day": "2020-02-29"} | cells
    return pd.DataFrame({name: [cell] for name, cell in row.items()})


def failure(frame: pd.DataFrame, schema: Schema = ALL, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        cast(frame, schema, **options)
    return str(caught.value)


def test_every_kind_gets_its_dtype_and_the_schema_its_order() -> None:
    frame = cast(raw()[["day", "yes", "sex", "size", "n", "x"]], ALL)
    assert list(frame.columns) == ["x", "n", "size", "sex", "yes", "day"]
    assert [str(kind) for kind in frame.dtypes] == ["float64", "Int64", "category", "category", "boolean", "datetime64[us]"]
    assert frame["size"].cat.ordered and not frame["sex"].cat.ordered
    assert frame.iloc[0].tolist() == [0.5, 20, "small", "f", True, pd.Timestamp("2020-02-29")]


def test_one_missing_value_whatever_its_spelling() -> None:
    for nothing in (None, np.nan, pd.NA, pd.NaT, "", "?", "NA"):
        frame = cast(raw(**dict.fromkeys(ALL.columns, nothing)), ALL)
        assert frame.isna().all(axis=None)


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("x", 1.01), ("x", np.inf), ("x", -np.inf), ("x", 1e308), ("x", "abc"), ("x", "1_0"), ("x", dt.date(2020, 1, 1)),
        ("n", 16), ("n", 20.5), ("n", "20.5"), ("n", 2**70), ("size", "medium"), ("sex", "F"), ("yes", "maybe"), ("yes", 2),
        ("day", "2021-01-01"), ("day", "01/02/2020"), ("day", "2020-02-30"), ("day", 20200101),
    ],
)  # fmt: skip
def test_a_cell_that_contradicts_the_schema_is_named_with_row_column_and_expectation(column: str, cell: Any) -> None:
    frame = pd.concat([raw(), raw(**{column: cell})], ignore_index=True)
    message = failure(frame, where="visits.csv")
    assert f"visits.csv, row 2, column '{column}'" in message and "expected" in message
    lenient, valid = cast_leniently(frame, ALL)
    assert valid.tolist() == [True, False] and pd.isna(lenient[column].iloc[1])
    assert lenient.drop(columns=column).iloc[0].tolist() == lenient.drop(columns=column).iloc[1].tolist()
    assert len(cast(frame, ALL, on_error="skip")) == 1


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("x", np.inf, 1.0), ("x", -1e308, -1.0), ("x", "2", 1.0), ("n", 200, 90), ("n", 20.6, 21), ("n", 90.4, 90),
        ("day", "2030-01-01", pd.Timestamp("2020-12-31")), ("day", "1999-01-01", pd.Timestamp("2020-01-01")),
        ("sex", "unknown", None), ("x", "abc", None),
    ],
)  # fmt: skip
def test_clipping_moves_a_value_to_the_nearest_allowed_one(column: str, cell: Any, expected: Any) -> None:
    got = cast(raw(**{column: cell}), ALL, on_error="clip")[column].iloc[0]
    assert pd.isna(got) if expected is None else got == expected


def test_clipping_refuses_what_has_no_nearest_value() -> None:
    strict = schema_of(sex={"kind": "categorical", "categories": ["f", "m"]})
    assert "'x'" in failure(pd.DataFrame({"sex": ["f", "x"]}), strict, on_error="clip")
    assert "a missing cell" in failure(pd.DataFrame({"sex": ["f", None]}), strict, on_error="clip")


def test_a_missing_cell_where_none_may_be_is_a_fault() -> None:
    strict = schema_of(n=AGE)
    frame = pd.DataFrame({"n": [20, None]})
    assert "row 2, column 'n': a missing cell" in failure(frame, strict)
    assert cast_leniently(frame, strict)[1].tolist() == [True, False]


def test_minus_zero_is_zero() -> None:
    got = cast(pd.DataFrame({"x": [-0.0]}), schema_of(x={"kind": "numeric", "low": -1, "high": 1}))["x"].to_numpy()
    assert not np.signbit(got)[0]


def test_categories_written_as_numbers_meet_numbers() -> None:
    codes = schema_of(code={"kind": "categorical", "categories": [1, 2.5, "03"], "missing": True})
    for column in (pd.Series([1, 2.5, 3]), pd.Series([1.0, 2.5, np.nan]), pd.Series(["1", "2.5", "03"]), pd.Series([" 1", "2.5 ", "03"])):
        got = cast(pd.DataFrame({"code": column}), codes)["code"]
        assert got.tolist()[:2] == ["1", "2.5"]
    for cell in ("3", 3, 3.0):  # what it is stored as depends on the other cells of its column
        assert cast(pd.DataFrame({"code": [cell]}), codes)["code"].tolist() == ["03"]
    both = schema_of(code={"kind": "categorical", "categories": ["3", "03", "1.10", "1.1"]})
    assert cast(pd.DataFrame({"code": ["03", "3", "1.1", "1.10"]}), both)["code"].tolist() == ["03", "3", "1.1", "1.10"]
    assert "'01'" in failure(pd.DataFrame({"code": ["01"]}), codes)  # a zero in front is no layout of a number


def test_true_and_one_are_told_apart_in_a_mixed_column() -> None:
    codes = schema_of(c={"kind": "categorical", "categories": ["true", "1"]})
    assert cast(pd.DataFrame({"c": pd.Series([True, 1, "1", True], dtype=object)}), codes)["c"].tolist() == ["true", "1", "1", "true"]


def test_unicode_twins_are_one_category_and_one_column() -> None:
    french = schema_of(é={"kind": "categorical", "categories": ["é"]})
    assert cast(pd.DataFrame({"e\u0301": ["e\u0301"]}), french)["é"].tolist() == ["é"]


def test_leading_zeros_are_numbers_only_where_the_schema_says_numbers() -> None:
    assert cast(pd.DataFrame({"n": ["020", "+30"]}), schema_of(n=AGE))["n"].tolist() == [20, 30]


def test_dates_in_mixed_zones_become_utc() -> None:
    seconds = schema_of(t={"kind": "datetime", "low": "2020-01-01", "high": "2020-12-31", "resolution": "second"})
    cells = [
        "2020-06-01T00:00:00+02:00",
        "2020-05-31T22:00:00Z",
        "2020-05-31 22:00:00",
        dt.datetime(2020, 5, 31, 22),
        pd.Timestamp("2020-06-01", tz="Europe/Paris"),
    ]
    got = cast(pd.DataFrame({"t": pd.Series(cells, dtype=object)}), seconds)["t"]
    assert set(got) == {pd.Timestamp("2020-05-31 22:00")}
    typed = pd.DataFrame({"t": pd.to_datetime(["2020-06-01"]).tz_localize("Europe/Paris")})
    assert cast(typed, seconds)["t"].iloc[0] == pd.Timestamp("2020-05-31 22:00")


def test_a_bare_upper_date_means_the_whole_day_and_days_have_no_hours() -> None:
    bounds = {"kind": "datetime", "low": "2020-01-01", "high": "2020-12-31"}
    late = pd.DataFrame({"t": ["2020-12-31T23:59:59"]})
    assert cast(late, schema_of(t=bounds | {"resolution": "second"}))["t"].iloc[0] == pd.Timestamp("2020-12-31 23:59:59")
    assert cast(late, schema_of(t=bounds))["t"].iloc[0] == pd.Timestamp("2020-12-31")


def test_other_columns_are_named_with_the_nearest() -> None:
    assert "did you mean 'agee'" in failure(pd.DataFrame({"agee": [20]}), schema_of(age=AGE))
    assert "does not know 'extra'" in failure(pd.DataFrame({"age": [20], "extra": [1]}), schema_of(age=AGE))
    assert "appears 2 times" in failure(pd.DataFrame([[20, 21]], columns=["age", "age"]), schema_of(age=AGE))


def test_the_unit_column_is_allowed_and_not_modelled() -> None:
    schema = Schema.model_validate({"unit": "who", "columns": {"age": AGE}})
    assert list(cast(pd.DataFrame({"who": ["a"], "age": [20]}), schema).columns) == ["age"]


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_small_tables_are_tables(rows: int) -> None:
    frame = cast(raw().iloc[[0] * rows].reset_index(drop=True), ALL)
    assert len(frame) == rows and [str(kind) for kind in frame.dtypes] == [str(kind) for kind in cast(raw(), ALL).dtypes]
    assert len(cast_leniently(raw().iloc[:0], ALL)[1]) == 0


def test_lists_in_cells_are_refused() -> None:
    assert "lists or objects" in failure(pd.DataFrame({"n": [[1], [2]]}), schema_of(n=AGE))


def test_a_long_cell_is_not_printed_whole() -> None:
    assert len(failure(pd.DataFrame({"n": ["x" * 10_000]}), schema_of(n=AGE))) < 300


def test_a_cast_table_casts_to_itself() -> None:
    once = cast(pd.concat([raw(), raw(x=None, sex=None, yes=None, day=None, n=None, size=None)]), ALL)
    pd.testing.assert_frame_equal(cast(once, ALL), once)


def test_a_column_is_left_out_only_on_purpose() -> None:
    frame = pd.DataFrame({"age": [1, 2], "note": ["a", "b"]})
    columns = {"age": {"kind": "integer", "low": 0, "high": 9}}
    with pytest.raises(DataError, match=r"ignore: \["):
        cast(frame, Schema.model_validate({"columns": columns}))
    assert list(cast(frame, Schema.model_validate({"columns": columns, "ignore": ["note"]})).columns) == ["age"]
    with pytest.raises(ValueError, match="declared and ignored"):
        Schema.model_validate({"columns": columns, "ignore": ["age"]})
