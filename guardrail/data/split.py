"""Train and holdout by unit of privacy, so that nobody is in both.

Where a unit goes is a function of that unit and the seed alone: a keyed hash of its name, or of the row's content and
of how many equal rows came before it. A name is text, to the last character: `012` and `12`, `1.10` and `1.1` are two
units, the number 12 and the text `12` one. Adding or removing one record moves no other, so the guarantee for the training
part is one for the source; and the order of the rows does not matter. The size of the holdout is therefore binomial.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError, nearest
from ..vocabulary.seeds import entropy
from .canonical import row_digests
from .cells import mapped, named, shown, spelled


def held_out(frame: pd.DataFrame, *, unit: str, holdout: float, seed: int) -> np.ndarray:
    """(rows,) bool: which rows are kept from training; none where `holdout` is 0."""
    if holdout <= 0:
        return np.zeros(len(frame), dtype=bool)
    return uniform_of_units(frame, unit=unit, purpose="split", seed=seed) < holdout


def uniform_of_units(frame: pd.DataFrame, *, unit: str, purpose: str, seed: int) -> np.ndarray:
    """(rows,) float in [0, 1): a number for every unit, by its keyed hash; independent for every purpose."""
    key = _key(seed, purpose)
    names = _numbered(row_digests(frame, key)) if unit == "row" else _units(frame, unit, key)
    return np.array([int.from_bytes(name[:8], "big") * 2.0**-64 for name in names])


def rows_of_units(frame: pd.DataFrame, *, unit: str, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of every unit at most so many rows, those whose keyed hashes are smallest: a choice that depends on that unit's rows only.

    Returns:
        (rows,) bool, which are kept; and (rows,) int, whose each is: numbers from 0 without further meaning.
    """
    if unit == "row":
        return np.ones(len(frame), dtype=bool), np.arange(len(frame))
    key = _key(seed, "one row per unit")
    owners: dict[bytes, int] = {}
    names = np.array([owners.setdefault(name, len(owners)) for name in _units(frame, unit, key)], dtype=np.int64)
    order = sorted(range(len(frame)), key=list(zip(names.tolist(), row_digests(frame, key), strict=True)).__getitem__)
    kept = np.zeros(len(frame), dtype=bool)
    kept[np.array(order, dtype=np.int64)[places_in(names[order]) < most]] = True
    return kept, names


def places_in(names: np.ndarray) -> np.ndarray:
    """(rows,) int: how many earlier rows have the same name."""
    return pd.Series(names).groupby(names).cumcount().to_numpy()


def _key(seed: int, purpose: str) -> bytes:
    return entropy(seed, purpose).to_bytes(16, "big")


def _units(frame: pd.DataFrame, unit: str, key: bytes) -> list[bytes]:
    frame = named(frame)
    if unit not in frame.columns:
        raise DataError(f"unit of privacy: no column {unit!r}; {nearest(unit, frame.columns) or 'name a column, or row'}")
    column = frame[unit]
    exact = _told_apart(column)
    names = mapped(column, f"unit of privacy, column {unit!r}", lambda cell: _name(cell, exact))
    missing = np.flatnonzero([name is None for name in names])
    if len(missing):
        raise DataError(
            f"unit of privacy: row {missing[0] + 1} has no {unit!r}, so nobody knows whose record it is; every row needs a unit: "
            f"fill it in or drop the row ({len(missing)} such rows)"
        )
    return [hmac.digest(key, b"unit" + name, "sha256") for name in names]


def _told_apart(column: pd.Series) -> int:
    """The whole number from which on the column's floats stand for more than one."""
    kind = getattr(column.dtype, "numpy_dtype", column.dtype)
    return int(2 ** (np.finfo(kind if pd.api.types.is_float_dtype(column.dtype) else float).nmant + 1))


def _name(cell: Any, told_apart: int) -> bytes:
    """The exact text of a unit: never by way of a float, in which long numbers fall together."""
    if isinstance(cell, (float, np.floating)) and not abs(float(cell)) < told_apart:
        raise DataError(
            f"unit of privacy: {shown(cell)} is kept as a floating-point number, which cannot tell such long numbers apart, "
            "so different persons may already be one; read that column as text"
        )
    return spelled(cell).strip().encode("utf-8", "surrogatepass")


def _numbered(rows: list[bytes]) -> list[bytes]:
    """Equal rows told apart by how many came before: they fall independently, and which is which does not matter."""
    seen: Counter[bytes] = Counter()
    named = []
    for row in rows:
        seen[row] += 1
        named.append(row if seen[row] == 1 else hashlib.sha256(row + b"%d" % seen[row]).digest())
    return named
