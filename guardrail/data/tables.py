"""Tables in and out: CSV (or .tsv) and Parquet, told apart by their suffix and checked against their content.

What is read is raw: names in Unicode NFC, cells as they stand (those of CSV are text), one missing value. Nothing is
unpickled, no metadata of pandas is trusted. Written CSV holds the data as they are: a cell that begins with = + - @ is a
formula to a spreadsheet program, which is the reader's setting to make (import as text), not ours to falsify the data for.
A text that spells a missing cell (`NA`, `None`) comes back missing from CSV; Parquet keeps it.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..vocabulary.documents import write_atomic
from ..vocabulary.errors import DataError
from .csv_text import checked_names, parse_csv

_TEXT = (".csv", ".tsv")
_PARQUET = (".parquet", ".pq")
SUFFIXES = _TEXT + _PARQUET
_ROW_LABELS = re.compile(r"__index_level_[0-9]+__")


def read_table(path: Path) -> pd.DataFrame:
    """The raw table, or a DataError that says what the file is instead."""
    content, where = _content(path), repr(str(path))[1:-1]
    if path.suffix.lower() in _TEXT:
        return parse_csv(content, where)
    return _parse_parquet(content, where)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """The whole table or the file as it was; CSV or Parquet by the suffix."""
    _check_suffix(path)
    checked_names([str(name) for name in frame.columns], str(path))
    content = _as_csv(frame, path) if path.suffix.lower() in _TEXT else _as_parquet(frame, path)
    try:
        write_atomic(path, content)
    except OSError as fault:
        raise DataError(f"{repr(str(path))[1:-1]}: cannot be written: {fault.strerror or fault}; name another file") from None


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        kind = path.suffix or "no suffix"
        raise DataError(f"{repr(str(path))[1:-1]}: {repr(kind)[1:-1]} is not a table this reads; use .csv or .parquet")


def _content(path: Path) -> bytes:
    shown = repr(str(path))[1:-1]
    try:
        if path.is_dir():
            raise DataError(f"{shown}: a folder; name one .csv or .parquet file")
        if not path.exists():
            raise DataError(f"{shown}: no such file")
        if not path.is_file():
            raise DataError(f"{shown}: not a regular file")
        _check_suffix(path)
        return path.read_bytes()
    except OSError as fault:
        raise DataError(f"{shown}: cannot be read: {fault.strerror or fault}") from None


def _parse_parquet(content: bytes, where: str) -> pd.DataFrame:
    if not content:
        raise DataError(f"{where}: the file is empty")
    if content[:4] != b"PAR1":
        raise DataError(f"{where}: not a Parquet file, whatever its name says; nothing in it was opened")
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
        names = checked_names(table.column_names, where)
        plain = [_plain(table.column(i), names[i], where) for i in range(len(names))]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{where}: a broken Parquet file ({str(fault).splitlines()[0][:200]}); write it again") from None
    kept = [i for i, name in enumerate(names) if not _ROW_LABELS.fullmatch(name)]
    if not kept:
        raise DataError(f"{where}: the table has no columns")
    frame: pd.DataFrame = pa.table([plain[i] for i in kept], names=[names[i] for i in kept]).to_pandas(types_mapper=_nullable.get)
    frame.columns = pd.Index([names[i] for i in kept], dtype=object)
    return frame


_nullable = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype(), pa.bool_(): pd.BooleanDtype()}
_WHOLE_DIGITS = 18
"""Decimals without a fraction and with at most so many digits are int64; longer ones stay as they are, to the last digit."""


def _plain(column: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    """The column as int64, uint64, float64, bool, timestamp, text, or decimal where only that holds whole numbers exactly."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_uint64(kind):
        return column
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return column.cast(pa.int64()) if kind.precision <= _WHOLE_DIGITS else column
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return column.cast(pa.float64(), safe=False)
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("s")).cast(pa.timestamp("us"))
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_boolean(kind):
        return column
    raise DataError(f"{where}: column {name!r} holds {kind}; a table has one number, text, date or truth value per cell")


def _as_csv(frame: pd.DataFrame, path: Path) -> bytes:
    mark = "\t" if path.suffix.lower() == ".tsv" else ","
    text: str = frame.to_csv(index=False, sep=mark, lineterminator="\n")
    if "\r" in text:  # a writer quotes the characters of its own line end only, and every reader ends a line at a bare \r
        text = frame.to_csv(index=False, sep=mark, lineterminator="\r\n")
    try:
        return text.encode()
    except UnicodeEncodeError as fault:
        raise DataError(f"{path}: a cell holds half a character ({fault.reason}), which UTF-8 cannot write") from None


def _as_parquet(frame: pd.DataFrame, path: Path) -> bytes:
    """Without pandas' own metadata: the same rows give the same bytes on every version of it."""
    stream = io.BytesIO()
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowException, UnicodeEncodeError) as fault:
        raise DataError(f"{path}: a column mixes kinds of values or holds objects ({fault}); cast the table first") from None
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()
