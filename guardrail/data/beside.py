"""What is known beside the content of a record: cast and drafted as the columns of a table are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError, nearest
from ..vocabulary.schema import Schema
from .cast import OnError, cast_rows
from .draft import draft_schema

Judge = Callable[[Any], Any]
"""A cell of the content in, the cell as the schema has it out; a DataError says what is wrong with it."""


def cast_content(frame: pd.DataFrame, schema: Schema, judge: Judge, *, on_error: OnError, where: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The content column first, the schema's columns after it, and (rows,) bool: which rows of the raw frame they are."""
    assert schema.content is not None  # noqa: S101 - tables have a cast of their own
    name = schema.content.column
    if name not in frame.columns:
        raise DataError(f"{where}: no column {name!r}, the content of {schema.modality} records")
    cells = np.empty(len(frame), dtype=object)
    good = np.ones(len(frame), dtype=bool)
    for row, cell in enumerate(frame[name]):
        try:
            cells[row] = judge(cell)
        except DataError as fault:
            if on_error != "skip":
                raise DataError(f"{where}, record {row + 1}: {fault}; mend the data, or set on_error to skip") from None
            good[row] = False
    beside, obeys = _cast_beside(frame.drop(columns=name), schema, on_error=on_error, where=where)
    kept = good & obeys
    beside.insert(0, name, pd.Series(cells[obeys], dtype=object))
    return beside[good[obeys]].reset_index(drop=True), kept


def _cast_beside(frame: pd.DataFrame, schema: Schema, *, on_error: OnError, where: str) -> tuple[pd.DataFrame, np.ndarray]:
    if schema.columns:
        return cast_rows(frame, schema, on_error=on_error, where=where)
    cast_rows(frame.iloc[:0], schema, on_error=on_error, where=where)  # refuses columns that the schema does not know
    return pd.DataFrame(index=pd.RangeIndex(len(frame))), np.ones(len(frame), dtype=bool)


def draft_beside(frame: pd.DataFrame, content: str, *, target: str | None, sensitive: tuple[str, ...], unit: str) -> dict[str, Any]:
    """The entries of a schema that tell of the columns beside the content, read from the records."""
    beside = frame.drop(columns=content)
    if list(beside.columns) not in ([], [unit]):
        drafted = draft_schema(beside, target=target, sensitive=sensitive, unit=unit)
        return {"target": target, "sensitive": sensitive, "unit": unit, "columns": drafted.columns}
    for role, name in (("target", target), *(("sensitive", name) for name in sensitive), ("unit", None if unit == "row" else unit)):
        if name is not None and name not in beside.columns:
            raise DataError(
                f"{role}: no column {name!r} beside the {content}; {nearest(name, map(str, beside.columns)) or 'there is none'}"
            )
    return {"unit": unit}
