"""Built-in tables: files without a first line of names, their oddities told by the facts beside them."""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...vocabulary.schema import Numeric
from ..csv_text import parse_csv
from ..kinds import dtype_of, floats_of
from ..schema_file import parse_schema


def read_builtin(facts: Mapping[str, Any], folder: Path) -> pd.DataFrame:
    """All files one after the other; numbers as numbers, for people who compute with them."""
    columns = parse_schema(facts["schema"], where="built-in schema").columns
    frame = pd.concat([_part(folder / file, facts, list(columns)) for file in facts["files"]], ignore_index=True)
    numbers = {name: dtype_of(entry) for name, entry in columns.items() if isinstance(entry, Numeric)}
    return frame.assign(**{name: pd.Series(floats_of(frame[name], name)[0]).astype(kind) for name, kind in numbers.items()})


def _part(path: Path, facts: Mapping[str, Any], columns: list[str]) -> pd.DataFrame:
    lines = lzma.decompress(path.read_bytes()).decode().splitlines()
    kept = [line for line in lines if line and not line.startswith(facts["skip_lines_from"])]
    text = "\n".join(line.removesuffix(facts["strip_after_label"]).replace(", ", ",") for line in kept)
    return parse_csv(text.encode(), path.name, names=columns)
