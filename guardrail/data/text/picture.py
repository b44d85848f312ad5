"""Passages of text as a picture, set in the font that comes with Pillow."""

from __future__ import annotations

import io
from bisect import bisect_right
from math import ceil

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema

_SHOWN = 10
_LONGEST = 800
"""Characters of a passage."""
_WIDE, _LINE, _MARGIN, _SIZE = 900, 19, 16, 15
_PLAIN = str.maketrans({"—": "--", "–": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "\t": "    "})
"""Signs that the font lacks."""


def passages(frame: pd.DataFrame, schema: Schema) -> bytes:
    """The first passages under each other, the target's value over each."""
    if not len(frame):
        raise DataError("there is no text to show")
    font = ImageFont.load_default(_SIZE)
    target = schema.target if schema.target in frame.columns else None
    blocks = [_block(frame, row, target, font) for row in range(min(_SHOWN, len(frame)))]
    height = 2 * _MARGIN + sum(_LINE * len(lines) + _MARGIN for lines in blocks)
    sheet = Image.new("RGB", (_WIDE, height), "white")
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    for i, lines in enumerate(blocks):
        draw.rectangle((0, top - _MARGIN // 2, _WIDE, top + _LINE * len(lines) + _MARGIN // 2), fill=(246, 246, 246) if i % 2 else "white")
        for j, line in enumerate(lines):
            draw.text((_MARGIN, top + j * _LINE), line, fill=(130, 130, 130) if target and not j else "black", font=font)
        top += _LINE * len(lines) + _MARGIN
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _block(frame: pd.DataFrame, row: int, target: str | None, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    text = str(frame["text"].iloc[row])
    cut = text[:_LONGEST] + (" ..." if len(text) > _LONGEST else "")
    drawn = (part.translate(_PLAIN) for part in cut.split("\n"))
    lines = [part for line in drawn for part in _wrapped("".join(c if c.isprintable() else "?" for c in line), font)]
    return ([f"{target} {frame[target].iloc[row]}"[:100]] if target else []) + lines


def _wrapped(line: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    """Broken at spaces where there are any."""
    lines = []
    while font.getlength(line) > _WIDE - 2 * _MARGIN:
        fits = max(1, bisect_right(range(len(line)), _WIDE - 2 * _MARGIN, key=lambda n: ceil(font.getlength(line[:n]))) - 1)
        gap = line.rfind(" ", fits // 2, fits) + 1
        lines.append(line[: gap or fits])
        line = line[gap or fits :]
    return [*lines, line]
