"""The tabular codec: nothing is lost that the schema can express, nothing drawn that it forbids."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.data.cast import cast, cast_leniently
from guardrail.data.tabular.codec import TabularCodec
from guardrail.vocabulary.errors import DataError, SchemaError
from guardrail.vocabulary.schema import Schema


def schema_of(**columns: dict[str, Any]) -> Schema:
    return Schema.model_validate({"columns": columns})


def codec_of(**columns: dict[str, Any]) -> TabularCodec:
    return TabularCodec(schema_of(**columns))


def column_of(cells: list[Any], **entry: Any) -> tuple[TabularCodec, pd.DataFrame]:
    schema = schema_of(c=entry)
    return TabularCodec(schema), cast(pd.DataFrame({"c": pd.Series(cells, dtype=object)}), schema)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


bound = st.floats(-1e308, 1e308) | st.integers(-1000, 1000).map(float) | st.sampled_from([0.0, 1e308, -1e308, 0.07, 1e-300])


@st.composite
def numeric_entries(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["numeric", "integer"]))
    if kind == "integer":
        ends = sorted(
            draw(
                st.tuples(st.integers(-(2**50), 2**50), st.integers(-(2**50), 2**50))
                | st.tuples(st.integers(-9, 300), st.integers(-9, 300))
            )
        )
        values: st.SearchStrategy[Any] = st.integers(ends[0], ends[1])
    else:
        ends = sorted(end + 0.0 for end in draw(st.tuples(bound, bound)))  # no -0.0: hypothesis orders it below 0.0
        values = st.floats(ends[0], ends[1])
    entry = {"kind": kind, "low": ends[0], "high": ends[1], "bins": draw(st.integers(1, 200)), "missing": draw(st.booleans())}
    entry["points"] = draw(st.lists(values, max_size=4, unique=True))
    entry["spacing"] = draw(st.sampled_from(["linear", "geometric"]))
    if draw(st.booleans()):
        entry["edges"] = sorted(set(draw(st.lists(values, max_size=4))))
    return entry


@settings(max_examples=300, deadline=None)
@given(entry=numeric_entries(), seed=st.integers(0, 2**32))
def test_whatever_is_decoded_is_encoded_as_it_was_and_obeys_the_schema(entry: dict[str, Any], seed: int) -> None:
    codec = codec_of(c=entry)
    tokens = np.arange(codec.sizes[0])[:, None].repeat(3, axis=0)
    frame = codec.decode(tokens, "tokens", np.random.default_rng(seed))
    assert np.array_equal(codec.encode(frame, "tokens"), tokens)
    assert cast_leniently(frame, codec.schema)[1].all()
    drawn = frame["c"].iloc[3 * (int(entry["missing"]) + len(entry["points"])) :]
    span = abs(entry["high"]) + abs(entry["low"])
    if drawn.dtype == "Int64" or span < 1e300:
        assert not set(drawn) & {float(point) for point in entry["points"]} or codec.sizes[0] > 10_000


@settings(max_examples=200, deadline=None)
@given(entry=numeric_entries(), data=st.data())
def test_points_and_missing_cells_survive_exactly_in_both_spaces(entry: dict[str, Any], data: st.DataObject) -> None:
    cells = [*entry["points"], *([None] if entry["missing"] else [])]
    if not cells:
        return
    codec, frame = column_of(cells, **entry)
    pd.testing.assert_frame_equal(codec.decode(codec.encode(frame, "tokens"), "tokens", rng()), frame)
    pd.testing.assert_frame_equal(codec.decode(codec.encode(frame, "vector"), "vector", rng()), frame)


@settings(max_examples=200, deadline=None)
@given(entry=numeric_entries(), units=st.lists(st.floats(-2, 3, width=32), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_any_vector_decodes_to_a_row_that_obeys_the_schema(entry: dict[str, Any], units: list[float], seed: int) -> None:
    codec = codec_of(c=entry)
    vectors = np.random.default_rng(seed).random((len(units), codec.vector.width))
    vectors[:, -1] = units
    assert cast_leniently(codec.decode(vectors, "vector", np.random.default_rng(seed)), codec.schema)[1].all()


def slow_tokens(values: list[float | None], low: int, points: list[int]) -> list[int]:
    """One token per whole number, spelled out: missing, points ascending, then the other values ascending."""
    others = [value for value in range(low, 200) if value not in points]
    return [
        0 if value is None else 1 + (sorted(points).index(int(value)) if value in points else len(points) + others.index(int(value)))
        for value in values
    ]


def test_few_whole_numbers_have_a_token_each() -> None:
    cells = [5, 3, None, 60, 130, 7]
    codec, frame = column_of(cells, kind="integer", low=3, high=130, points=[60, 5], missing=True)
    assert codec.sizes == (129,)
    assert codec.encode(frame, "tokens")[:, 0].tolist() == slow_tokens(cells, 3, [5, 60])
    pd.testing.assert_frame_equal(codec.decode(codec.encode(frame, "tokens"), "tokens", rng()), frame)


def test_one_whole_number_more_shares_cells() -> None:
    assert codec_of(c={"kind": "integer", "low": 0, "high": 127}).sizes == (128,)
    assert codec_of(c={"kind": "integer", "low": 0, "high": 128}).sizes == (32,)
    assert codec_of(c={"kind": "integer", "low": 0, "high": 128, "bins": 129}).sizes == (129,)


def test_edges_cut_where_they_say() -> None:
    codec, frame = column_of([0, 9, 10, 99, 100], kind="integer", low=0, high=100, edges=[10, 99.5])
    assert codec.encode(frame, "tokens")[:, 0].tolist() == [0, 0, 1, 1, 2]
    codec, frame = column_of([0, 9.9, 10, 99.4, 99.5, 100], kind="numeric", low=0, high=100, edges=[10, 99.5])
    assert codec.encode(frame, "tokens")[:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_values_within_a_cell_are_drawn_evenly() -> None:
    codec = codec_of(c={"kind": "integer", "low": 0, "high": 999, "bins": 1, "points": [0, 500]})
    drawn = codec.decode(np.full((50_000, 1), 2), "tokens", rng())["c"].to_numpy(dtype=int)
    assert set(drawn) == set(range(1000)) - {0, 500}
    counts = np.bincount(drawn, minlength=1000)[np.r_[1:500, 501:1000]]
    chi_square = ((counts - 50_000 / 998) ** 2 / (50_000 / 998)).sum()
    assert abs(chi_square - 997) < 5 * math.sqrt(2 * 997)


def test_geometric_cells_grow_by_ratio() -> None:
    codec, frame = column_of([1, 9, 11, 99, 101, 1000], kind="numeric", low=1, high=1000, bins=3, spacing="geometric")
    assert codec.encode(frame, "tokens")[:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_decimals_are_kept() -> None:
    codec = codec_of(c={"kind": "numeric", "low": 0.07, "high": 9999.99, "decimals": 2})
    drawn = codec.decode(rng().integers(0, codec.sizes[0], (2000, 1)), "tokens", rng())["c"].to_numpy()
    assert (np.round(drawn, 2) == drawn).all() and drawn.min() >= 0.07 and drawn.max() <= 9999.99
    assert codec_of(g={"kind": "numeric", "low": 0, "high": 4, "decimals": 1}).sizes == (41,)


def test_a_point_finer_than_the_decimals_is_a_contradiction() -> None:
    with pytest.raises(SchemaError, match="more digits than decimals"):
        codec_of(c={"kind": "numeric", "low": 0, "high": 1, "decimals": 2, "points": [0.005]})


def test_dates_have_a_token_a_day_or_cells_and_keep_their_resolution() -> None:
    day, frame = column_of(["2024-02-28", None, "2024-03-01"], kind="datetime", low="2024-01-01", high="2024-04-01", missing=True)
    assert day.sizes == (93,)
    pd.testing.assert_frame_equal(day.decode(day.encode(frame, "tokens"), "tokens", rng()), frame)
    second = codec_of(c={"kind": "datetime", "low": "1999-01-01", "high": "2024-04-01", "resolution": "second", "bins": 10})
    tokens = rng().integers(0, 10, (500, 1))
    drawn = second.decode(tokens, "tokens", rng())
    assert np.array_equal(second.encode(drawn, "tokens"), tokens)
    assert (drawn["c"] == drawn["c"].dt.floor("s")).all() and drawn["c"].min() >= pd.Timestamp("1999-01-01")


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "integer", "low": 5, "high": 5}, {"kind": "integer", "low": 5, "high": 5, "points": [5]},
        {"kind": "numeric", "low": 5, "high": 5}, {"kind": "numeric", "low": 5, "high": 5, "points": [5], "spacing": "geometric"},
        {"kind": "numeric", "low": 0, "high": 0, "missing": True}, {"kind": "numeric", "low": 0, "high": 0, "spacing": "geometric"},
        {"kind": "numeric", "low": 5.005, "high": 5.005, "decimals": 1}, {"kind": "numeric", "low": -1e308, "high": 1e308},
        {"kind": "categorical", "categories": ["only"]}, {"kind": "boolean", "missing": True},
        {"kind": "datetime", "low": "2020-01-01", "high": "2020-01-01"},
        {"kind": "datetime", "low": "2020-01-01T10:00:00", "high": "2020-01-01T11:00:00"},
    ],
)  # fmt: skip
def test_degenerate_columns_go_round_in_both_spaces(entry: dict[str, Any]) -> None:
    codec = codec_of(c=entry)
    tokens = np.arange(codec.sizes[0])[:, None]
    frame = codec.decode(tokens, "tokens", rng())
    assert np.array_equal(codec.encode(frame, "tokens"), tokens)
    vectors = codec.encode(frame, "vector")
    assert np.isfinite(vectors).all() and codec.vector.width >= 1
    assert cast_leniently(codec.decode(vectors, "vector", rng()), codec.schema)[1].all()


def test_a_table_of_missing_cells_only_survives() -> None:
    codec, frame = column_of([None] * 3, kind="numeric", low=0, high=0, missing=True)
    assert codec.decode(codec.encode(frame, "vector"), "vector", rng())["c"].isna().all()


def test_no_rows_are_encoded_as_no_rows() -> None:
    codec, frame = column_of([], kind="integer", low=0, high=9)
    assert codec.encode(frame, "tokens").shape == (0, 1) and codec.encode(frame, "vector").shape == (0, 1)
    assert len(codec.decode(np.empty((0, 1), dtype=int), "tokens", rng())) == 0
    assert len(codec.decode(np.empty((0, 1)), "vector", rng())) == 0


def test_blocks_lie_end_to_end_and_say_what_they_hold() -> None:
    codec = codec_of(
        plain={"kind": "numeric", "low": 0, "high": 1},
        capped={"kind": "integer", "low": 0, "high": 500, "points": [0, 500], "missing": True},
        word={"kind": "ordinal", "categories": ["a", "b", "c"]},
        yes={"kind": "boolean", "missing": True},
    )
    blocks = [(block.column, block.kind, block.start, block.size) for block in codec.vector.blocks]
    assert blocks == [
        ("plain", "real", 0, 1),
        ("capped", "choice", 1, 4),
        ("capped", "real", 5, 1),
        ("word", "choice", 6, 3),
        ("yes", "choice", 9, 3),
    ]
    assert codec.vector.width == 12
    raw = pd.DataFrame({"plain": [0.25, 1], "capped": [500, 250], "word": ["b", "c"], "yes": [None, True]})
    expected = [[0.25, 0, 0, 1, 0, 0.5, 0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0.5, 0, 0, 1, 0, 0, 1]]
    assert codec.encode(cast(raw, codec.schema), "vector").tolist() == expected


def test_choices_are_sampled_in_proportion_to_their_weights() -> None:
    codec = codec_of(c={"kind": "categorical", "categories": ["a", "b", "c"]})
    weights = np.tile([0.5, 0.0, 1.5], (20_000, 1))
    shares = codec.decode(weights, "vector", rng())["c"].value_counts(normalize=True)
    assert shares["b"] == 0 and abs(shares["c"] - 0.75) < 0.02
    none = codec.decode(np.zeros((20_000, 3)), "vector", rng())["c"].value_counts(normalize=True)
    assert abs(none["a"] - 1 / 3) < 0.02


def test_a_diverged_generator_is_named() -> None:
    with pytest.raises(DataError, match="diverged"):
        codec_of(c={"kind": "boolean"}).decode(np.array([[np.nan, 1]]), "vector", rng())


def test_misuse_is_refused() -> None:
    codec, frame = column_of([1], kind="integer", low=0, high=9)
    with pytest.raises(DataError, match="cast the table first"):
        codec.encode(pd.DataFrame({"c": [1.0]}), "tokens")
    with pytest.raises(DataError, match="lacks column 'c'"):
        codec.encode(frame.rename(columns={"c": "d"}), "tokens")
    with pytest.raises(DataError, match="tokens go from 0 to 9"):
        codec.decode(np.array([[10]]), "tokens", rng())
    with pytest.raises(DataError, match="expected"):
        codec.decode(np.array([[1, 1]]), "tokens", rng())
    with pytest.raises(DataError, match="missing cells"):
        codec.encode(pd.DataFrame({"c": pd.array([None], dtype="Int64")}), "tokens")


def test_a_column_of_names_is_refused_as_a_vocabulary() -> None:
    with pytest.raises(SchemaError, match="'who' would need 10001 tokens"):
        codec_of(who={"kind": "categorical", "categories": [str(i) for i in range(10_001)]})


def test_the_codec_is_the_schemas_alone() -> None:
    """Two codecs of one schema agree, whatever tables passed through them before."""
    entry = {"kind": "numeric", "low": 0, "high": 10}
    used, frame = column_of([1, 2, 9], **entry)
    used.encode(frame, "vector")
    fresh = codec_of(c=entry)
    assert np.array_equal(used.encode(frame, "tokens"), fresh.encode(frame, "tokens")) and used.sizes == fresh.sizes
