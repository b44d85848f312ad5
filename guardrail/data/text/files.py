"""Texts in and out: `.txt` with one document a line, or `.jsonl` with one object a line.

An object has the document under `text`; its other keys, each one number, word, truth value or null, are columns beside it.
UTF-8 and nothing else (a byte-order mark is dropped); blank lines are no documents. Every line is judged by itself.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ...vocabulary.documents import parse_json, write_atomic
from ...vocabulary.errors import DataError
from ..arrays import shown_path
from ..cells import nfc, shown

SUFFIXES = (".txt", ".jsonl")
LARGEST = 2 * 2**30
LONGEST_LINE = 16 * 2**20
_MOST_COLUMNS = 1000
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_texts(path: Path, *, on_error: str = "fail") -> pd.DataFrame:
    """Column `text`, and those beside it; `skip` leaves broken lines out and counts them in `attrs['skipped']`."""
    return parse_texts(_content(path), shown_path(path), objects=path.suffix.lower() == ".jsonl", on_error=on_error)


def parse_texts(content: bytes, where: str, *, objects: bool, on_error: str = "fail") -> pd.DataFrame:
    if not content.strip():
        raise DataError(f"{where}: the file is empty; expected one document a line")
    if content.startswith(_UTF16):
        raise DataError(f"{where}: is UTF-16 and not UTF-8; save it as UTF-8")
    read: Callable[[str], dict[str, Any]] = _object if objects else lambda line: {"text": line}
    records: list[dict[str, Any]] = []
    skipped = 0
    for number, line in enumerate(content.removeprefix(_BOM).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(read(_decoded(line)))
        except DataError as fault:
            if on_error != "skip":
                raise DataError(f"{where}, line {number}: {fault} (on_error: skip leaves such lines out)") from None
            skipped += 1
    if not records:
        raise DataError(f"{where}: not one of its {skipped} lines could be read as {'an object with a text' if objects else 'text'}")
    frame = _framed(records, where)
    frame.attrs["skipped"] = skipped
    return frame


def write_texts(frame: pd.DataFrame, path: Path) -> None:
    """`.jsonl` as it is; `.txt` with a space for every line end inside a document, and without the columns beside the text."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{shown_path(path)}: texts are written to .jsonl or .txt")
    lines = [_flat(text) for text in frame["text"]] if path.suffix.lower() == ".txt" else _objects(frame)
    try:
        write_atomic(path, "".join(line + "\n" for line in lines))
    except OSError as fault:
        raise DataError(f"{shown_path(path)}: cannot be written: {fault.strerror or fault}; name another file") from None


def _content(path: Path) -> bytes:
    where = shown_path(path)
    try:
        if not path.exists():
            raise DataError(f"{where}: no such file")
        if not path.is_file():
            raise DataError(f"{where}: not a regular file; texts are one .txt or .jsonl file")
        if path.stat().st_size > LARGEST:
            raise DataError(f"{where}: larger than {LARGEST // 2**30} GiB; split the file")
        return path.read_bytes()
    except OSError as fault:
        raise DataError(f"{where}: cannot be read: {fault.strerror or fault}") from None


def _decoded(line: bytes) -> str:
    if len(line) > LONGEST_LINE:
        raise DataError(f"a line of {len(line) / 2**20:.0f} MiB, and {LONGEST_LINE // 2**20} is the limit; one line is one document")
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as fault:
        raise DataError(
            f"not UTF-8 text (byte {fault.start + 1} of the line is 0x{line[fault.start]:02x}); save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise DataError("holds a NUL character; is it a text file?")
    return text


def _object(line: str) -> dict[str, Any]:
    try:
        found = parse_json(line, where="", error=DataError)
    except DataError as fault:
        raise DataError(str(fault).removeprefix(": ")) from None
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        met = f"an object with {', '.join(map(shown, list(found)[:8])) or 'no key'}" if isinstance(found, dict) else type(found).__name__
        raise DataError(f"{met}; expected an object whose key text holds the document as a string")
    for key, value in found.items():
        if isinstance(value, (dict, list)):
            raise DataError(f"key {shown(key)} holds {'an object' if isinstance(value, dict) else 'a list'}; expected one value")
    return found


def _framed(records: list[dict[str, Any]], where: str) -> pd.DataFrame:
    names = list(dict.fromkeys(name for record in records for name in record if name != "text"))
    if len(names) > _MOST_COLUMNS:
        raise DataError(f"{where}: {len(names)} different keys beside text, and {_MOST_COLUMNS} is the limit; keys are names of columns")
    if len({nfc(name) for name in names}) < len(names):
        raise DataError(f"{where}: a key is there in two Unicode spellings; keep one")
    columns = {nfc(name): pd.Series([record.get(name) for record in records], dtype=object) for name in names}
    return pd.DataFrame({"text": pd.Series([record["text"] for record in records], dtype=object), **columns})


def _flat(text: str) -> str:
    return text.replace("\r\n", " ").replace("\r", " ").replace("\n", " ")


def _objects(frame: pd.DataFrame) -> list[str]:
    names = [str(name) for name in frame.columns]
    rows = zip(*(frame[name].astype(object) for name in frame.columns), strict=True)
    return [json.dumps(dict(zip(names, map(_plain, row), strict=True)), ensure_ascii=False, allow_nan=False) for row in rows]


def _plain(cell: Any) -> Any:
    if pd.isna(cell):
        return None
    if isinstance(cell, dt.datetime):
        return cell.isoformat()
    return cell if isinstance(cell, (str, bool, int, float)) else cell.item()
