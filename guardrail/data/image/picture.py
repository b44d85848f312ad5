"""A grid of images; where the schema has a target, one row of the grid for each of its values, with its name."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from .files import png
from .pixels import pillow, pixels

_ACROSS = 10
_DOWN = 12
_LEAST = 48
"""Pixels of the longer side of a shown image: small ones are enlarged, without smoothing."""
_GAP = 4
_CHARACTERS = 12


def grid(frame: pd.DataFrame, schema: Schema) -> bytes:
    if not len(frame):
        raise DataError("there is no image to show")
    target = schema.target if schema.target in frame.columns else None
    rows = _rows(frame, target)
    cells = [[_enlarged(cell) for cell in images] for _, images in rows]
    wide = max(cell.width for row in cells for cell in row) + _GAP
    tall = max(cell.height for row in cells for cell in row) + _GAP
    margin = _margin([name for name, _ in rows])
    sheet = Image.new("RGB", (margin + wide * max(map(len, cells)) + _GAP, tall * len(cells) + _GAP), (200, 200, 200))
    for down, ((name, _), row) in enumerate(zip(rows, cells, strict=True)):
        ImageDraw.Draw(sheet).text((_GAP, _GAP + down * tall), name, fill="black", font=_font())
        for across, cell in enumerate(row):
            sheet.paste(cell.convert("RGB"), (margin + _GAP + across * wide, _GAP + down * tall))
    return png(pixels(sheet))


def _rows(frame: pd.DataFrame, target: str | None) -> list[tuple[str, list[np.ndarray]]]:
    if target is None:
        images = list(frame["image"].iloc[: _ACROSS * _DOWN])
        return [("", images[start : start + _ACROSS]) for start in range(0, len(images), _ACROSS)]
    groups = frame.groupby(target, sort=True, observed=True, dropna=False)["image"]
    return [("missing" if pd.isna(name) else str(name), list(images.iloc[:_ACROSS])) for name, images in groups][:_DOWN]


def _enlarged(cell: np.ndarray) -> Image.Image:
    image = pillow(cell)
    times = max(1, -(-_LEAST // max(image.size)))
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _margin(names: list[str]) -> int:
    longest = max((name[:_CHARACTERS] for name in names), key=len)
    return round(_font().getlength(longest)) + 2 * _GAP if longest else 0


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default()
