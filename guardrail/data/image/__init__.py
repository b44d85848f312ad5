"""Images: grey or RGB pixels, and what is known of each image beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ...vocabulary.content import ImageContent
from ...vocabulary.content import Modality as Name
from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ..beside import cast_content, draft_beside
from ..cast import OnError
from .builtin import read_builtin
from .codec import ImageCodec
from .files import SUFFIXES, holds_images, read_images, write_images
from .picture import grid
from .pixels import fitted

_LARGEST_DRAFT = 64
"""Pixels of the longer side of a drafted size: what trains without a GPU. A schema written by hand may say more."""


class Image:
    name: ClassVar[Name] = "image"
    samples: ClassVar[str] = "synthetic.npz"
    floor: ClassVar[str] = "marginals"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def reads(self, path: Path) -> bool:
        return holds_images(path)

    def read(self, path: Path, *, on_error: str = "fail") -> pd.DataFrame:
        return read_images(path, on_error=on_error)

    def builtin(self, facts: Mapping[str, Any], folder: Path) -> pd.DataFrame:
        return read_builtin(facts, folder)

    def draft(self, frame: pd.DataFrame, *, target: str | None, sensitive: tuple[str, ...], unit: str) -> Schema:
        """The commonest size; RGB where one image has colour."""
        if not len(frame):
            raise DataError("there is no image to draft a schema from")
        (height, width), _ = Counter(cell.shape[:2] for cell in frame["image"]).most_common(1)[0]
        shrink = min(1.0, _LARGEST_DRAFT / max(height, width))
        content = ImageContent(
            height=max(1, round(height * shrink)),
            width=max(1, round(width * shrink)),
            channels=3 if any(cell.shape[2] == 3 for cell in frame["image"]) else 1,
            source="data",
        )
        return Schema(modality="image", image=content, **draft_beside(frame, "image", target=target, sensitive=sensitive, unit=unit))

    def cast(self, frame: pd.DataFrame, schema: Schema, *, on_error: OnError, where: str) -> tuple[pd.DataFrame, np.ndarray]:
        """Every image at the schema's size and channels; its pixels contradict nothing."""
        assert schema.image is not None  # noqa: S101 - the schema of images
        content = schema.image
        return cast_content(frame, schema, lambda cell: fitted(cell, content), on_error=on_error, where=where)

    def pieces(self, frame: pd.DataFrame, schema: Schema, *, most: int | None) -> pd.DataFrame:
        return frame.reset_index(drop=True)

    def codec(self, schema: Schema) -> ImageCodec:
        return ImageCodec(schema)

    def write(self, frame: pd.DataFrame, path: Path, schema: Schema) -> None:
        write_images(frame, path, schema)

    def picture(self, frame: pd.DataFrame, schema: Schema) -> bytes:
        return grid(frame, schema)


MODALITY = Image()
