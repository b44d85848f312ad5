"""The `.ts` files of sktime and the UCR archive: a header of `@` lines, then one series per line.

    @problemName ItalyPowerDemand
    @classLabel true 1 2
    @data
    0.1,0.2,?,0.4:1.0,1.1,1.2,1.3:2       two channels, one missing value, class 2

Format: https://www.sktime.net/en/stable/api_reference/file_specifications/ts.html
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...vocabulary.errors import DataError
from ..arrays import as_column
from ..cells import loose_number, shown


def parse_ts(content: bytes, where: str, *, on_error: str = "fail") -> pd.DataFrame:
    """Columns `values` and, where the header says that there are classes, `label`."""
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as fault:
        raise DataError(f"{where}: not UTF-8 text (byte {fault.start}); is it a .ts file?") from None
    labelled, first = _header(lines, where)
    cells: list[np.ndarray] = []
    labels, skipped = [], 0
    for number, line in enumerate(lines[first:], start=first + 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            cell, label = _record(line, labelled=labelled, channels=cells[0].shape[1] if cells else None)
        except DataError as fault:
            if on_error != "skip":
                raise DataError(f"{where}, line {number}: {fault}") from None
            skipped += 1
            continue
        cells.append(cell)
        labels.append(label)
    if not cells:
        raise DataError(f"{where}: no series after @data" + (f" could be read, {skipped} are broken" if skipped else ""))
    frame = pd.DataFrame({"values": as_column(cells)} | ({"label": pd.Series(labels, dtype=object)} if labelled else {}))
    frame.attrs["skipped"] = skipped
    return frame


def _header(lines: list[str], where: str) -> tuple[bool, int]:
    """Whether records end in a class, and the first line of data."""
    said: dict[str, str] = {}
    for number, line in enumerate(lines):
        words = line.strip().split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        if not words[0].startswith("@"):
            raise DataError(f"{where}, line {number + 1}: {shown(line)} before @data; a .ts file begins with @ lines")
        if words[0].lower() == "@data":
            break
        said[words[0].lower()] = words[1].lower() if len(words) > 1 else ""
    else:
        raise DataError(f"{where}: no line @data; the file is cut off or no .ts file")
    if said.get("@timestamps", "false").startswith("true"):
        raise DataError(f"{where}: has time stamps, which are not read; write one value per step")
    return any(said.get(key, "").startswith("true") for key in ("@classlabel", "@targetlabel")), number + 1


def _record(line: str, *, labelled: bool, channels: int | None) -> tuple[np.ndarray, str]:
    fields = line.strip().split(":")
    label = fields.pop().strip() if labelled else ""
    if not fields or (channels is not None and len(fields) != channels):
        raise DataError(f"{len(fields)} channels{' before the class' if labelled else ''}; expected {channels or 'one at least'}")
    columns = [[_value(word.strip()) for word in field.split(",")] for field in fields]
    if len({len(column) for column in columns}) > 1:
        raise DataError(f"channels of {', '.join(str(len(column)) for column in columns)} steps; all of one series need the same")
    return np.array(columns).T, label


def _value(word: str) -> float:
    if word in ("?", "NaN", "nan"):
        return np.nan
    number = loose_number(word)
    if number is None:
        raise DataError(f"{shown(word)} is no number; a missing value is ?")
    return float(number)
