"""Samples read as an outsider would: which obey the schema, and what is left of those that do not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..vocabulary.schema import Schema
from .cast import cast_leniently
from .modality import modality


def samples_of(raw: pd.DataFrame, schema: Schema, *, where: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The cast samples, and (records,) bool: which obeyed the schema as they came.

    A cell of a table that contradicts it becomes missing; an image or a melody that does is left out as a whole. What the
    schema knows beside the content may be absent: an unconditional generator draws images without their class.
    """
    if schema.modality == "tabular":
        return cast_leniently(raw, schema, where=where)
    return modality(schema.modality).cast(raw, seen_in(raw, schema), on_error="skip", where=where)


def seen_in(raw: pd.DataFrame, schema: Schema) -> Schema:
    """The schema without the columns beside the content that these records lack, and with those it does not know ignored."""
    columns = {name: entry for name, entry in schema.columns.items() if name in raw}
    content = schema.content.column if schema.content else None
    beside = tuple(str(name) for name in raw.columns if name not in columns and name not in (content, schema.unit))
    return schema.model_copy(
        update={
            "columns": columns,
            "target": schema.target if schema.target in columns else None,
            "sensitive": tuple(name for name in schema.sensitive if name in columns),
            "ignore": beside,
        }
    )
