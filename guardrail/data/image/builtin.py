"""Built-in images: arrays that we ship packed, or that an installed package has; the facts beside them say which."""

from __future__ import annotations

import io
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..arrays import as_column
from .files import unpacked


def read_builtin(facts: Mapping[str, Any], folder: Path) -> pd.DataFrame:
    """Columns under the names of the schema (`rename` of the facts)."""
    frame = _scikit_digits() if facts.get("package") == "scikit-learn" else _packed(folder / facts["file"])
    return frame.rename(columns=facts.get("rename", {}))


def _packed(path: Path) -> pd.DataFrame:
    """An `.npz` under xz, which packs pixels tighter than its own compression."""
    return unpacked(io.BytesIO(lzma.decompress(path.read_bytes())), path.name)


def _scikit_digits() -> pd.DataFrame:
    """Seventeen levels of grey, 0 to 16, spread over 0 to 255."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, :, :, None]
    return pd.DataFrame({"image": as_column(list(images)), "label": data.target})
