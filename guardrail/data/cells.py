"""Single cells: which texts mean 'missing', which are numbers, which are dates; the same everywhere a table is read.

What a cell means is a function of that cell alone: no other record of the table, and no type that a reader gave to the
whole column, has a say. `01`, `+5`, `1_000` and `1e999` are no plain numbers, so that leading zeros and telephone numbers
survive; a schema that says `integer` may still cast them.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import unicodedata
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError

MISSING = frozenset({"", "NA", "N/A", "null", "None", "NaN", "nan", "?"})
"""Cells of a text file that hold nothing."""

TRUE = frozenset({"true", "yes", "y", "t", "1", "1.0"})
FALSE = frozenset({"false", "no", "n", "f", "0", "0.0"})

_PLAIN = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_LOOSE = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?inf(?:inity)?", re.IGNORECASE)
_WHOLE = re.compile(r"[-+]?[0-9]+")
_LONGEST_WHOLE = 10**400
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}.*)?")


def is_missing(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip() in MISSING
    return cell is None or bool(pd.isna(cell))


def plain_number(text: str) -> int | float | None:
    """The number a text stands for when it is nothing but a number; exact where it is written as a whole one."""
    if _PLAIN.fullmatch(text):
        value = _valued(text)
        return value if math.isfinite(value) else None
    return float(text) if _INFINITE.fullmatch(text) else None


def loose_number(text: str) -> int | float | None:
    """As `plain_number`, and `+5` and `007`: for columns that the schema says are numbers."""
    if _LOOSE.fullmatch(text) or _INFINITE.fullmatch(text):
        return _valued(text)
    return None


def _valued(text: str) -> int | float:
    value = float(text)
    return int(text) if math.isfinite(value) and _WHOLE.fullmatch(text) else value


def spelled(cell: Any) -> str:
    """The one text of a cell, however its column was stored: 1, 1.0 and '1' are `1`; text stands as it is, in Unicode NFC."""
    if isinstance(cell, str):
        return nfc(cell)
    if isinstance(cell, dt.datetime):
        return in_utc(cell).isoformat()
    if isinstance(cell, (bool, np.bool_, dt.date, dt.timedelta)):
        return str(cell)
    if isinstance(cell, (int, np.integer)):
        return whole_text(int(cell))
    if isinstance(cell, (float, np.floating, decimal.Decimal)) and math.isfinite(cell):
        if cell == int(cell):
            return whole_text(int(cell))
        return f"{cell:f}".rstrip("0") if isinstance(cell, decimal.Decimal) else repr(float(cell))
    return nfc(str(cell))


def whole_text(value: int) -> str:
    """Hexadecimal where Python refuses to write so many digits."""
    return str(value) if abs(value) < _LONGEST_WHOLE else hex(value)


def instant(text: str) -> dt.datetime | None:
    """An ISO 8601 date or time in UTC, without its zone; a time without a zone is taken to be in UTC."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return in_utc(dt.datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def in_utc(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo is None else moment.astimezone(dt.UTC).replace(tzinfo=None)


def nfc(text: str) -> str:
    """One spelling for texts that look the same: Unicode twins become one."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def shown(cell: Any) -> str:
    """A cell for a message: quoted, escaped, at most forty characters."""
    text = cell if isinstance(cell, str) else str(cell)
    return repr(text) if len(text) <= 40 else repr(text[:37]) + "…"


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table with its column names as text in one Unicode form; a frame made in Python may have numbers there."""
    names = [nfc(str(name)) for name in frame.columns]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise DataError(f"column {twice!r} appears {names.count(twice)} times; rename one of them")
    return frame.set_axis(pd.Index(names, dtype="object"), axis=1)


def factorize(column: pd.Series, where: str) -> tuple[np.ndarray, list[Any]]:
    """Codes and distinct cells (-1 is missing): what is done per distinct cell need not be done per row."""
    cells = column.astype(object).to_numpy()
    empty = np.asarray(pd.isna(cells))
    mixed = len(set(map(type, cells[~empty]))) > 1
    try:
        codes, distinct = pd.factorize(_kept_apart(cells, empty) if mixed else cells)
    except TypeError:
        raise DataError(f"{where}: holds lists or objects; a table has one plain value per cell") from None
    return codes, [cell[1] for cell in distinct] if mixed else list(distinct)


def _kept_apart(cells: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """True and 1 are equal to Python; told apart by their types, the one that comes first does not speak for the other."""
    tagged = np.empty(len(cells), dtype=object)
    tagged[:] = [None if nothing else (type(cell), cell) for cell, nothing in zip(cells, empty, strict=True)]
    return tagged


def mapped(column: pd.Series, where: str, convert: Callable[[Any], Hashable | None]) -> np.ndarray:
    """`convert` of every cell as an object array, called once per distinct cell; missing cells give None."""
    codes, distinct = factorize(column, where)
    table = np.empty(len(distinct) + 1, dtype=object)
    table[:-1] = [None if is_missing(cell) else convert(cell) for cell in distinct]
    return np.asarray(table[codes])
