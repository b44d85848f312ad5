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
    """A PNG of every matrix, dark where it is high. Three dimensions (heads) lie side by side, one is a strip.

    A matrix with one row per place of a strip (the posterior beside a path) is turned to lie under it, place under place.
    """
    laid = {name: np.asarray(value, dtype=float) for name, value in matrices.items()}
    strips = {len(value) for value in laid.values() if value.ndim == 1}
    laid = {name: value.T if value.ndim == 2 and len(value) in strips else value for name, value in laid.items()}
    under = max((max(value.shape) for value in laid.values() if value.ndim < 3 and value.shape[-1] in strips), default=0)
    tiles = [(name, _tile(value, under if value.shape[-1] in strips else 0)) for name, value in laid.items()]
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


def _tile(value: np.ndarray, side: int) -> Image.Image:
    """`side`: cells of the longest side that it shares its scale with; 0: its own."""
    matrix = np.atleast_2d(value)
    if matrix.ndim > 2:
        heads = matrix.reshape(-1, *matrix.shape[-2:])
        gap = np.full((heads.shape[1], 1), np.nan)
        matrix = np.concatenate([part for head in heads for part in (head, gap)][:-1], axis=1)
    low, high = np.nanmin(matrix), np.nanmax(matrix)
    shade = 255 - 235 * (matrix - low) / (high - low if high > low else 1.0)
    scale = max(1, MOST_SIDE // max(side, *matrix.shape))
    pixels = np.nan_to_num(shade, nan=255.0).astype(np.uint8)
    return Image.fromarray(pixels).resize((max(1, pixels.shape[1] * scale), max(8, pixels.shape[0] * scale)), Image.Resampling.NEAREST)
