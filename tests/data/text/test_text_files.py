"""Text files as strangers send them: read whole, or refused with the line that is at fault."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from guardrail.data.modality import modality
from guardrail.data.text import files
from guardrail.vocabulary.errors import DataError
from guardrail.vocabulary.schema import Schema

TEXT = modality("text")
SCHEMA = Schema.model_validate({"modality": "text", "text": {}})


def read(tmp_path: Path, name: str, content: bytes, on_error: str = "fail") -> pd.DataFrame:
    (tmp_path / name).write_bytes(content)
    return TEXT.read(tmp_path / name, on_error=on_error)


def test_lines_are_documents_whatever_ends_them(tmp_path: Path) -> None:
    frame = read(tmp_path, "a.txt", "\ufeffone\r\n\n  \ntwo \u2028 still two\x0c\nthree".encode())
    assert list(frame["text"]) == ["one", "two \u2028 still two\x0c", "three"] and frame.attrs["skipped"] == 0


def test_objects_have_a_text_and_columns_beside_it(tmp_path: Path) -> None:
    frame = read(tmp_path, "a.jsonl", b'{"text": "a\\nb", "year": 1851}\n{"by": "m", "text": "c", "ok": true}\n')
    assert list(frame.columns) == ["text", "year", "by", "ok"] and list(frame["text"]) == ["a\nb", "c"]
    assert frame["year"].iloc[0] == 1851 and frame["year"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\n", "empty"),
        ("a.txt", b"good\n\xe9t\xe9\n", "line 2: not UTF-8 text .byte 1 of the line is 0xe9"),
        ("a.txt", "été".encode("utf-16"), "UTF-16"),
        ("a.txt", b"a\0b\n", "line 1: holds a NUL"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', "line 2: not valid JSON"),
        ("a.jsonl", b'{"text": "a", "n": NaN}\n', "line 1: .*NaN"),
        ("a.jsonl", b'{"text": "a", "text": "b"}\n', "appears twice"),
        ("a.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n", "nested too deeply"),
        ("a.jsonl", b'{"words": "a"}\n', "an object with 'words'; expected an object whose key text"),
        ("a.jsonl", b'{"text": 3}\n', "whose key text holds the document"),
        ("a.jsonl", b'["a"]\n', "list; expected an object"),
        ("a.jsonl", b'{"text": "a", "tags": ["x"]}\n', "key 'tags' holds a list"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1"),
        ("a.jsonl", '{"text": "a", "é": 1, "e\u0301": 2}\n'.encode(), "two Unicode spellings"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        read(tmp_path, name, content)
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_broken_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    frame = read(tmp_path, "a.txt", b"good\n\xff\nalso good\n\0\n", on_error="skip")
    assert list(frame["text"]) == ["good", "also good"] and frame.attrs["skipped"] == 2
    frame = read(tmp_path, "a.jsonl", b'{"text": "a"}\n{"text"}\n{}\n', on_error="skip")
    assert list(frame["text"]) == ["a"] and frame.attrs["skipped"] == 2
    with pytest.raises(DataError, match="not one of its 2 lines"):
        read(tmp_path, "b.jsonl", b"x\ny\n", on_error="skip")


def test_lines_and_keys_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="line 2: a line of 17 MiB"):
        read(tmp_path, "a.txt", b"a\n" + b"x" * (17 * 2**20))
    keys = ", ".join(f'"k{i}": 1' for i in range(1001))
    with pytest.raises(DataError, match="1001 different keys"):
        read(tmp_path, "a.jsonl", b'{"text": "a", ' + keys.encode() + b"}\n")
    monkeypatch.setattr(files, "LARGEST", 2)
    with pytest.raises(DataError, match="larger than"):
        read(tmp_path, "a.txt", b"abc\n")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        TEXT.read(tmp_path / "no.txt")


def test_objects_come_back_as_they_were_written(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "text": ["a\nb “c”", ""],
            "year": pd.array([1851, None], dtype="Int64"),
            "by": pd.Categorical(["m", None], categories=["m"]),
            "share": [0.5, float("nan")],
            "day": pd.to_datetime(["1851-10-18", None]),
            "ok": pd.array([True, None], dtype="boolean"),
        }
    )
    TEXT.write(frame, tmp_path / "s.jsonl", SCHEMA)
    back = TEXT.read(tmp_path / "s.jsonl")
    assert list(back["text"]) == ["a\nb “c”", ""]
    assert [back[name].iloc[0] for name in ("year", "by", "share", "day", "ok")] == [1851, "m", 0.5, "1851-10-18T00:00:00", True]
    assert back.iloc[1, 1:].isna().all()


def test_a_text_file_has_one_line_for_every_document(tmp_path: Path) -> None:
    TEXT.write(pd.DataFrame({"text": ["a\r\nb\nc", "d"], "by": ["m", "h"]}), tmp_path / "s.txt", SCHEMA)
    assert (tmp_path / "s.txt").read_text() == "a b c\nd\n"
    with pytest.raises(DataError, match=r"to .jsonl or .txt"):
        TEXT.write(pd.DataFrame({"text": ["a"]}), tmp_path / "s.csv", SCHEMA)
