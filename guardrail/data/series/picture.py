"""Curves of some series: one panel each, the channels in colours between their bounds, the target's value on top."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ..image.files import png
from ..image.pixels import pixels
from .cut import bounds

_ACROSS, _DOWN = 4, 3
_WIDE, _TALL = 220, 130
_GAP = 10
_FINER = 3
"""Drawn this many times larger and made smaller: smooth lines."""
_COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (227, 119, 194), (127, 127, 127))


def curves(frame: pd.DataFrame, schema: Schema) -> bytes:
    assert schema.series is not None  # noqa: S101 - the schema of series
    if not len(frame):
        raise DataError("there is no series to show")
    shown = _chosen(frame, schema.target if schema.target in frame.columns else None)
    low, high = bounds(schema.series)
    cells = [(cell[: schema.series.steps] - low) / (high - low) for cell in shown["values"]]
    down = -(-len(cells) // _ACROSS)
    sheet = Image.new("RGB", (_ACROSS * (_WIDE + _GAP) + _GAP, down * (_TALL + 2 * _GAP) + _GAP), "white")
    for i, cell in enumerate(cells):
        place = (_GAP + i % _ACROSS * (_WIDE + _GAP), 2 * _GAP + i // _ACROSS * (_TALL + 2 * _GAP))
        sheet.paste(_panel(cell, schema.series.steps), place)
        title = f"{schema.target} {shown[schema.target].iloc[i]}" if schema.target in shown.columns else f"{i + 1}"
        ImageDraw.Draw(sheet).text((place[0], place[1] - _GAP - 2), title[:34], fill="black", font=ImageFont.load_default())
    return png(pixels(sheet))


def _chosen(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """The first ones; of every value of the target the same number, side by side."""
    most = _ACROSS * _DOWN
    if target is None:
        return frame.iloc[:most]
    groups = frame.groupby(target, sort=True, observed=True, dropna=False)
    return groups.head(max(1, most // max(1, groups.ngroups))).sort_values(target, kind="stable").iloc[:most]


def _panel(units: np.ndarray, steps: int) -> Image.Image:
    """`units`: (steps, channels) between 0 and 1, NaN where nothing was measured."""
    wide, tall = _WIDE * _FINER, _TALL * _FINER
    panel = Image.new("RGB", (wide, tall), (246, 246, 246))
    draw = ImageDraw.Draw(panel)
    across = _FINER * 3 + np.arange(len(units)) * (wide - _FINER * 6) / max(1, steps - 1)
    for channel in range(units.shape[1]):
        heights = _FINER * 3 + (1 - np.clip(units[:, channel], 0, 1)) * (tall - _FINER * 6)
        colour = _COLOURS[channel % len(_COLOURS)]
        there = ~np.isnan(heights)
        for part in np.split(np.arange(len(units)), np.flatnonzero(np.diff(there)) + 1):
            if len(part) and there[part[0]]:
                _line(draw, list(zip(across[part].tolist(), heights[part].tolist(), strict=True)), colour)
    return panel.resize((_WIDE, _TALL), Image.Resampling.LANCZOS)


def _line(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
    if len(points) > 1:
        draw.line(points, fill=colour, width=2 * _FINER, joint="curve")
    else:
        (x, y), r = points[0], 2 * _FINER
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
