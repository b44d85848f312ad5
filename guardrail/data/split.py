"""Train and holdout by unit of privacy, so that nobody is in both.

Where a unit goes is a function of that unit and the seed alone: a keyed hash of its name, or of the row's content and
of how many equal rows came before it. Adding or removing one record moves no other, so the guarantee for the training
part is one for the source; and the order of the rows does not matter. The size of the holdout is therefore binomial.
"""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError, nearest
from ..vocabulary.seeds import entropy
from .canonical import row_digests


def held_out(frame: pd.DataFrame, *, unit: str, holdout: float, seed: int) -> np.ndarray:
    """(rows,) bool: which rows are kept from training; none where `holdout` is 0."""
    if holdout <= 0:
        return np.zeros(len(frame), dtype=bool)
    key = _key(seed, "split")
    names = _numbered(row_digests(frame, key)) if unit == "row" else _units(frame, unit, key)
    return np.array([int.from_bytes(name[:8], "big") < holdout * 2**64 for name in names], dtype=bool)


def speaks_for_its_unit(frame: pd.DataFrame, unit: str, seed: int) -> np.ndarray:
    """(rows,) bool: one row of every unit, the one whose keyed hash is smallest: a choice that depends on that unit's rows only.

    A guarantee per row of the result is then one per unit of the source.
    """
    key = _key(seed, "one row per unit")
    best: dict[bytes, tuple[bytes, int]] = {}
    for position, (name, row) in enumerate(zip(_units(frame, unit, key), row_digests(frame, key), strict=True)):
        best[name] = min(best.get(name, (row, position)), (row, position))
    taken = np.zeros(len(frame), dtype=bool)
    taken[[position for _, position in best.values()]] = True
    return taken


def _key(seed: int, purpose: str) -> bytes:
    return entropy(seed, purpose).to_bytes(16, "big")


def _units(frame: pd.DataFrame, unit: str, key: bytes) -> list[bytes]:
    if unit not in frame.columns:
        raise DataError(f"unit of privacy: no column {unit!r}; {nearest(unit, map(str, frame.columns)) or 'name a column, or row'}")
    names = frame[[unit]]
    if names[unit].isna().any():
        row = int(np.flatnonzero(names[unit].isna().to_numpy())[0]) + 1
        raise DataError(f"unit of privacy: row {row} has no {unit!r}, so nobody knows whose record it is; fill it in or drop the row")
    return row_digests(names, key)


def _numbered(rows: list[bytes]) -> list[bytes]:
    """Equal rows told apart by how many came before: they fall independently, and which is which does not matter."""
    seen: Counter[bytes] = Counter()
    named = []
    for row in rows:
        seen[row] += 1
        named.append(row if seen[row] == 1 else hashlib.sha256(row + b"%d" % seen[row]).digest())
    return named
