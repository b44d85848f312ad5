"""Piano rolls of some pieces: time to the right, pitch upward, octaves as lines, the voices in colours."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from ...vocabulary.content import MusicContent
from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from .score import LENGTH, ONSET, PITCH, VELOCITY

_SHOWN = 8
_ACROSS = 2
_WIDE, _ROW, _GAP = 520, 4, 18
_COLOURS = ((214, 39, 40), (255, 127, 14), (44, 160, 44), (31, 119, 180), (148, 103, 189), (140, 86, 75), (227, 119, 194), (127, 127, 127))
Bar = tuple[float, float, int, tuple[int, int, int]]
"""Begin and end as shares of the piece, pitch, colour."""


def piano_rolls(frame: pd.DataFrame, schema: Schema) -> bytes:
    assert schema.music is not None  # noqa: S101 - the schema of music
    if not len(frame):
        raise DataError("there is no music to show")
    shown = frame.iloc[:_SHOWN]
    bars = [_bars(cell, schema.music) for cell in shown["notes"]]
    pitches = [pitch for piece in bars for _, _, pitch, _ in piece] or [60]
    low, high = min(pitches) - 1, max(pitches) + 1
    tall = (high - low + 1) * _ROW
    down = -(-len(bars) // _ACROSS)
    sheet = Image.new("RGB", (_ACROSS * (_WIDE + _GAP) + _GAP, down * (tall + _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, piece in enumerate(bars):
        place = (_GAP + i % _ACROSS * (_WIDE + _GAP), _GAP + i // _ACROSS * (tall + _GAP))
        sheet.paste(_roll(piece, low, high, tall), place)
        title = f"{schema.target} {shown[schema.target].iloc[i]}"[:60] if schema.target in shown.columns else f"{i + 1}"
        draw.text((place[0], place[1] - 14), title, fill="black", font=ImageFont.load_default())
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _roll(piece: list[Bar], low: int, high: int, tall: int) -> Image.Image:
    panel = Image.new("RGB", (_WIDE, tall), (246, 246, 246))
    draw = ImageDraw.Draw(panel)
    for pitch in range(low, high + 1):
        if pitch % 12 == 0:
            draw.line((0, (high - pitch + 1) * _ROW, _WIDE, (high - pitch + 1) * _ROW), fill=(210, 210, 210))
    for begin, end, pitch, colour in piece:
        top = (high - pitch) * _ROW
        draw.rectangle((begin * _WIDE, top, max(begin * _WIDE + 1, end * _WIDE - 2), top + _ROW - 1), fill=colour)
    return panel


def _bars(cell: np.ndarray, content: MusicContent) -> list[Bar]:
    if content.encoding == "events":
        whole = max(1, int((cell[:, ONSET] + cell[:, LENGTH]).max(initial=1)))
        return [
            (row[ONSET] / whole, (row[ONSET] + row[LENGTH]) / whole, int(row[PITCH]), _shade(int(row[VELOCITY]))) for row in cell.tolist()
        ]
    bars: list[Bar] = []
    for voice in reversed(range(cell.shape[1])):  # the highest on top
        starts = np.flatnonzero(np.diff(cell[:, voice], prepend=-1))
        stops = np.append(starts[1:], len(cell))
        colour = _COLOURS[voice % len(_COLOURS)]
        bars += [
            (start / len(cell), stop / len(cell), int(cell[start, voice]), colour)
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
            if cell[start, voice]
        ]
    return bars


def _shade(velocity: int) -> tuple[int, int, int]:
    """Loud notes dark."""
    light = 1 - velocity / 127
    return (int(31 + 170 * light), int(60 + 150 * light), int(140 + 80 * light))
