"""Arrays in `.npz` files, read as what a stranger sent: nothing is unpickled, and every size is checked before memory is taken for it.

Covered: object arrays (a pickle runs code), zip bombs, headers that claim more than their member holds, truncated files.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from ..vocabulary.documents import write_atomic
from ..vocabulary.errors import DataError

LARGEST = 4 * 2**30
"""Bytes of all arrays of one file."""
_BOMB = 64 * 2**20
_DENSEST = 400
"""Beyond `_BOMB` bytes no honest array is packed this many times smaller."""
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError, SyntaxError, KeyError)


def shown_path(path: Path) -> str:
    """For messages: control characters escaped."""
    return repr(str(path))[1:-1]


def array_names(path: Path) -> tuple[str, ...] | None:
    """The names of the arrays of an `.npz`; None where it is none."""
    try:
        with zipfile.ZipFile(path) as box:
            return tuple(name.removesuffix(".npy") for name in box.namelist())
    except _BROKEN:
        return None


def read_arrays(source: Path | IO[bytes], where: str) -> dict[str, np.ndarray]:
    """Every array of the file by its name, or a DataError."""
    try:
        with zipfile.ZipFile(source) as box:
            members = box.infolist()
            _check_sizes(members, where)
            return {member.filename.removesuffix(".npy"): _array(box, member, where) for member in members}
    except _BROKEN as fault:
        if isinstance(fault, DataError):
            raise
        told = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise DataError(f"{where}: not a whole .npz file ({told}); write it again with numpy.savez") from None


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """The whole file or the file as it was; equal arrays give equal bytes."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **dict(arrays))  # type: ignore[arg-type]
    try:
        write_atomic(path, stream.getvalue())
    except OSError as fault:
        raise DataError(f"{shown_path(path)}: cannot be written: {fault.strerror or fault}; name another file") from None


def as_column(cells: list[np.ndarray]) -> pd.Series:
    """One array per row. numpy would make equal shapes one large array of numbers."""
    column = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):
        column[row] = cell
    return pd.Series(column)


def repeated(frame: pd.DataFrame, times: list[int], column: str, cells: pd.Series) -> pd.DataFrame:
    """Every row so often, with new cells in one column; the index counts the rows of `frame`."""
    rows = np.repeat(np.arange(len(frame)), times)
    longer = frame.iloc[rows].set_axis(rows)
    longer[column] = cells.set_axis(rows)
    return longer


def columns_beside(arrays: dict[str, np.ndarray], records: int, where: str) -> dict[str, pd.Series]:
    """Arrays of one entry per record as columns; `labels`, the usual name, is the column `label`."""
    for name, array in arrays.items():
        if array.shape != (records,):
            raise DataError(
                f"{where}: array {name!r} of shape {array.shape} belongs to no column; expected one entry for each of {records} records"
            )
    named = {"label" if name == "labels" and "label" not in arrays else name: array for name, array in arrays.items()}
    return {name: pd.Series(array.astype(object) if array.dtype.kind == "U" else array) for name, array in named.items()}


def plain_array(column: pd.Series) -> np.ndarray:
    """A cast column as an array that needs no pickle: categories as text with `""` where missing, numbers with NaN."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.array(["" if pd.isna(cell) else str(cell) for cell in column], dtype=str)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column.to_numpy(dtype="datetime64[us]")
    if column.isna().any():
        return column.astype("Float64").to_numpy(dtype=float, na_value=math.nan)
    return column.to_numpy(dtype=bool if pd.api.types.is_bool_dtype(column.dtype) else column.dtype.name.lower())


def _check_sizes(members: list[zipfile.ZipInfo], where: str) -> None:
    """By what the directory of the archive says; `_array` holds every member to it."""
    names = [member.filename for member in members]
    if not members:
        raise DataError(f"{where}: holds no array")
    if len(set(names)) != len(names):
        raise DataError(f"{where}: an array is there twice; write the file again")
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if total > LARGEST:
        raise DataError(f"{where}: {total / 2**30:.1f} GiB of arrays, more than {LARGEST // 2**30}; split the file or use smaller records")
    if total > _BOMB and total > _DENSEST * packed:
        raise DataError(f"{where}: {packed} bytes that unpack to {total} are no data but a zip bomb; nothing was unpacked")


def _array(box: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> np.ndarray:
    name = repr(member.filename.removesuffix(".npy"))
    if not member.filename.endswith(".npy"):
        raise DataError(f"{where}: {name} is no array; an .npz holds .npy members only")
    with box.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if dtype.hasobject or dtype.kind not in "biufUM":
            raise DataError(f"{where}: array {name} holds {dtype}, which is not read (a pickle can run code); save plain numbers or text")
        content = member.file_size - stream.tell()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != content:
            raise DataError(f"{where}: array {name} claims shape {shape} of {dtype} and holds {content} bytes; write the file again")
        flat = np.frombuffer(stream.read(), dtype=dtype)  # read-only: cells of a frame are not changed in place
    return flat.reshape(shape, order="F" if fortran else "C")
