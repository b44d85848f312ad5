"""Rows as bytes that depend on what they say and not on how they were stored.

Columns by name; numbers as the shortest text of a float64, so that 1, 1.0 and '1' are one and -0.0 is 0, and whole ones
that no float64 holds in full; one missing value; times in UTC; text in Unicode NFC. Arrays (images, notes, series) by their
shape and values, whatever the width of their numbers, with one NaN and one zero. Equal rows have equal bytes and different
rows different ones: every cell is preceded by its length.
"""

from __future__ import annotations

import datetime as dt
import decimal
import hmac
import math
from typing import Any

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError
from .cells import in_utc, instant, is_missing, mapped, named, nfc, plain_number, whole_text

_MISSING = b"0:"


def canonical_rows(frame: pd.DataFrame) -> list[bytes]:
    """One byte string per row; the order of the columns does not matter."""
    frame = named(frame)
    columns = [_cells(frame[name], name) for name in sorted(frame.columns)]
    return [b"".join(row) for row in zip(*columns, strict=True)] if columns else []


def canonical_names(frame: pd.DataFrame) -> bytes:
    return b"".join(_framed(name.encode("utf-8", "surrogatepass")) for name in sorted(named(frame).columns))


def row_digests(frame: pd.DataFrame, key: bytes) -> list[bytes]:
    """HMAC-SHA256 of every row; the names of the columns are part of the key."""
    keyed = hmac.digest(key, b"columns" + canonical_names(frame), "sha256")
    return [hmac.digest(keyed, row, "sha256") for row in canonical_rows(frame)]


def _cells(column: pd.Series, name: str) -> np.ndarray:
    if pd.api.types.is_float_dtype(column.dtype):
        values = column.astype("Float64").to_numpy(dtype=float, na_value=math.nan)
        distinct, codes = np.unique(values, return_inverse=True)
        return np.array([_MISSING if math.isnan(value) else _number(value) for value in distinct] + [_MISSING], dtype=object)[codes]
    if column.dtype == object and any(isinstance(cell, np.ndarray) for cell in column):
        return _arrays(column, name)
    cells = mapped(column, f"column {name!r}", _cell)
    return np.where(pd.isna(cells), _MISSING, cells)


def _arrays(column: pd.Series, name: str) -> np.ndarray:
    """The content of images, music or series, one array per cell."""
    cells = np.empty(len(column), dtype=object)
    for row, cell in enumerate(column):
        if not isinstance(cell, np.ndarray) and not pd.api.types.is_scalar(cell):
            raise DataError(f"column {name!r}: mixes arrays with {type(cell).__name__}; a cell is one array or missing")
        plain = _MISSING if not isinstance(cell, np.ndarray) and is_missing(cell) else None
        cells[row] = plain or (_array(cell, name) if isinstance(cell, np.ndarray) else _cell(cell))
    return cells


def _array(cell: np.ndarray, name: str) -> bytes:
    """Whole numbers of one byte as they are, others in eight; which it is depends on the values, not on the type they came in."""
    if cell.dtype.kind not in "biuf" or cell.dtype == np.uint64:
        raise DataError(f"column {name!r}: arrays of {cell.dtype} have no canonical bytes; use numbers")
    kind = {"b": b"b", "f": b"f"}.get(cell.dtype.kind, b"i")
    if kind == b"f":
        cell = np.where(np.isnan(cell), np.nan, cell.astype("<f8") + 0.0)
    elif kind == b"i":
        small = cell.dtype == np.uint8 or not cell.size or (cell.min() >= 0 and cell.max() <= 255)
        kind, cell = (b"u", cell.astype(np.uint8)) if small else (b"i", cell.astype("<i8"))
    shape = b"x".join(b"%d" % length for length in cell.shape)
    return _framed(b"a" + kind + shape + b":" + cell.tobytes())


def _cell(cell: Any) -> bytes:
    if isinstance(cell, (bool, np.bool_)):
        return _truth(bool(cell))
    if isinstance(cell, dt.datetime):  # pd.Timestamp is one
        return _moment(in_utc(cell))
    if isinstance(cell, dt.date):
        return _moment(dt.datetime(cell.year, cell.month, cell.day))
    if isinstance(cell, str):
        return _text(cell)
    if isinstance(cell, decimal.Decimal) and cell.as_tuple().exponent == 0:
        return _number(int(cell))
    if isinstance(cell, (int, np.integer)):
        return _number(int(cell))
    try:
        return _number(float(cell))
    except (TypeError, ValueError):
        return _text(str(cell))


def _text(cell: str) -> bytes:
    word = cell.strip()
    if word.lower() in ("true", "false"):
        return _truth(word.lower() == "true")
    number = plain_number(word)
    if number is not None:
        return _number(number)
    moment = instant(word)
    return _moment(moment) if moment is not None else _framed(b"t" + nfc(cell).encode("utf-8", "surrogatepass"))


def _number(value: int | float) -> bytes:
    exact = isinstance(value, int) and not _fits(value)
    return _framed(b"n" + (whole_text(int(value)) if exact else repr(float(value) + 0.0)).encode())  # -0.0 + 0.0 is 0.0


def _fits(value: int) -> bool:
    """Is there a float64 of just this value?"""
    try:
        return float(value) == value
    except OverflowError:
        return False


def _truth(value: bool) -> bytes:
    return _framed(b"b1" if value else b"b0")


def _moment(moment: dt.datetime) -> bytes:
    """To the microsecond: what every format keeps."""
    plain = moment.to_pydatetime(warn=False) if isinstance(moment, pd.Timestamp) else moment
    return _framed(b"d" + plain.isoformat(timespec="microseconds").encode())


def _framed(content: bytes) -> bytes:
    return b"%d:%b" % (len(content), content)
