"""Images in and out: a folder of PNG or JPEG files, whose subfolders are classes, one such file, or an `.npz` with `images`.

In an `.npz`: `images` uint8 (records, height, width[, 1 or 3]), and any other array of one entry per record as a column.
Links inside a folder are not followed, hidden files are not seen.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ..arrays import array_names, as_column, columns_beside, plain_array, read_arrays, shown_path, write_arrays
from .pixels import decoded, pillow

_SINGLE = (".png", ".jpg", ".jpeg")
SUFFIXES = (".npz", *_SINGLE)


def holds_images(path: Path) -> bool:
    """An `.npz` that is broken counts, so that reading it says what is wrong."""
    if path.is_dir():
        return bool(_found(path, first=True))
    if path.suffix.lower() == ".npz" and path.is_file():
        names = array_names(path)
        return names is None or "images" in names
    return path.suffix.lower() in _SINGLE and path.is_file()


def read_images(path: Path, *, on_error: str = "fail") -> pd.DataFrame:
    """Column `image`; `label` from the subfolders; the columns of an `.npz`."""
    where = shown_path(path)
    if path.suffix.lower() == ".npz" and not path.is_dir():
        return unpacked(path, where)
    files = _found(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{where}: no PNG or JPEG file in this folder")
    labels = [file.relative_to(path).parts[0] if len(file.relative_to(path).parts) > 1 else "" for file in files]
    if "" in labels and any(labels):
        loose = files[labels.index("")]
        raise DataError(
            f"{where}: {shown_path(Path(loose.name))} lies beside the subfolders, which are classes; put all into them, or none"
        )
    images, kept = _decoded(files, on_error)
    frame = pd.DataFrame({"image": as_column(images)})
    if any(labels):
        frame["label"] = pd.Series([label for label, good in zip(labels, kept, strict=True) if good], dtype=object)
    frame.attrs["skipped"] = len(files) - len(images)
    return frame


def unpacked(source: Path | IO[bytes], where: str) -> pd.DataFrame:
    """The frame of an `.npz`."""
    arrays = read_arrays(source, where)
    if "images" not in arrays:
        raise DataError(f"{where}: no array 'images'; it holds {', '.join(map(repr, arrays))}")
    images = arrays.pop("images")
    if images.dtype != np.uint8:
        raise DataError(f"{where}: images of {images.dtype}; save them as uint8 pixels from 0 to 255")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)) or 0 in images.shape[1:]:
        raise DataError(f"{where}: images of shape {images.shape}; expected (records, height, width) or (records, height, width, 1 or 3)")
    columns = columns_beside(arrays, len(images), where)
    cells = list(images if images.ndim == 4 else images[:, :, :, None])
    return pd.DataFrame({"image": as_column(cells), **columns})


def write_images(frame: pd.DataFrame, path: Path, schema: Schema) -> None:
    """`.npz`, or a folder of PNGs with one subfolder for every value of the target; the whole of it or nothing."""
    if path.suffix.lower() == ".npz":
        assert schema.image is not None  # noqa: S101 - the schema of images
        shape = (schema.image.height, schema.image.width, schema.image.channels)
        images = np.stack(list(frame["image"])) if len(frame) else np.zeros((0, *shape), np.uint8)
        write_arrays({"images": images} | {str(name): plain_array(frame[name]) for name in frame.columns if name != "image"}, path)
    elif path.suffix:
        raise DataError(f"{shown_path(path)}: many images are written to an .npz file or a folder (a name without a suffix)")
    else:
        _write_folder(frame, path, schema.target if schema.target in frame.columns else None)


def _write_folder(frame: pd.DataFrame, path: Path, target: str | None) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{shown_path(path)}: is there and not an empty folder; name another")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=".images-"))
        for row, cell in enumerate(frame["image"]):
            folder = temporary / _folder_name(frame[target].iloc[row]) if target else temporary
            folder.mkdir(exist_ok=True)
            pillow(cell).save(folder / f"{row:06d}.png")
        temporary.chmod(0o755)
        temporary.replace(path)
    except OSError as fault:
        raise DataError(f"{shown_path(path)}: cannot be written: {fault.strerror or fault}; name another folder") from None
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary)


def _folder_name(label: object) -> str:
    """A class as the name of a folder, and never as a way out of it."""
    if pd.isna(label):  # type: ignore[call-overload]
        return "missing"
    name = str(label)
    if name in (".", "..") or name.startswith(".") or any(sign in name for sign in "/\\\0") or len(name.encode()) > 200:
        raise DataError(f"the class {name!r} cannot be the name of a folder; write an .npz file")
    return name


def _decoded(files: list[Path], on_error: str) -> tuple[list[np.ndarray], list[bool]]:
    images: list[np.ndarray] = []
    kept: list[bool] = []
    for file in files:
        try:
            images.append(decoded(_content(file)))
        except DataError as fault:
            if on_error != "skip":
                more = "" if len(files) == 1 else f" (one of {len(files)} images; on_error: skip leaves broken ones out)"
                raise DataError(f"{shown_path(file)}: {fault}{more}") from None
        kept.append(len(images) > sum(kept))
    if not images:
        raise DataError(f"none of the {len(files)} images could be read; the first is {shown_path(files[0])}")
    return images, kept


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as fault:
        raise DataError(f"cannot be read: {fault.strerror or fault}") from None


def _found(folder: Path, *, first: bool = False) -> list[Path]:
    """Image files below the folder in the order of their names; just one where only the question is whether there are any."""
    found = []
    for place, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place) / name for name in sorted(files) if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in _SINGLE and path.is_file() and not path.is_symlink()]
        if first and found:
            break
    return sorted(found)


def png(image: np.ndarray) -> bytes:
    """(height, width, channels) uint8 as a PNG file."""
    stream = io.BytesIO()
    pillow(image).save(stream, "PNG")
    return stream.getvalue()
