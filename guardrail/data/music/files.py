"""Music in and out: a folder of MIDI files, whose subfolders are classes, one such file, or an `.npz`.

In an `.npz`: one array of whole numbers per piece, (steps, voices) or (notes, 4), in the order of the file; or `notes` (records,
steps, voices); and any array of one entry per record as a column. Links inside a folder are not followed, hidden files are
not seen.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ..arrays import array_names, as_column, columns_beside, plain_array, read_arrays, shown_path, write_arrays
from .midi import LARGEST, midi_of, parse_midi

_SINGLE = (".mid", ".midi")
SUFFIXES = _SINGLE
_OTHERS = {"images", "values"}
"""Arrays by which an `.npz` holds images or series."""


def holds_music(path: Path) -> bool:
    if path.is_dir():
        return bool(_found(path, first=True))
    if path.suffix.lower() == ".npz" and path.is_file():
        names = array_names(path)
        return names is not None and not _OTHERS & set(names)
    return path.suffix.lower() in _SINGLE and path.is_file()


def read_music(path: Path, *, on_error: str = "fail") -> pd.DataFrame:
    """Column `notes`; `label` from the subfolders; the columns of an `.npz` and of files that guardrail wrote."""
    where = shown_path(path)
    if path.suffix.lower() == ".npz" and not path.is_dir():
        return unpacked(path, where)
    files = _found(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{where}: no .mid or .midi file in this folder")
    records = []
    for file in files:
        try:
            records.append(_record(file, path))
        except DataError as fault:
            if on_error != "skip":
                more = "" if len(files) == 1 else f" (one of {len(files)} files; on_error: skip leaves broken ones out)"
                raise DataError(f"{shown_path(file)}: {fault}{more}") from None
    if not records:
        raise DataError(f"none of the {len(files)} files could be read; the first is {shown_path(files[0])}")
    names = list(dict.fromkeys(name for _, columns in records for name in columns))
    beside = {name: pd.Series([columns.get(name) for _, columns in records], dtype=object) for name in names}
    frame = pd.DataFrame({"notes": as_column([score for score, _ in records]), **beside})
    frame.attrs["skipped"] = len(files) - len(records)
    return frame


def unpacked(path: Path, where: str) -> pd.DataFrame:
    """The frame of an `.npz`."""
    arrays = read_arrays(path, where)
    whole = arrays.pop("notes") if "notes" in arrays and arrays["notes"].ndim == 3 else None
    names = [name for name, array in arrays.items() if array.ndim == 2]
    cells = [arrays.pop(name) for name in names] if whole is None else list(whole)
    if not cells:
        raise DataError(f"{where}: no piece; expected arrays of shape (steps, voices) or (notes, 4), or notes (records, steps, voices)")
    if odd := [str(cell.dtype) for cell in cells if cell.dtype.kind not in "iu" or cell.dtype == np.uint64]:
        raise DataError(f"{where}: a piece of {odd[0]}; expected whole numbers")
    return pd.DataFrame({"notes": as_column([cell.astype(np.int64) for cell in cells]), **columns_beside(arrays, len(cells), where)})


def write_music(frame: pd.DataFrame, path: Path, schema: Schema) -> None:
    """`.npz`, or a folder of playable MIDI files; the whole of it or nothing. What is known beside a piece stands in its file."""
    if path.suffix.lower() == ".npz":
        pieces = {f"piece_{row:06d}": np.asarray(cell) for row, cell in enumerate(frame["notes"])}
        write_arrays(pieces | {str(name): plain_array(frame[name]) for name in frame.columns if name != "notes"}, path)
    elif path.suffix:
        raise DataError(f"{shown_path(path)}: pieces are written to an .npz file or a folder (a name without a suffix)")
    else:
        _write_folder(frame, path, schema)


def _record(file: Path, top: Path) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        if file.stat().st_size > LARGEST:
            raise DataError(
                f"{file.stat().st_size / 2**20:.1f} MiB, and {LARGEST // 2**20} is the limit for one piece; no such file is music"
            )
        score, columns = parse_midi(file.read_bytes())
    except OSError as fault:
        raise DataError(f"cannot be read: {fault.strerror or fault}") from None
    folders = file.relative_to(top).parts[:-1] if file != top else ()
    return score, columns | ({"label": folders[0]} if folders else {})


def _write_folder(frame: pd.DataFrame, path: Path, schema: Schema) -> None:
    assert schema.music is not None  # noqa: S101 - the schema of music
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{shown_path(path)}: is there and not an empty folder; name another")
    beside = frame.drop(columns="notes")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=".music-"))
        for row, cell in enumerate(frame["notes"]):
            columns = {str(name): _plain(beside[name].iloc[row]) for name in beside.columns}
            (temporary / f"{row:06d}.mid").write_bytes(midi_of(cell, schema.music, columns))
        temporary.chmod(0o755)
        temporary.replace(path)
    except OSError as fault:
        raise DataError(f"{shown_path(path)}: cannot be written: {fault.strerror or fault}; name another folder") from None
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary)


def _plain(cell: Any) -> Any:
    if pd.isna(cell):
        return None
    if hasattr(cell, "isoformat"):
        return cell.isoformat()
    return cell.item() if isinstance(cell, np.generic) else cell


def _found(folder: Path, *, first: bool = False) -> list[Path]:
    """MIDI files below the folder in the order of their names; just some where only the question is whether there are any."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place) / name for name in sorted(files) if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in _SINGLE and path.is_file() and not path.is_symlink()]
        if first and found:
            break
    return sorted(found)
