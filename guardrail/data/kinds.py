"""How a raw column is read as each kind of the schema: the values, which cells contradict it, and the nearest allowed value."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..vocabulary.schema import Boolean, Categorical, Column, Datetime, Numeric
from .cells import FALSE, TRUE, in_utc, instant, loose_number, mapped, nfc, plain_number, spelled

MICROSECONDS = {"day": 86_400_000_000, "second": 1_000_000}
_EPOCH = dt.datetime(1970, 1, 1)
_NOTHING = np.iinfo(np.int64).min  # NaT
_WORDS = {"true": 1.0, "false": 0.0}
"""How truth values are spelled where other cells made their column text."""


@dataclass(frozen=True)
class Cells:
    """One column, read. `values` and `clipped` are ready for `astype(dtype_of(entry))`."""

    values: Any
    """Cells that contradict the schema are missing."""
    clipped: Any
    """The same with each contradicting cell at the nearest allowed value, where there is one."""
    missing: np.ndarray
    """Cells that came empty."""
    fault: np.ndarray
    """Cells that contradict the schema, an empty one included where none may be missing."""
    beyond: np.ndarray
    """Faults with no nearest allowed value."""
    expected: str


def dtype_of(entry: Column) -> Any:
    if isinstance(entry, Numeric):
        return "float64" if entry.kind == "numeric" else "Int64"
    if isinstance(entry, Datetime):
        return "datetime64[us]"
    if isinstance(entry, Boolean):
        return "boolean"
    return pd.CategoricalDtype(pd.Index(entry.categories, dtype=object), ordered=entry.kind == "ordinal")


def read_cells(column: pd.Series, entry: Column, name: str) -> Cells:
    where = f"column {name!r}"
    if isinstance(entry, Numeric):
        return _numbers(column, entry, where)
    if isinstance(entry, Datetime):
        return _instants(column, entry, where)
    if isinstance(entry, Boolean):
        return _choices(column, entry, where, {}, "true or false")
    return _choices(column, entry, where, category_lookup(entry), _listed(entry.categories))


def datetime_bounds(entry: Datetime) -> tuple[int, int]:
    """Microseconds since 1970 of the first and last allowed step; a bare date as `high` means that whole day."""
    step = MICROSECONDS[entry.resolution]
    low, high = (_microseconds(in_utc(dt.datetime.fromisoformat(bound))) for bound in (entry.low, entry.high))
    if len(entry.high) == len("2024-12-31") and entry.resolution == "second":
        high += MICROSECONDS["day"] - step
    return -(-low // step) * step, max(high // step * step, -(-low // step) * step)


def floats_of(column: pd.Series, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The column as float64 with NaN where missing or no number, and which cells came empty."""
    if pd.api.types.is_float_dtype(column.dtype) or pd.api.types.is_integer_dtype(column.dtype):
        values = column.astype("Float64").to_numpy(dtype=float, na_value=math.nan)
        return values, np.isnan(values)
    cells = mapped(column, where, _number)
    missing = np.array([cell is None for cell in cells], dtype=bool)
    return np.array([math.nan if cell is None else cell for cell in cells], dtype=float), missing


def category_lookup(entry: Categorical) -> dict[Hashable, int]:
    """Codes by NFC text, and by what categories mean that are numbers or truth values: 1, 1.0 and '1' are one category."""
    words: dict[Hashable, int] = {nfc(category): code for code, category in enumerate(entry.categories)}
    for code, category in enumerate(entry.categories):
        meaning = _meaning(category.strip(), loose_number(category.strip()))
        if meaning is not None:
            words.setdefault(meaning, code)
    return words


def _numbers(column: pd.Series, entry: Numeric, where: str) -> Cells:
    values, missing = floats_of(column, where)
    unread = np.isnan(values)
    nearby = np.clip(values, entry.low, entry.high) + 0.0
    whole = "whole number" if entry.kind == "integer" else "number"
    if entry.kind == "integer":
        nearby = np.rint(nearby)
    wrong = ~unread & (nearby != values)
    no_number = unread & ~missing
    fault = wrong | no_number | (missing & (not entry.missing))
    kept = np.where(wrong, math.nan, values + 0.0)
    expected = f"a {whole} in [{entry.low:g}, {entry.high:g}]" + (" or nothing" if entry.missing else "")
    return Cells(kept, nearby, missing, fault, fault & ~wrong & ~(no_number & entry.missing), expected)


