"""CSV as people really save it, read strictly: every fault has a line number, nothing is guessed that could be two things.

UTF-8 with or without a byte-order mark. Comma, or semicolon, tab or bar where the header has only that one. Every cell stays
the text it is, or None where it holds nothing: a column's type, if it were inferred, would let one record change how all
others are read, and would merge identifiers that differ (`012` and `12`, `1.10` and `1.1`). The schema decides what a cell means.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError
from .cells import is_missing, nfc

_MAGIC = {
    b"PAR1": "a Parquet file; name it .parquet",
    b"\x80": "a Python pickle, which is never opened",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"PK\x03\x04": "a zip or spreadsheet file; save it as CSV",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}
_LONGEST_NAME = 1000


def parse_csv(content: bytes, where: str, *, names: list[str] | None = None) -> pd.DataFrame:
    """The table in `content`; `names` where the text has no header line."""
    text = _decoded(content, where)
    rows, lines = _rows(text, where, "," if names else _delimiter(text, where))
    if not names:
        if not rows:
            raise DataError(f"{where}: the file is empty; the first line must name the columns")
        names, rows, lines = rows[0], rows[1:], lines[1:]
    if len(names) > 1 and all(name.startswith(" ") for name in names[1:]):
        rows = [[cell.removeprefix(" ") for cell in row] for row in rows]  # "a, b, c": the space belongs to the layout
        names = [name.removeprefix(" ") for name in names]
    names = checked_names(names, where)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"{where}, line {line}: {len(row)} cells where the header names {len(names)}; quote cells that hold the delimiter"
            )
    columns = [_texts([row[position] for row in rows]) for position in range(len(names))]
    return pd.DataFrame(dict(zip(names, columns, strict=True)), columns=pd.Index(names, dtype="object"))


def checked_names(names: list[str], where: str) -> list[str]:
    """Names in one Unicode form, none empty, none twice."""
    names = [nfc(name) for name in names]
    for position, name in enumerate(names, 1):
        if not name.strip():
            hint = " (a row index saved with the table? save without it)" if position == 1 and len(names) > 1 else ""
            raise DataError(f"{where}: column {position} of {len(names)} has no name{hint}; name every column")
        if len(name) > _LONGEST_NAME:
            raise DataError(f"{where}: column {position} has a name of {len(name)} characters; is the first line a header?")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"{where}: column name {twice[0]!r} appears {names.count(twice[0])} times; rename one of them")
    return names


def _texts(cells: Sequence[str]) -> pd.Series:
    codes, distinct = pd.factorize(np.array(cells, dtype=object))
    table = np.empty(len(distinct), dtype=object)
    table[:] = [None if is_missing(cell) else cell for cell in distinct]
    return pd.Series(table[codes], dtype="object")


def _decoded(content: bytes, where: str) -> str:
    for magic, what in _MAGIC.items():
        if content.startswith(magic):
            raise DataError(f"{where}: not a CSV file but {what}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise DataError(
            f"{where}, line {line}: byte 0x{content[fault.start]:02x} is not UTF-8 (the file may mix encodings); save it as UTF-8"
        ) from None


def _delimiter(text: str, where: str) -> str:
    """The comma, or the one other delimiter that splits a header without commas."""
    if _width(text, ",") > 1:
        return ","
    others = [mark for mark in ";\t|" if _width(text, mark) > 1]
    if len(others) > 1:
        raise DataError(f"{where}: the header could be split by {' or '.join(map(repr, others))}; save the table with commas")
    return others[0] if others else ","


def _width(text: str, mark: str) -> int:
    try:
        return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=mark), []))
    except csv.Error:
        return 0


def _rows(text: str, where: str, mark: str) -> tuple[list[list[str]], list[int]]:
    """The rows and the line each ends on; empty lines are layout."""
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as fault:
        raise DataError(f"{where}, line {reader.line_num}: {fault}; a quote may be unclosed") from None
    return rows, lines
