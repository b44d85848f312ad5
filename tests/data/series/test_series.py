"""Time series: read, judged, cut, encoded, written and drawn."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from guardrail.data import builtin
from guardrail.data.arrays import as_column
from guardrail.data.series import MODALITY
from guardrail.data.series.files import long_table
from guardrail.data.series.text import parse_ts
from guardrail.data.tables import read_table
from guardrail.vocabulary.errors import DataError, MissingExtra
from guardrail.vocabulary.schema import Schema

CHANNELS = {"a": {"low": -1, "high": 3}, "b": {"low": 0, "high": 100}}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def schema(**said: object) -> Schema:
    return Schema.model_validate({"modality": "series", "series": {"channels": CHANNELS, "steps": 5, **said}})


def frame(*cells: object) -> pd.DataFrame:
    return pd.DataFrame({"values": as_column(list(cells))})  # type: ignore[arg-type]


def drawn(*, missing: bool, variable: bool, records: int = 40) -> pd.DataFrame:
    draw, cells = rng(), []
    for _ in range(records):
        cell = np.column_stack([draw.uniform(-1, 3, 5), draw.uniform(0, 100, 5)])
        if missing:
            cell[:-1][draw.random((4, 2)) < 0.3] = np.nan  # the last step is there, so that its end can be told
        cells.append(cell[5 - draw.integers(1, 6) :] if variable else cell)
    return frame(*cells)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("variable", [False, True])
def test_series_go_round_in_both_spaces(missing: bool, variable: bool) -> None:
    codec = MODALITY.codec(schema(missing=missing, variable=variable, levels=10))
    cells, kept = MODALITY.cast(drawn(missing=missing, variable=variable), codec.schema, on_error="fail", where="x")
    assert kept.all()
    records = codec.encode(cells, "series")
    assert records.shape == (40, 5, 4 if missing or variable else 2) and records.dtype == np.float32 and np.abs(records).max() <= 1
    for back, cell in zip(codec.decode(records, "series", rng())["values"], cells["values"], strict=True):
        np.testing.assert_allclose(back, cell, atol=1e-5)
    tokens = codec.encode(cells, "tokens")
    assert tokens.shape == (40, 10) and codec.tokens.names[:4] == ("a", "b", "a", "b") and codec.tokens.sizes[0] == 10 + missing + variable
    decoded = codec.decode(tokens, "tokens", rng())
    assert np.array_equal(codec.encode(decoded, "tokens"), tokens)
    for back, cell in zip(decoded["values"], cells["values"], strict=True):
        assert np.array_equal(np.isnan(back), np.isnan(cell)) and (np.nan_to_num(np.abs(back - cell)) <= [0.2001, 5.001]).all()
    assert MODALITY.cast(decoded, codec.schema, on_error="fail", where="x")[1].all()


def test_marks_and_tokens_of_one_series_by_hand() -> None:
    codec = MODALITY.codec(schema(missing=True, variable=True, levels=4))
    cells = frame(np.array([[-1.0, np.nan], [3.0, 50.0]]))
    assert codec.encode(cells, "tokens").tolist() == [[0, 4, 3, 2, 5, 5, 5, 5, 5, 5]]
    assert codec.encode(cells, "series")[0].tolist() == [[-1, 0, 1, -1], [1, 0, 1, 1]] + [[0, 0, -1, -1]] * 3


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("variable", [False, True])
def test_whatever_a_generator_gives_decodes_to_series_that_obey_the_schema(missing: bool, variable: bool) -> None:
    codec = MODALITY.codec(schema(missing=missing, variable=variable, levels=10))
    size = codec.tokens.sizes[0]
    tokens = rng().integers(0, size, (200, 10))
    tokens[0] = size - 1
    width = 4 if missing or variable else 2
    for records, kind in ((tokens, "tokens"), (rng().normal(0, 2, (200, 5, width)), "series"), (np.full((1, 5, width), -3.0), "series")):
        back = codec.decode(records, kind, rng())  # type: ignore[arg-type]
        assert MODALITY.cast(back, codec.schema, on_error="fail", where="x")[1].all()
    with pytest.raises(DataError, match="NaN"):
        codec.decode(np.full((1, 5, width), np.nan), "series", rng())
    with pytest.raises(DataError, match="tokens go from"):
        codec.decode(np.full((1, 10), size), "tokens", rng())


GOOD = np.zeros((5, 2))


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (np.full((5, 2), 7.0), r"step 1, channel 'a': 7; expected a number in \[-1, 3\]"),
        (np.full((5, 2), np.inf), "inf"),
        (np.full((5, 2), np.nan), "missing: true"),
        (np.zeros((4, 2)), "variable: true"),
        (np.zeros((0, 2)), "0 steps"),
        (np.zeros((5, 3)), "shape"),
        (np.zeros(5), "shape"),
        (None, "NoneType"),
        ("1,2", "str"),
        (np.array([["x", "y"]]), "no series"),
        (np.array([[1, None]] * 5, dtype=object), "array of object"),
    ],
)
def test_what_contradicts_the_schema_is_named_or_left_out(cell: object, told: str) -> None:
    with pytest.raises(DataError, match=f"here, record 2: .*{told}"):
        MODALITY.cast(frame(GOOD, cell), schema(), on_error="fail", where="here")
    cells, kept = MODALITY.cast(frame(GOOD, cell, GOOD), schema(), on_error="skip", where="here")
    assert kept.tolist() == [True, False, True] and len(cells) == 2


def test_clip_moves_values_to_their_bounds() -> None:
    cells, _ = MODALITY.cast(frame(np.array([[9.0, -4.0]] * 5)), schema(), on_error="clip", where="x")
    assert (cells["values"][0] == [3, 0]).all()
    with pytest.raises(DataError, match="steps"):
        MODALITY.cast(frame(np.zeros((2, 2))), schema(), on_error="clip", where="x")


def test_long_series_are_cut_and_what_is_left_over_is_kept_only_where_it_may_be_shorter() -> None:
    long = np.tile(np.arange(12.0)[:, None], (1, 2)) / 10
    for variable, lengths in ((False, [5, 5, 5]), (True, [5, 5, 2, 5])):
        cells, _ = MODALITY.cast(frame(long, GOOD), schema(variable=variable), on_error="fail", where="x")
        pieces = MODALITY.pieces(cells, schema(variable=variable), most=None)
        assert [len(cell) for cell in pieces["values"]] == lengths and pieces["values"].iloc[1][0, 0] == 0.5
        first = MODALITY.pieces(cells, schema(variable=variable), most=1)
        assert [len(cell) for cell in first["values"]] == [5, 5]


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_files_go_round(tmp_path: Path, suffix: str, variable: bool) -> None:
    said = schema(missing=True, variable=variable).model_dump() | {"columns": {"kind": {"kind": "categorical", "categories": ["x", "y"]}}}
    own = Schema.model_validate(said)
    raw = drawn(missing=True, variable=variable, records=6).assign(kind=["x", "y"] * 3)
    cells, _ = MODALITY.cast(raw, own, on_error="fail", where="x")
    path = tmp_path / f"out{suffix}"
    MODALITY.write(cells, path, own)
    back = MODALITY.read(path) if suffix == ".npz" else long_table(read_table(path), own)
    again, _ = MODALITY.cast(back, own, on_error="fail", where="y")
    assert list(again["kind"]) == list(cells["kind"])
    for left, right in zip(again["values"], cells["values"], strict=True):
        np.testing.assert_array_equal(left, right)
    if suffix == ".npz":
        assert MODALITY.reads(path) and back.attrs["channels"] == ["a", "b"]
    with pytest.raises(DataError, match="are written to"):
        MODALITY.write(cells, tmp_path / "out.xml", own)


def saved(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"values": np.zeros((3, 4)), "lengths": np.array([1, 1])}, "add up"),
        ({"values": np.zeros((3, 1)), "lengths": np.array([4, -1])}, "at least 1"),
        ({"values": np.zeros((3, 1)), "lengths": np.array([1.0, 2.0])}, "whole numbers"),
        ({"values": np.array([[1], [None]])}, "pickle"),
        ({"values": np.zeros(3)}, "shape"),
        ({"values": np.array([["a"]])}, "save them as floats"),
        ({"values": np.zeros((3, 4)), "label": np.zeros(2)}, "belongs to no column"),
        ({"values": np.zeros((3, 4, 2)), "channels": np.array(["a", "a"])}, "2 different names"),
        ({"values": np.zeros((3, 1)), "lengths": np.array([2**62, 2**62, 2**62, 2**62 + 3])}, "add up"),
    ],
)
def test_a_contradictory_archive_gets_one_sentence(tmp_path: Path, arrays: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=told):
        MODALITY.read(saved(tmp_path / "x.npz", **arrays))


TS = b"# words\n@problemName X\n@timeStamps false\n@classLabel true 1 2\n@data\n1,?,3:4,5,6:1\n\n7,8:9,1e1:2\n"


def test_ts_files_are_read_with_their_classes_and_missing_values(tmp_path: Path) -> None:
    (tmp_path / "x.ts").write_bytes(TS)
    assert MODALITY.reads(tmp_path / "x.ts")
    got = MODALITY.read(tmp_path / "x.ts")
    np.testing.assert_array_equal(got["values"][0], [[1, 4], [np.nan, 5], [3, 6]])
    np.testing.assert_array_equal(got["values"][1], [[7, 9], [8, 10]])
    assert list(got["label"]) == ["1", "2"]
    drafted = MODALITY.draft(got, target="label", sensitive=(), unit="row")
    assert drafted.series is not None and drafted.series.variable and drafted.series.missing and drafted.series.steps == 3
    assert MODALITY.cast(got, drafted, on_error="fail", where="x")[1].all()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no line @data"),
        (b"a,b\n1,2\n", "before @data"),
        (b"\xff\xfe@data", "not UTF-8"),
        (b"@timeStamps true\n@data\n(1,2):1", "time stamps"),
        (TS + b"1,x:2,3:1\n", "line 9: 'x' is no number"),
        (TS + b"1,2:3:1\n", "line 9: channels of 2, 1 steps"),
        (TS + b"1,2:1\n", "line 9: 1 channels"),
        (b"@data\n", "no series after"),
    ],
)
def test_a_broken_ts_file_is_named_by_its_line(content: bytes, told: str) -> None:
    with pytest.raises(DataError, match=f"x.ts.*{told}"):
        parse_ts(content, "x.ts")


def test_broken_lines_can_be_left_out_and_are_counted() -> None:
    got = parse_ts(TS + b"1,x:2,3:1\n", "x.ts", on_error="skip")
    assert len(got) == 2 and got.attrs["skipped"] == 1


def table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"series": ["p", "q", "p", "q"], "step": [1, 0, 0, 1], "a": [1.0, 2, 3, 4], "b": ["5", "6", "", "8"], **columns})


def test_a_long_table_becomes_series_in_the_order_of_their_steps() -> None:
    got = long_table(table(ward=["n", "s", "n", "s"]), schema())
    np.testing.assert_array_equal(got["values"][0], [[3, np.nan], [1, 5]])
    np.testing.assert_array_equal(got["values"][1], [[2, 6], [4, 8]])
    assert list(got["ward"]) == ["n", "s"] and list(got.columns) == ["values", "ward"]
    dated = long_table(table(step=["2024-05-02", "2024-01-01", "2024-05-01", "2024-09-09"]), schema())
    np.testing.assert_array_equal(dated["values"][0], [[3, np.nan], [1, 5]])


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"step": [1, 0, 1, 1]}, "'p': a step is there twice"),
        ({"step": [0, 0, 9, 1]}, "'p': no row after step 0"),
        ({"b": ["5", "x", "7", "8"]}, "row 2, column 'b': 'x'"),
        ({"step": ["0", "soon", "1", "2"]}, "row"),
        ({"series": ["p", None, "p", "q"]}, "row 2: no 'series'"),
        ({"ward": list("nsst")}, "changes within"),
    ],
)
def test_a_contradictory_long_table_is_named(columns: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=told):
        long_table(table(**columns), schema())
    with pytest.raises(DataError, match="lacks 'step'"):
        long_table(table().drop(columns="step"), schema())


def test_curves_are_drawn_with_gaps_and_single_points() -> None:
    cells, _ = MODALITY.cast(drawn(missing=True, variable=True), own := schema(missing=True, variable=True), on_error="fail", where="x")
    picture = Image.open(io.BytesIO(MODALITY.picture(cells, own)))
    assert picture.format == "PNG" and len(set(picture.convert("P").tobytes())) > 5


def test_built_in_series_need_their_package_or_folder_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDRAIL_DATA", str(tmp_path))
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"ItalyPowerDemand_{part}.ts").write_bytes(TS)
    with pytest.raises(DataError, match="not the published file"):
        builtin.load("italy_power")
    monkeypatch.setattr("guardrail.data.series.builtin.find_spec", lambda package: None)
    monkeypatch.delenv("GUARDRAIL_DATA")
    with pytest.raises(MissingExtra, match="GUARDRAIL_DATA"):
        builtin.load("italy_power")


def test_a_package_is_read_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in whose import would fail; its files are short ones of our own."""
    from guardrail.data.series.builtin import read_builtin

    place = tmp_path / "ships_series" / "datasets" / "data" / "X"
    place.mkdir(parents=True)
    (tmp_path / "ships_series" / "__init__.py").write_text("raise RuntimeError('imported')")
    (place / "x.ts").write_bytes(TS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("GUARDRAIL_DATA", raising=False)
    facts = {"packages": ["ships_series"], "folder": "X", "files": {"x.ts": hashlib.sha256(TS).hexdigest()}, "rename": {"label": "season"}}
    assert list(read_builtin(facts)["season"]) == ["1", "2"]


def test_italys_power_demand_obeys_its_public_schema() -> None:
    try:
        raw, public = builtin.load("italy_power")
    except MissingExtra as fault:
        pytest.skip(str(fault))
    cells, kept = MODALITY.cast(raw, public, on_error="fail", where="x")
    assert kept.all() and len(cells) == 1096 and MODALITY.codec(public).encode(cells, "series").shape == (1096, 24, 1)