def _instants(column: pd.Series, entry: Datetime, where: str) -> Cells:
    micros, missing = instants_of(column, where)
    step = MICROSECONDS[entry.resolution]
    low, high = datetime_bounds(entry)
    unread = micros == _NOTHING
    floored = np.where(unread, _NOTHING, micros // step * step)
    nearby = np.where(unread, _NOTHING, np.clip(floored, low, high))
    wrong = ~unread & (nearby != floored)
    no_date = unread & ~missing
    fault = wrong | no_date | (missing & (not entry.missing))
    expected = f"an ISO 8601 date in [{entry.low}, {entry.high}]" + (" or nothing" if entry.missing else "")
    kept = np.where(wrong, _NOTHING, floored)
    return Cells(_stamps(kept), _stamps(nearby), missing, fault, fault & ~wrong & ~(no_date & entry.missing), expected)


def _choices(column: pd.Series, entry: Categorical | Boolean, where: str, lookup: dict[Hashable, int], allowed: str) -> Cells:
    read = mapped(column, where, lambda cell: _truth(cell) if isinstance(entry, Boolean) else _code(cell, lookup))
    missing = np.array([cell is None for cell in read], dtype=bool)
    codes = np.array([-1 if cell is None else cell for cell in read], dtype=np.int64)
    unknown = (codes < 0) & ~missing
    fault = unknown | (missing & (not entry.missing))
    values: Any
    if isinstance(entry, Boolean):
        values = pd.array(codes == 1, dtype="boolean")
        values[codes < 0] = pd.NA
    else:
        values = pd.Categorical.from_codes(codes, dtype=dtype_of(entry))
    expected = allowed + (" or nothing" if entry.missing else "")
    return Cells(values, values, missing, fault, fault & ~(unknown & entry.missing), expected)


def _number(cell: Any) -> float:
    if isinstance(cell, str):
        number = loose_number(cell.strip())
        return _WORDS.get(cell.strip().lower(), math.nan) if number is None else _float(number)
    if isinstance(cell, (dt.date, dt.timedelta)):
        return math.nan
    return _float(cell)


def _float(number: Any) -> float:
    """Infinite where it is too large to be one, as a text of so many digits is."""
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, number)
    except (TypeError, ValueError):
        return math.nan


def _truth(cell: Any) -> int:
    word = spelled(cell).strip().lower()
    number = plain_number(word)
    return 1 if word in TRUE or number == 1 else 0 if word in FALSE or number == 0 else -1


def _code(cell: Any, lookup: dict[Hashable, int]) -> int:
    """By the word as it stands; else by the number or truth value it spells, since a column's type is no cell's own word."""
    word = spelled(cell)
    bare = word.strip()
    return next((lookup[key] for key in (word, bare, _meaning(bare, plain_number(bare))) if key in lookup), -1)


def _meaning(word: str, number: int | float | None) -> Hashable | None:
    if number is not None:
        return ("number", number)
    return ("truth", _WORDS[word.lower()]) if word.lower() in _WORDS else None


def instants_of(column: pd.Series, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds since 1970 in UTC, NaT's number where there is no date, and which cells came empty."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if pd.api.types.is_datetime64_dtype(column.dtype):
        micros = column.to_numpy().astype("datetime64[us]").view(np.int64)
        return micros, micros == _NOTHING
    cells = mapped(column, where, _moment)
    missing = np.array([cell is None for cell in cells], dtype=bool)
    return np.array([_NOTHING if cell is None else cell for cell in cells], dtype=np.int64), missing


def _moment(cell: Any) -> int:
    if isinstance(cell, pd.Timestamp):
        cell = cell.to_pydatetime(warn=False)
    if isinstance(cell, dt.datetime):
        return _microseconds(in_utc(cell))
    if isinstance(cell, dt.date):
        return _microseconds(dt.datetime(cell.year, cell.month, cell.day))
    moment = instant(cell.strip()) if isinstance(cell, str) else None
    return _NOTHING if moment is None else _microseconds(moment)


def _microseconds(moment: dt.datetime) -> int:
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def _stamps(micros: np.ndarray) -> np.ndarray:
    return micros.astype(np.int64).view("datetime64[us]")


def _listed(categories: tuple[str, ...]) -> str:
    return "one of " + ", ".join(map(repr, categories[:8])) + (f" … ({len(categories)} in all)" if len(categories) > 8 else "")
