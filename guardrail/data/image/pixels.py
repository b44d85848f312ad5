"""Single images: from the bytes of a PNG or JPEG to uint8 (height, width, channels), and to the size of a schema."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ...vocabulary.content import ImageContent
from ...vocabulary.errors import DataError

MOST_PIXELS = 2**25
"""Of one image file: 32 million, more than cameras give; beyond it stands a decompression bomb."""
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_KEPT = {"1": "L", "L": "L", "RGB": "RGB"}
_TRANSPARENT = {"LA": "L", "RGBA": "RGB", "PA": "RGB"}
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip


def decoded(content: bytes) -> np.ndarray:
    """(height, width, 1 or 3) uint8 from a PNG or JPEG; what is transparent becomes white. DataError says what the file is instead."""
    if not content:
        raise DataError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's own limit of pixels; ours is below it
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                _check(image, content)
                return pixels(_plain(ImageOps.exif_transpose(image)))
    except DataError:
        raise
    except UnidentifiedImageError:
        if content.startswith(_MAGIC):
            raise DataError("broken or cut off (its header says nothing of an image); save it again") from None
        raise DataError("neither PNG nor JPEG, whatever its name says; convert it") from None
    except _BROKEN as fault:
        raise DataError(f"broken or cut off ({fault or type(fault).__name__}); save it again") from None


def fitted(cell: Any, content: ImageContent) -> np.ndarray:
    """The image at the schema's size (antialiased) and channels (grey by the luma of ITU-R 601)."""
    if not isinstance(cell, np.ndarray) or cell.dtype != np.uint8:
        met = f"an array of {cell.dtype}" if isinstance(cell, np.ndarray) else type(cell).__name__
        raise DataError(f"{met} is no image; expected uint8 pixels from 0 to 255")
    if cell.ndim == 2:
        cell = cell[:, :, None]
    if cell.ndim != 3 or cell.shape[2] not in (1, 3) or 0 in cell.shape:
        raise DataError(f"an array of shape {cell.shape} is no image; expected (height, width, 1 or 3)")
    if cell.shape == (content.height, content.width, content.channels):
        return np.asarray(cell)
    image = pillow(cell).convert("L" if content.channels == 1 else "RGB")
    return pixels(image.resize((content.width, content.height), Image.Resampling.BICUBIC))


def pillow(cell: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(cell[:, :, 0] if cell.shape[2] == 1 else cell))


def pixels(image: Image.Image) -> np.ndarray:
    """(height, width, channels)"""
    array: np.ndarray = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


def _check(image: Image.Image, content: bytes) -> None:
    """By the header alone, before a pixel is unpacked."""
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"{image.width} x {image.height} pixels are more than {MOST_PIXELS}; it is a bomb, or wants to be made smaller")
    deep = image.format == "PNG" and content[24] == 16  # the depth in IHDR: Pillow cuts 16-bit colours to 8 without a word
    if deep or image.mode not in {*_KEPT, *_TRANSPARENT, "P"}:
        kind = "16 bits a channel" if deep else f"mode {image.mode}"
        raise DataError(f"{kind} is not read; convert it to grey or RGB of 8 bits a channel")
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise DataError("an animated image; save its frames as single images")


def _plain(image: Image.Image) -> Image.Image:
    """Grey or RGB; a palette becomes what its colours are."""
    if image.mode in _KEPT and "transparency" not in image.info:
        return image.convert(_KEPT[image.mode])
    target = _TRANSPARENT.get(image.mode, _KEPT.get(image.mode, "RGB"))
    solid = image.convert("RGBA")
    white = Image.new("RGBA", solid.size, "white")
    return Image.alpha_composite(white, solid).convert(target)
