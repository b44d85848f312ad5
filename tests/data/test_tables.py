"""Reading and writing tables: what people really save, and what attackers do."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import pickle
import string
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardrail.data.tables import read_table, write_table
from guardrail.vocabulary.errors import DataError


def saved(folder: Path, content: bytes | str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path)
    return str(caught.value)


def test_every_cell_of_a_text_file_stays_the_text_it_is(tmp_path: Path) -> None:
    text = "id,code,answer,amount,mixed,phone\n1,01,no,1.50,3,+49\n2,10,yes,-2e3,x,+1\n"
    frame = read_table(saved(tmp_path, text))
    assert {str(kind) for kind in frame.dtypes} == {"object"}
    assert [frame[name].tolist() for name in frame] == [
        ["1", "2"],
        ["01", "10"],
        ["no", "yes"],
        ["1.50", "-2e3"],
        ["3", "x"],
        ["+49", "+1"],
    ]


def test_every_spelling_of_nothing_is_missing(tmp_path: Path) -> None:
    cells = ["", "NA", "N/A", "null", "None", "NaN", "?", " "]
    frame = read_table(saved(tmp_path, "n,word\n" + "".join(f"{cell},{cell}\n" for cell in cells) + "7,seven\n"))
    assert frame["n"].isna().tolist() == [True] * len(cells) + [False]
    assert frame["word"].isna().tolist() == [True] * len(cells) + [False]
    assert frame["n"].iloc[-1] == "7"


def test_a_byte_order_mark_windows_line_ends_and_quotes_are_layout(tmp_path: Path) -> None:
    frame = read_table(saved(tmp_path, '\ufeffname,said\r\nAnna,"yes, ""really""\nyes"\r\n\r\nÉva,no\r\n'))
    assert list(frame.columns) == ["name", "said"]
    assert frame["said"].tolist() == ['yes, "really"\nyes', "no"]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_delimiter_is_accepted_when_it_is_the_only_one(tmp_path: Path, mark: str) -> None:
    frame = read_table(saved(tmp_path, f"a{mark}b\n1{mark}2,5\n"))
    assert frame.to_dict("records") == [{"a": "1", "b": "2,5"}]


def test_a_header_that_two_delimiters_could_split_is_refused_and_both_are_named(tmp_path: Path) -> None:
    message = refused(saved(tmp_path, "a;b\tc\n1;2\t3\n"))
    assert "';'" in message and "'\\t'" in message


def test_a_quoted_semicolon_is_part_of_the_name(tmp_path: Path) -> None:
    assert list(read_table(saved(tmp_path, '"a;b"\n1\n')).columns) == ["a;b"]


def test_spaces_after_every_comma_of_the_header_are_layout(tmp_path: Path) -> None:
    frame = read_table(saved(tmp_path, "a, b\n1, x\n"))
    assert frame.to_dict("records") == [{"a": "1", "b": "x"}]


def test_a_ragged_row_is_named_by_its_line(tmp_path: Path) -> None:
    assert "line 4: 3 cells" in refused(saved(tmp_path, 'a,b\n"x\ny",2\n1,2,3\n'))
    assert "line 3: 1 cells" in refused(saved(tmp_path, "a,b\n1,2\n3\n"))


def test_an_unclosed_quote_is_an_error_and_not_one_long_cell(tmp_path: Path) -> None:
    assert "quote" in refused(saved(tmp_path, 'a,b\n1,"open\n2,3\n'))


def test_mixed_encodings_are_named_by_line_and_byte(tmp_path: Path) -> None:
    message = refused(saved(tmp_path, "a\nÉva\n".encode() + "É\n".encode("latin-1")))
    assert "line 3" in message and "0xc9" in message and "UTF-8" in message


def test_utf_16_gzip_zip_and_parquet_named_csv_are_told_apart(tmp_path: Path) -> None:
    assert "UTF-16" in refused(saved(tmp_path, "a,b\n1,2\n".encode("utf-16")))
    assert "gzip" in refused(saved(tmp_path, b"\x1f\x8b\x08\x00"))
    assert "spreadsheet" in refused(saved(tmp_path, b"PK\x03\x04rest"))
    assert "Parquet" in refused(saved(tmp_path, b"PAR1rest"))


def test_empty_names_and_double_names_are_refused(tmp_path: Path) -> None:
    assert "row index" in refused(saved(tmp_path, ",a\n0,1\n"))
    assert "column 2 of 2 has no name" in refused(saved(tmp_path, "a, \n0,1\n"))
    assert "'a' appears 2 times" in refused(saved(tmp_path, "a,b,a\n0,1,2\n"))


def test_unicode_twins_are_the_same_name(tmp_path: Path) -> None:
    assert "appears 2 times" in refused(saved(tmp_path, "é,e\u0301\n1,2\n"))
    assert list(read_table(saved(tmp_path, "e\u0301\n1\n")).columns) == ["é"]


def test_an_empty_file_is_refused_and_a_header_alone_is_a_table_of_no_rows(tmp_path: Path) -> None:
    assert "empty" in refused(saved(tmp_path, ""))
    assert "empty" in refused(saved(tmp_path, "\n\n"))
    assert "empty" in refused(saved(tmp_path, "", "t.parquet"))
    frame = read_table(saved(tmp_path, "a,b\n"))
    assert list(frame.columns) == ["a", "b"] and len(frame) == 0


def test_folders_missing_files_and_other_suffixes_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    assert "folder" in refused(tmp_path / "folder.csv")
    assert "not a regular file" in refused(tmp_path / "pipe.csv")
    assert "no such file" in refused(tmp_path / "nowhere.csv")
    assert ".csv or .parquet" in refused(saved(tmp_path, "a\n", "t.xlsx"))
    assert ".csv or .parquet" in refused(saved(tmp_path, "a\n", "t"))
    assert "no such file" in refused(tmp_path / "a\0b.csv")
    assert "cannot be read" in refused(tmp_path / ("x" * 300 + ".csv"))


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(saved(tmp_path, "a\n1\n"))
    assert len(read_table(tmp_path / "link.csv")) == 1


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("protocol", [0, 5])
def test_a_pickle_in_disguise_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, pickle.dumps(_Bomb(), protocol=protocol), name)
    if protocol == 5 or name.endswith("parquet"):
        refused(path)
    else:
        read_table(path)  # protocol 0 is text, and text it stays
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_truncated_parquet_file_is_refused(tmp_path: Path, kept: float) -> None:
    write_table(pd.DataFrame({"a": np.arange(2000)}), tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    assert "broken Parquet" in refused(saved(tmp_path, content[: int(len(content) * kept)], "cut.parquet"))


def test_parquet_columns_become_plain_kinds(tmp_path: Path) -> None:
    table = pa.table(
        {
            "n": pa.array([1, None], pa.int8()),
            "money": pa.array([decimal.Decimal("1.25"), None]),
            "day": pa.array([dt.date(2024, 2, 29), None]),
            "when": pa.array([dt.datetime(2024, 1, 1, 12), None], pa.timestamp("ns", "Europe/Paris")),
            "word": pa.array(["NA", None]).dictionary_encode(),
            "yes": pa.array([True, None]),
            "nothing": pa.nulls(2),
            "long": pa.array([2**64 - 1, None], pa.uint64()),
            "longer": pa.array([decimal.Decimal(10**25 + 1), None]),
            "short": pa.array([decimal.Decimal(12), None], pa.decimal128(5)),
            "__index_level_0__": pa.array([0, 1]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    frame = read_table(tmp_path / "t.parquet")
    assert "__index_level_0__" not in frame.columns
    assert frame["n"].dtype == "Int64" and frame["money"].tolist()[0] == 1.25
    assert frame["day"].iloc[0] == pd.Timestamp("2024-02-29")
    assert frame["when"].iloc[0] == pd.Timestamp("2024-01-01 12:00", tz="UTC")
    assert frame["word"].iloc[0] == "NA" and pd.isna(frame["word"].iloc[1])
    assert [frame[name].iloc[0] for name in ("long", "longer", "short")] == [2**64 - 1, 10**25 + 1, 12]
    assert frame["yes"].dtype == "boolean" and frame["nothing"].isna().all()


def test_nested_and_doubled_parquet_columns_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [[1, 2]]}), tmp_path / "list.parquet")
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "twice.parquet")
    assert "'a' holds list" in refused(tmp_path / "list.parquet")
    assert "appears 2 times" in refused(tmp_path / "twice.parquet")


HOSTILE = [
    "<script>alert(1)</script>",
    "a\0b",
    "\u202egnp.exe",
    "=1+1",
    "@x",
    "{{7*7}}",
    "../../etc",
    "CON",
    "é" * 150,
    "x,y",
    'q"q',
    "l\nl",
]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_hostile_names_are_names_like_any_other(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({name: [1, 2] for name in HOSTILE})
    write_table(frame, tmp_path / f"t{suffix}")
    assert list(read_table(tmp_path / f"t{suffix}").columns) == HOSTILE


def test_a_first_line_that_is_no_header_is_refused(tmp_path: Path) -> None:
    assert "header" in refused(saved(tmp_path, "x" * 1001 + "\n1\n"))


def test_extremes_of_float64_survive(tmp_path: Path) -> None:
    frame = read_table(saved(tmp_path, "x\n1e308\n-1e308\n-0.0\ninf\n-Infinity\n5e-324\n0.1\n"))
    assert frame["x"].astype(float).tolist() == [1e308, -1e308, 0.0, np.inf, -np.inf, 5e-324, 0.1]
    assert read_table(saved(tmp_path, "x\n1\n1e999\n"))["x"].tolist() == ["1", "1e999"]  # no number it could hold


def test_writing_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = saved(tmp_path, "old\n1\n")
    with pytest.raises(DataError):
        write_table(pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object)}), path)
    with pytest.raises(DataError):
        write_table(pd.DataFrame([[1, 2]], columns=["a", "a"]), path)
    with pytest.raises(DataError):
        write_table(pd.DataFrame({"a": [1, "x"]}), tmp_path / "mixed.parquet")
    assert path.read_text() == "old\n1\n" and [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_formulas_are_written_as_they_are(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"a": ["=cmd()", "+1", "-x", "@y"]}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "a\n=cmd()\n+1\n-x\n@y\n"


def test_every_line_end_inside_a_cell_survives(tmp_path: Path) -> None:
    said = ["a\rb", "a\nb", "a\r\nb", "\r", "plain"]
    write_table(pd.DataFrame({"said": said, "n": range(5)}), tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv")["said"].tolist()[:3] == said[:3]
    assert len(read_table(tmp_path / "t.csv")) == 5


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda t: t.strip() not in ("", "NA", "N/A", "null", "None", "NaN", "nan", "?")
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.none() | texts, st.none() | st.floats(allow_nan=False)), max_size=6),
    suffix=st.sampled_from([".csv", ".tsv", ".parquet"]),
)
def test_what_is_written_is_read_back(tmp_path: Path, rows: list[tuple[str | None, float | None]], suffix: str) -> None:
    frame = pd.DataFrame(
        {"word": pd.Series([f"w{a}" if a else None for a, _ in rows], dtype=object), "x": pd.Series([b for _, b in rows], dtype=float)}
    )
    write_table(frame, tmp_path / f"t{suffix}")
    back = read_table(tmp_path / f"t{suffix}")
    assert [None if pd.isna(a) else a for a in back["word"]] == [None if pd.isna(a) else a for a in frame["word"]]
    assert np.array_equal(back["x"].to_numpy(dtype=float, na_value=np.nan), frame["x"].to_numpy(), equal_nan=True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(string.printable, max_size=60).map(str.encode))
def test_any_bytes_are_a_table_or_one_clear_error(tmp_path: Path, content: bytes) -> None:
    for name in ("fuzz.csv", "fuzz.parquet"):
        try:
            assert len(read_table(saved(tmp_path, content, name)).columns) > 0
        except DataError as fault:
            assert "fuzz" in str(fault)
