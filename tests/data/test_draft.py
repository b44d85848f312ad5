"""Schemas drafted from records: what is inferred, and that it is always said where from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from guardrail.data.cast import cast, cast_leniently
from guardrail.data.draft import draft_schema, refine
from guardrail.data.tabular.codec import TabularCodec
from guardrail.vocabulary.errors import DataError, SchemaError
from guardrail.vocabulary.schema import Categorical, Datetime, Numeric, Schema


def visits() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "who": ["p1", "p1", "p2", "p3"],
            "age": [30, 31, None, 40],
            "cost": [1.25, 3.5, 10, 7],
            "exact": [0.1234567891, 3.5, 10, 7],
            "came": ["2024-01-05", "2024-02-01", "2024-03-01", None],
            "at": ["2024-01-05T10:00:00Z", "2024-01-05T10:00:00+02:00", "2024-01-06 00:00", "2024-01-07"],
            "yes": ["True", "false", "TRUE", None],
            "code": ["01", "10", "02", "x"],
            "label": [0, 1, 2, 1],
        }
    )


def test_kinds_and_bounds_are_inferred_and_marked_as_read_from_the_data() -> None:
    schema = draft_schema(visits(), target="label", sensitive=("code",), unit="who")
    kinds = {name: column.kind for name, column in schema.columns.items()}
    assert kinds == {
        "age": "integer",
        "cost": "numeric",
        "exact": "numeric",
        "came": "datetime",
        "at": "datetime",
        "yes": "boolean",
        "code": "categorical",
        "label": "categorical",
    }
    assert {column.source for column in schema.columns.values()} == {"data"}
    age, cost, at, code = (schema.columns[name] for name in ("age", "cost", "at", "code"))
    assert isinstance(age, Numeric) and (age.low, age.high, age.missing) == (30, 40, True)
    assert isinstance(cost, Numeric) and cost.decimals == 2 and not cost.missing
    assert schema.columns["exact"].decimals is None  # type: ignore[union-attr]
    assert isinstance(at, Datetime) and (at.low, at.high, at.resolution) == ("2024-01-05T08:00:00", "2024-01-07T00:00:00", "second")
    assert isinstance(code, Categorical) and code.categories == ("01", "02", "10", "x")
    assert (schema.target, schema.sensitive, schema.unit) == ("label", ("code",), "who")
    assert draft_schema(visits()).columns["label"].kind == "integer"


def test_a_drafted_schema_fits_the_table_it_was_drafted_from() -> None:
    schema = draft_schema(visits(), unit="who")
    assert cast_leniently(visits(), schema)[1].all()
    codec = TabularCodec(schema)
    frame = cast(visits(), schema)
    tokens = codec.encode(frame, "tokens")
    assert np.array_equal(codec.encode(codec.decode(tokens, "tokens", np.random.default_rng(0)), "tokens"), tokens)


def test_missing_columns_are_named_with_the_nearest() -> None:
    for options in ({"target": "lable"}, {"sensitive": ("lable",)}, {"unit": "lable"}):
        with pytest.raises(DataError, match="did you mean 'label'"):
            draft_schema(visits(), **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="names persons"):
        draft_schema(visits(), target="who", unit="who")


@pytest.mark.parametrize(
    "column",
    [
        [], [None, None], [5, 5], [np.inf, -np.inf], [1.0, np.inf], [1e308, -1e308], [-0.0, 0.0], ["a"], ["a", 1], [True, 1],
        [pd.Timestamp("2020-01-01", tz="UTC"), pd.Timestamp("2020-01-02", tz="Asia/Tokyo")], ["2020-01-01", "soon"], [2**60, 1],
    ],
)  # fmt: skip
def test_degenerate_columns_are_drafted_and_finite_cells_fit_the_draft(column: list[object]) -> None:
    frame = pd.DataFrame({"c": pd.Series(column, dtype=object)})
    schema = draft_schema(frame)
    valid = cast_leniently(frame, schema)[1]
    assert valid.tolist() == [not (isinstance(cell, float) and np.isinf(cell)) for cell in column]
    assert TabularCodec(schema).sizes[0] >= 1


def test_a_million_categories_are_drafted_and_refused_by_the_codec() -> None:
    frame = pd.DataFrame({"who": np.arange(1_000_000).astype(str)}) + "x"
    schema = draft_schema(frame)
    with pytest.raises(SchemaError, match="drop the column"):
        TabularCodec(schema)


def test_a_category_only_in_the_test_part_makes_an_invalid_row_and_no_crash() -> None:
    schema = draft_schema(pd.DataFrame({"c": ["a", "b"]}))
    frame, valid = cast_leniently(pd.DataFrame({"c": ["a", "new"]}), schema)
    assert valid.tolist() == [True, False] and frame["c"].isna().tolist() == [False, True]


def refined(values: np.ndarray, **entry: object) -> tuple[Schema, Numeric, pd.DataFrame]:
    schema = Schema.model_validate({"columns": {"c": {"kind": "numeric", "low": 0, "high": 1000, **entry}}})
    frame = cast(pd.DataFrame({"c": values}), schema)
    found = refine(schema, frame)
    column = found.columns["c"]
    assert isinstance(column, Numeric)
    return found, column, frame


def test_refining_gives_heavy_values_a_point_and_the_rest_quantile_cells() -> None:
    values = np.concatenate([np.zeros(500), np.random.default_rng(1).exponential(50, 500).clip(0.001, 999)])
    schema, column, frame = refined(values)
    assert column.points == (0.0,) and column.edges is not None and len(column.edges) == 31 and column.source == "data"
    tokens = TabularCodec(schema).encode(frame, "tokens")[:, 0]
    assert np.bincount(tokens)[0] == 500 and np.ptp(np.bincount(tokens)[1:]) <= 2


def test_refining_never_makes_a_point_of_a_single_record() -> None:
    _, column, _ = refined(np.random.default_rng(1).random(40) * 1000)
    assert column.points == ()


def test_refining_leaves_declared_edges_and_columns_with_a_token_per_value() -> None:
    assert refined(np.arange(100.0), edges=[5, 500])[1].edges == (5, 500)
    assert refined(np.arange(100.0), kind="integer", high=120)[1].source == "public"
    assert refined(np.full(100, np.nan), missing=True)[1].edges == ()


def test_a_refined_column_still_goes_round() -> None:
    schema, _, frame = refined(np.round(np.random.default_rng(1).lognormal(3, 1, 500).clip(0, 1000)), kind="integer")
    codec = TabularCodec(schema)
    tokens = codec.encode(frame, "tokens")
    assert np.array_equal(codec.encode(codec.decode(tokens, "tokens", np.random.default_rng(0)), "tokens"), tokens)
