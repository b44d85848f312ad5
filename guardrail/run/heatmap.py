"""Matrices as a picture: attention maps, posteriors, paths of states, one below the other with their names."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

MOST_SIDE = 480
"""Pixels of a matrix's longer side, about."""
MARGIN, LINE = 8, 16


def heatmap_png(matrices: Mapping[str, np.ndarray]) -> bytes:
    """A PNG of every matrix, dark where it is high. Three dimensions (heads) lie side by side, one is a strip."""
    tiles = [(name, _tile(value)) for name, value in matrices.items()]
    width = max(tile.width for _, tile in tiles) + 2 * MARGIN
    height = sum(tile.height + LINE + MARGIN for _, tile in tiles) + MARGIN
    sheet = Image.new("L", (max(width, 240), height), 255)
    pen, top = ImageDraw.Draw(sheet), MARGIN
    for name, tile in tiles:
        pen.text((MARGIN, top), name, fill=0)
        sheet.paste(tile, (MARGIN, top + LINE))
        top += LINE + tile.height + MARGIN
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _tile(value: np.ndarray) -> Image.Image:
    matrix = np.atleast_2d(np.asarray(value, dtype=float))
    if matrix.ndim > 2:
        heads = matrix.reshape(-1, *matrix.shape[-2:])
        gap = np.full((heads.shape[1], 1), np.nan)
        matrix = np.concatenate([part for head in heads for part in (head, gap)][:-1], axis=1)
    low, high = np.nanmin(matrix), np.nanmax(matrix)
    shade = 255 - 235 * (matrix - low) / (high - low if high > low else 1.0)
    scale = max(1, MOST_SIDE // max(matrix.shape))
    pixels = np.nan_to_num(shade, nan=255.0).astype(np.uint8)
    return Image.fromarray(pixels).resize((max(1, pixels.shape[1] * scale), max(8, pixels.shape[0] * scale)), Image.Resampling.NEAREST)
