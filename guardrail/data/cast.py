"""From a raw table to the schema's: its columns in its order, each with the one dtype of its kind.

    numeric float64 · integer Int64 · categorical, ordinal CategoricalDtype · boolean boolean · datetime datetime64[us], UTC

Nothing here learns from the records: every cell is judged by the schema alone, so a cast costs no privacy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError, nearest
from ..vocabulary.schema import Schema
from .cells import named, shown
from .kinds import Cells, dtype_of, read_cells

OnError = Literal["fail", "skip", "clip"]


@dataclass(frozen=True)
class _Read:
    columns: dict[str, Cells]
    raw: pd.DataFrame
    schema: Schema

    def faults(self) -> np.ndarray:
        """(rows,) bool: rows with a cell that contradicts the schema."""
        found = np.zeros(len(self.raw), dtype=bool)
        for cells in self.columns.values():
            found |= cells.fault
        return found

    def frame(self, *, clipped: bool = False) -> pd.DataFrame:
        columns = {name: cells.clipped if clipped else cells.values for name, cells in self.columns.items()}
        typed = {name: pd.Series(values).astype(dtype_of(self.schema.columns[name])) for name, values in columns.items()}
        return pd.DataFrame(typed, columns=pd.Index(list(typed), dtype=object))


def cast(frame: pd.DataFrame, schema: Schema, *, on_error: OnError = "fail", where: str = "data") -> pd.DataFrame:
    """The table as the schema has it.

    Args:
        on_error: what becomes of rows that contradict the schema: `fail` stops, `skip` leaves them out, `clip` moves
            each value to the nearest allowed one (or to missing, where the column may be) and stops where there is none.
    """
    return cast_rows(frame, schema, on_error=on_error, where=where)[0]


def cast_rows(frame: pd.DataFrame, schema: Schema, *, on_error: OnError = "fail", where: str = "data") -> tuple[pd.DataFrame, np.ndarray]:
    """The same, and (rows,) bool: which rows of `frame` it has, in their order."""
    read = _read(frame, schema, where)
    kept = ~read.faults()
    if on_error == "skip":
        return read.frame()[kept].reset_index(drop=True), kept
    _refuse(read, where, beyond_clipping=on_error == "clip")
    return read.frame(clipped=on_error == "clip"), np.ones(len(frame), dtype=bool)


def cast_leniently(frame: pd.DataFrame, schema: Schema, *, where: str = "data") -> tuple[pd.DataFrame, np.ndarray]:
    """The table with contradicting cells made missing, and (rows,) bool: which rows obeyed the schema as they came."""
    read = _read(frame, schema, where)
    return read.frame(), ~read.faults()


def _read(frame: pd.DataFrame, schema: Schema, where: str) -> _Read:
    frame = named(frame)
    _same_columns(frame, schema, where)
    return _Read({name: read_cells(frame[name], entry, name) for name, entry in schema.columns.items()}, frame, schema)


def _same_columns(frame: pd.DataFrame, schema: Schema, where: str) -> None:
    names = list(frame.columns)
    lacking = [name for name in schema.columns if name not in names]
    if lacking:
        hint = nearest(lacking[0], names) or f"there are {', '.join(map(repr, names[:12]))}"
        raise DataError(f"{where}: no column {lacking[0]!r}, which the schema declares ({len(lacking)} missing); {hint}")
    extra = [name for name in names if name not in schema.columns and name != schema.unit and name not in schema.ignore]
    if extra:
        listed = ", ".join(map(repr, extra[:5]))
        raise DataError(
            f"{where}: the schema does not know {listed} ({len(extra)} in all); declare them under columns, "
            "or leave them out on purpose with a line in the schema: ignore: [COLUMN, COLUMN]"
        )


def _refuse(read: _Read, where: str, *, beyond_clipping: bool = False) -> None:
    """Name the first contradicting cell, what was expected, and how many there are."""
    columns = {name: cells.beyond if beyond_clipping else cells.fault for name, cells in read.columns.items()}
    total = sum(int(fault.sum()) for fault in columns.values())
    if not total:
        return
    name, fault = next((name, fault) for name, fault in columns.items() if fault.any())
    row = int(np.flatnonzero(fault)[0])
    cells = read.columns[name]
    met = "a missing cell" if cells.missing[row] else shown(read.raw[name].iloc[row])
    more = f" ({total - 1} more such cells)" if total > 1 else ""
    remedy = "mend the data or the schema" if beyond_clipping else "mend the data or the schema, or set on_error to skip or clip"
    raise DataError(f"{where}, row {row + 1}, column {name!r}: {met}; expected {cells.expected}{more}; {remedy}")
