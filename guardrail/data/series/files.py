"""Series in and out: `.npz`, `.ts`, and long tables (CSV or Parquet) of one row per series and step.

In an `.npz`: `values` (records, steps[, channels]) floats, NaN where missing; or, where lengths differ, `values` (all steps,
channels) end to end with `lengths` (records,). `channels` may name the channels; other arrays are columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ...vocabulary.content import SeriesContent
from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ..arrays import array_names, as_column, columns_beside, plain_array, read_arrays, shown_path, write_arrays
from ..cells import shown
from ..kinds import floats_of, instants_of
from ..tables import SUFFIXES as TABLES
from ..tables import write_table
from .text import parse_ts

SUFFIXES = (".npz", ".ts")
ID, STEP = "series", "step"


def holds_series(path: Path) -> bool:
    if not path.is_file():
        return False
    return path.suffix.lower() == ".ts" or (path.suffix.lower() == ".npz" and "values" in (array_names(path) or ()))


def read_series(path: Path, *, on_error: str = "fail") -> pd.DataFrame:
    """Column `values`, and what the file says beside it."""
    if path.suffix.lower() == ".npz":
        return _unpacked(read_arrays(path, shown_path(path)), shown_path(path))
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise DataError(f"{shown_path(path)}: cannot be read: {fault.strerror or fault}") from None
    return parse_ts(content, shown_path(path), on_error=on_error)


def _unpacked(arrays: dict[str, np.ndarray], where: str) -> pd.DataFrame:
    if "values" not in arrays:
        raise DataError(f"{where}: no array 'values'; it holds {', '.join(map(repr, arrays))}")
    values, lengths, names = arrays.pop("values"), arrays.pop("lengths", None), arrays.pop("channels", None)
    if values.dtype.kind not in "fiu":
        raise DataError(f"{where}: values of {values.dtype}; save them as floats with NaN where missing")
    cells = _even(values, where) if lengths is None else _uneven(values, lengths, where)
    frame = pd.DataFrame({"values": as_column(cells), **columns_beside(arrays, len(cells), where)})
    if names is not None:
        frame.attrs["channels"] = _named(names, cells, where)
    return frame


def _even(values: np.ndarray, where: str) -> list[np.ndarray]:
    if values.ndim not in (2, 3) or 0 in values.shape[1:]:
        raise DataError(f"{where}: values of shape {values.shape}; expected (records, steps) or (records, steps, channels), or add lengths")
    return list((values if values.ndim == 3 else values[:, :, None]).astype(np.float64))


def _uneven(values: np.ndarray, lengths: np.ndarray, where: str) -> list[np.ndarray]:
    if values.ndim not in (1, 2) or lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise DataError(f"{where}: with lengths, values are (all steps, channels), met {values.shape}, and lengths whole numbers")
    if (lengths < 1).any() or int(lengths.sum(dtype=object)) != len(values):
        raise DataError(f"{where}: lengths must be at least 1 and add up to the {len(values)} steps of values")
    whole = (values if values.ndim == 2 else values[:, None]).astype(np.float64)
    return np.split(whole, np.cumsum(lengths.astype(np.int64))[:-1]) if len(lengths) else []


def _named(names: np.ndarray, cells: list[np.ndarray], where: str) -> list[str]:
    width = cells[0].shape[1] if cells else len(names)
    if names.dtype.kind != "U" or names.shape != (width,) or len(set(names.tolist())) != width:
        raise DataError(f"{where}: channels must be {width} different names")
    return [str(name) for name in names]


def long_table(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """A table of one row per series and step (columns `series`, `step`, the channels) as one row per series.

    Other columns say the same in all rows of a series. Steps are whole numbers without a gap, or dates in any order.
    """
    assert schema.series is not None  # noqa: S101 - asked for series only
    channels = list(schema.series.channels)
    lacking = [name for name in (ID, STEP, *channels) if name not in frame.columns]
    if lacking:
        raise DataError(f"a table of series needs the columns {ID!r}, {STEP!r} and one for each channel; it lacks {lacking[0]!r}")
    if frame[ID].isna().any():
        raise DataError(f"row {int(frame[ID].isna().to_numpy().argmax()) + 1}: no {ID!r}, so nobody knows which series it belongs to")
    values = np.column_stack([_numbers(frame[name], name) for name in channels])
    order, whole = _order(frame[STEP])
    others = [name for name in frame.columns if name not in (ID, STEP, *channels)]
    cells, firsts = [], []
    for name, taken in frame.groupby(ID, sort=False).indices.items():
        rows = np.asarray(taken)
        rows = rows[np.argsort(order[rows], kind="stable")]
        _check_series(frame, name, order[rows], rows, others, whole=whole)
        cells.append(values[rows])
        firsts.append(int(rows.min()))
    return pd.DataFrame({"values": as_column(cells)}).join(frame[others].iloc[firsts].reset_index(drop=True))


def _numbers(column: pd.Series, name: str) -> np.ndarray:
    values, missing = floats_of(column, f"column {name!r}")
    if (wrong := np.isnan(values) & ~missing).any():
        row = int(wrong.argmax())
        raise DataError(
            f"row {row + 1}, column {name!r}: {shown(column.iloc[row])} is no number; leave it empty where nothing was measured"
        )
    return values


def _order(column: pd.Series) -> tuple[np.ndarray, bool]:
    """What to sort the steps by, and whether they are counted."""
    steps, _ = floats_of(column, f"column {STEP!r}")
    if not np.isnan(steps).any():
        return steps, bool((steps == np.rint(steps)).all())
    moments, _ = instants_of(column, f"column {STEP!r}")
    nothing = moments == np.iinfo(np.int64).min
    if nothing.any():
        row = int(nothing.argmax())
        raise DataError(f"row {row + 1}, column {STEP!r}: {shown(column.iloc[row])}; expected a number, or an ISO 8601 date in every row")
    return moments, False


def _check_series(frame: pd.DataFrame, name: object, steps: np.ndarray, rows: np.ndarray, others: list[str], *, whole: bool) -> None:
    jumps = np.diff(steps)
    if (jumps == 0).any():
        raise DataError(f"series {shown(name)}: a step is there twice; a series has one row for each")
    if whole and (jumps > 1).any():
        at = steps[int((jumps > 1).argmax())]
        raise DataError(f"series {shown(name)}: no row after step {at:g}; write the rows in between, with empty cells")
    for other in others:
        if frame[other].iloc[rows].nunique(dropna=False) > 1:
            raise DataError(f"series {shown(name)}: column {other!r} changes within the series; declare it a channel, or leave it out")


def write_series(frame: pd.DataFrame, path: Path, schema: Schema) -> None:
    """`.npz`, or a long table by its suffix."""
    assert schema.series is not None  # noqa: S101 - the schema of series
    if path.suffix.lower() == ".npz":
        write_arrays(_packed(frame, schema.series), path)
    elif path.suffix.lower() in TABLES:
        write_table(_long(frame, schema.series), path)
    else:
        raise DataError(f"{shown_path(path)}: series are written to .npz, .csv or .parquet")


def _packed(frame: pd.DataFrame, content: SeriesContent) -> dict[str, np.ndarray]:
    cells = list(frame["values"])
    names = np.array(list(content.channels), dtype=str)
    none = np.zeros((0, len(names)))
    arrays = {str(name): plain_array(frame[name]) for name in frame.columns if name != "values"}
    if content.variable:
        lengths = np.array([len(cell) for cell in cells], dtype=np.int64)
        return {"values": np.concatenate([none, *cells]), "lengths": lengths, "channels": names, **arrays}
    whole = np.stack(cells) if cells else np.zeros((0, content.steps, len(names)))
    return {"values": whole, "channels": names, **arrays}


def _long(frame: pd.DataFrame, content: SeriesContent) -> pd.DataFrame:
    lengths = [len(cell) for cell in frame["values"]]
    rows = np.repeat(np.arange(len(frame)), lengths)
    values = np.concatenate([np.zeros((0, len(content.channels))), *frame["values"]])
    steps = np.concatenate([np.zeros(0, dtype=np.int64), *map(np.arange, lengths)])
    table = pd.DataFrame({ID: rows, STEP: steps} | {name: values[:, i] for i, name in enumerate(content.channels)})
    return table.join(frame.drop(columns="values").iloc[rows].reset_index(drop=True))
