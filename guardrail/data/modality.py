"""The modalities by name: how their files are read and written, their records checked, drafted, cut and shown.

A modality is one package beside this file with an object `MODALITY`; it is imported when asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from ..vocabulary.content import Modality as Name
from ..vocabulary.errors import DataError
from ..vocabulary.schema import Schema
from .cast import OnError
from .codec import Codec

MODALITIES: dict[Name, str] = {"tabular": ".tabular", "image": ".image", "text": ".text", "music": ".music", "series": ".series"}


class Modality(Protocol):
    """What the stages ask of a modality. Frames hold the content in one column (`image`, `text`, `notes`, `values`), what is
    known beside it in others; a frame is *raw* as read from a file and *cast* once it obeys a schema."""

    name: ClassVar[Name]
    samples: ClassVar[str]
    """The file (or folder) in a run's `samples/` that `write` fills: `synthetic.npz`."""
    floor: ClassVar[str]
    """The family shown beside every model of this modality."""
    suffixes: ClassVar[tuple[str, ...]]
    """Of files that can be of this modality, lower case."""

    def reads(self, path: Path) -> bool:
        """Whether this file or folder is one of this modality: by its suffix, or what a folder holds."""
        ...

    def read(self, path: Path, *, on_error: OnError = "fail") -> pd.DataFrame:
        """The raw frame. A broken file among many is named, or with `on_error='skip'` left out and counted in `frame.attrs['skipped']`."""
        ...

    def builtin(self, facts: Mapping[str, Any], folder: Path) -> pd.DataFrame:
        """The raw frame of a built-in data set from the facts of its YAML file; `folder` holds the files that we ship."""
        ...

    def draft(self, frame: pd.DataFrame, *, target: str | None, sensitive: tuple[str, ...], unit: str) -> Schema:
        """A schema read from the records; every entry says `source: data`."""
        ...

    def cast(self, frame: pd.DataFrame, schema: Schema, *, on_error: OnError, where: str) -> tuple[pd.DataFrame, np.ndarray]:
        """The records that obey the schema, and which rows of the raw frame they are (rows,) bool. DataError names the first fault."""
        ...

    def pieces(self, frame: pd.DataFrame, schema: Schema, *, most: int | None) -> pd.DataFrame:
        """Records no longer than the schema's length: a long one becomes several rows, at most so many; the index counts the records
        of `frame`, so that pieces of one have one name."""
        ...

    def codec(self, schema: Schema) -> Codec: ...

    def write(self, frame: pd.DataFrame, path: Path, schema: Schema) -> None:
        """A cast frame to `path`, by its suffix; the whole file or folder, or nothing."""
        ...

    def picture(self, frame: pd.DataFrame, schema: Schema) -> bytes:
        """A PNG that shows some of the records: a grid of images, piano rolls, curves, passages of text."""
        ...


def modality(name: Name) -> Modality:
    found: Modality = importlib.import_module(MODALITIES[name], __package__).MODALITY
    return found


def modality_of(path: Path) -> Modality:
    """The modality whose file or folder this is; a DataError that lists what can be read where it is none's."""
    for name in MODALITIES:
        if modality(name).reads(path):
            return modality(name)
    where = repr(str(path))[1:-1]
    if not path.exists():
        raise DataError(f"{where}: no such file or folder")
    if path.is_dir():
        raise DataError(f"{where}: a folder that holds neither images (PNG, JPEG) nor MIDI files; name a file, or a folder that does")
    suffixes = ", ".join(sorted({suffix for name in MODALITIES for suffix in modality(name).suffixes}))
    raise DataError(f"{where}: not data that this reads; it reads {suffixes}, and folders of images or MIDI files")
