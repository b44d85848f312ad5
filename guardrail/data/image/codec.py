"""The image codec: cast images to and from pixels in [-1, 1] and tokens of quantised pixels, built from the schema alone.

`image`: float32 (records, channels, height, width). `tokens`: one of `levels` levels per pixel and channel, row by row; the
lowest level is 0 and the highest 255, so black and white survive.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ...vocabulary.spaces import ImageSpace, Space, SpaceKind, TokenSpace
from ..arrays import as_column
from ..codec import Codec, finite

_COLOURS = {1: ("grey",), 3: ("red", "green", "blue")}


class ImageCodec(Codec):
    """
    >>> schema = Schema.model_validate({"modality": "image", "image": {"height": 1, "width": 2, "levels": 2}})
    >>> codec = ImageCodec(schema)
    >>> codec.encode(pd.DataFrame({"image": as_column([np.array([[[7], [250]]], np.uint8)])}), "tokens").tolist()
    [[0, 1]]
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        if schema.image is None:
            raise DataError("this schema describes no images")
        self.content = schema.image
        self._shape = (self.content.height, self.content.width, self.content.channels)
        places = self.content.height * self.content.width
        names = _COLOURS[self.content.channels] * places
        sizes = (self.content.levels,) * len(names)
        self._spaces: dict[SpaceKind, Space] = {
            "image": ImageSpace(self.content.channels, self.content.height, self.content.width, self.condition_sizes),
            "tokens": TokenSpace(names, sizes, shared=True, conditions=self.condition_sizes),
        }

    @property
    def spaces(self) -> Mapping[SpaceKind, Space]:
        return self._spaces

    def encode(self, frame: pd.DataFrame, kind: SpaceKind) -> np.ndarray:
        """`image`: (records, channels, height, width) float32; `tokens`: (records, height * width * channels) int64."""
        pixels = self._stacked(frame)
        if kind == "image":
            return np.asarray(np.moveaxis(pixels, 3, 1).astype(np.float32, order="C") / np.float32(127.5) - np.float32(1))
        levels = np.rint(np.arange(256) * ((self.content.levels - 1) / 255)).astype(np.int64)
        return np.asarray(levels[pixels].reshape(len(pixels), self.tokens.length))

    def decode(self, records: np.ndarray, kind: SpaceKind, rng: np.random.Generator) -> pd.DataFrame:
        """Column `image`; numbers beyond [-1, 1] are cut off."""
        expected = self._shape[2:] + self._shape[:2] if kind == "image" else (self.tokens.length,)
        if records.shape[1:] != expected:
            raise DataError(f"{kind} of shape {records.shape}; expected (records, {', '.join(map(str, expected))})")
        if kind == "image":
            values = np.rint((np.clip(finite(records), -1, 1) + 1) * 127.5).astype(np.uint8)
            return _framed(np.moveaxis(values, 1, 3))
        if records.size and not 0 <= records.min() <= records.max() < self.content.levels:
            raise DataError(f"levels go from 0 to {self.content.levels - 1}, met {records.min()} to {records.max()}")
        greys = np.rint(np.arange(self.content.levels) * (255 / (self.content.levels - 1))).astype(np.uint8)
        return _framed(greys[records].reshape(-1, *self._shape))

    def _stacked(self, frame: pd.DataFrame) -> np.ndarray:
        if "image" not in frame:
            raise DataError("the records lack the column 'image'; cast them to the schema first")
        cells = list(frame["image"])
        if any(cell.shape != self._shape for cell in cells):
            raise DataError(f"an image is not of the schema's shape {self._shape}; cast the records first")
        return np.stack(cells) if cells else np.zeros((0, *self._shape), dtype=np.uint8)


def _framed(images: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"image": as_column(list(np.ascontiguousarray(images)))})
