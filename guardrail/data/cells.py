"""Single cells: which texts mean 'missing', which are numbers, which are dates; the same everywhere a table is read.

A number in a file is a number only when writing it out again would give the same digits: `01`, `+5`, `1_000` and `1e999`
stay text, so that leading zeros and telephone numbers survive. A schema that says `integer` may still cast them.
"""

from __future__ import annotations

import datetime as dt
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
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}.*)?")


def is_missing(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip() in MISSING
    return cell is None or bool(pd.isna(cell))


def is_whole(text: str) -> bool:
    """`-12`, in at most 18 digits: kept as an integer without loss."""
    return _WHOLE.fullmatch(text) is not None


def plain_number(text: str) -> float | None:
    """The number a text stands for when it is nothing but a number."""
    if _PLAIN.fullmatch(text):
        value = float(text)
        return value if math.isfinite(value) else None
    return float(text) if _INFINITE.fullmatch(text) else None


def loose_number(text: str) -> float | None:
    """As `plain_number`, and `+5` and `007`: for columns that the schema says are numbers."""
    if _LOOSE.fullmatch(text) or _INFINITE.fullmatch(text):
        return float(text)
    return None


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
    try:
        codes, distinct = pd.factorize(_kept_apart(cells))
    except TypeError:
        raise DataError(f"{where}: holds lists or objects; a table has one plain value per cell") from None
    return codes, [cell[1] if isinstance(cell, tuple) else cell for cell in distinct]


def _kept_apart(cells: np.ndarray) -> np.ndarray:
    """True and 1 are equal to Python and would fall together; where both kinds occur, the truth values get a tag."""
    kinds = set(map(type, cells))
    if not kinds & {bool, np.bool_} or len(kinds) == 1:
        return cells
    tagged = np.empty(len(cells), dtype=object)
    tagged[:] = [("bool", cell) if isinstance(cell, (bool, np.bool_)) else cell for cell in cells]
    return tagged


def mapped(column: pd.Series, where: str, convert: Callable[[Any], Hashable | None]) -> np.ndarray:
    """`convert` of every cell as an object array, called once per distinct cell; missing cells give None."""
    codes, distinct = factorize(column, where)
    table = np.empty(len(distinct) + 1, dtype=object)
    table[:-1] = [None if is_missing(cell) else convert(cell) for cell in distinct]
    return np.asarray(table[codes])
