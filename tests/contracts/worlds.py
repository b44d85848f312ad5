"""Small data of every modality, with something to learn in each, for suites that run over every family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from guardrail.data.codec import Codec
from guardrail.data.modality import modality
from guardrail.vocabulary.schema import Schema


@dataclass(frozen=True)
class World:
    schema: Schema
    raw: Callable[[int, int], pd.DataFrame]
    """`raw(n, seed)`: n records as they are read from a file."""

    @property
    def codec(self) -> Codec:
        return modality(self.schema.modality).codec(self.schema)

    def records(self, n: int, seed: int = 0) -> pd.DataFrame:
        return modality(self.schema.modality).cast(self.raw(n, seed), self.schema, on_error="fail", where="world")[0]


LABEL = {"label": {"kind": "categorical", "categories": ["a", "b"]}}


def _labels(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(0, 2, n)


def _named(labels: np.ndarray) -> np.ndarray:
    return np.array(["a", "b"], dtype=object)[labels]


def _rows(n: int, seed: int) -> pd.DataFrame:
    """The label follows the number, the colour follows the label."""
    rng = np.random.default_rng(seed)
    number = np.where(rng.random(n) < 0.3, 0.0, rng.normal(0, 1.5, n).clip(-5, 5))
    label = rng.random(n) < 1 / (1 + np.exp(-2 * number))
    colour = np.where(label, rng.choice(["red", "green"], n), rng.choice(["green", "blue"], n)).astype(object)
    colour[rng.random(n) < 0.1] = None
    return pd.DataFrame(
        {
            "number": number,
            "whole": pd.array(np.where(rng.random(n) < 0.1, None, rng.integers(0, 10, n)).tolist(), dtype="Int64"),
            "day": (pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 366, n), unit="D")).astype("datetime64[us]"),
            "colour": colour,
            "size": rng.choice(["s", "m", "l"], n),
            "label": np.where(label, "true", "false"),
        }
    )


def _images(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels = _labels(rng, n)
    pixels = rng.integers(0, 60, (n, 8, 8, 1))
    pixels[labels == 0, :4] += 180
    pixels[labels == 1, 4:] += 180
    return pd.DataFrame({"image": pd.Series(list(pixels.astype(np.uint8)), dtype=object), "label": _named(labels)})


def _texts(n: int, seed: int) -> pd.DataFrame:
    """Words over three letters, `a` after every `c`; the label says which letter comes first."""
    rng = np.random.default_rng(seed)
    labels = _labels(rng, n)
    words = []
    for label in labels:
        word = "ab"[label]
        while len(word) < rng.integers(2, 7):
            word += "a" if word[-1] == "c" else str(rng.choice(list("abc")))
        words.append(word[:7])
    return pd.DataFrame({"text": words, "label": _named(labels)})


def _music(n: int, seed: int) -> pd.DataFrame:
    """Two voices in thirds, four steps."""
    rng = np.random.default_rng(seed)
    labels = _labels(rng, n)
    low = 60 + labels[:, None] + rng.integers(0, 2, (n, 4))
    return pd.DataFrame({"notes": pd.Series(list(np.stack([low + 4, low], axis=2)), dtype=object), "label": _named(labels)})


def _series(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels = _labels(rng, n)
    time = np.arange(8) / 8
    wave = np.sin(2 * np.pi * (time[None] * (1 + labels[:, None]) + rng.random((n, 1)))) + 0.1 * rng.normal(size=(n, 8))
    values = np.stack([wave, -wave], axis=2).clip(-2, 2)
    values[rng.random(values.shape) < 0.05] = np.nan
    return pd.DataFrame({"values": pd.Series(list(values), dtype=object), "label": _named(labels)})


WORLDS: dict[str, World] = {
    "tabular": World(
        Schema.model_validate(
            {
                "declared_by": "this suite",
                "target": "label",
                "columns": {
                    "number": {"kind": "numeric", "low": -5, "high": 5, "bins": 8, "points": [0]},
                    "whole": {"kind": "integer", "low": 0, "high": 9, "missing": True},
                    "day": {"kind": "datetime", "low": "2020-01-01", "high": "2020-12-31", "bins": 6},
                    "colour": {"kind": "categorical", "categories": ["red", "green", "blue"], "missing": True},
                    "size": {"kind": "ordinal", "categories": ["s", "m", "l"]},
                    "label": {"kind": "boolean"},
                },
            }
        ),
        _rows,
    ),
    "image": World(
        Schema.model_validate(
            {
                "modality": "image",
                "declared_by": "this suite",
                "target": "label",
                "image": {"height": 8, "width": 8, "levels": 4},
                "columns": LABEL,
            }
        ),
        _images,
    ),
    "text": World(
        Schema.model_validate(
            {
                "modality": "text",
                "declared_by": "this suite",
                "target": "label",
                "text": {"vocabulary": "characters", "alphabet": "abc", "length": 8},
                "columns": LABEL,
            }
        ),
        _texts,
    ),
    "music": World(
        Schema.model_validate(
            {
                "modality": "music",
                "declared_by": "this suite",
                "target": "label",
                "music": {"encoding": "grid", "voices": ["upper", "lower"], "low": 58, "high": 68, "length": 4},
                "columns": LABEL,
            }
        ),
        _music,
    ),
    "series": World(
        Schema.model_validate(
            {
                "modality": "series",
                "declared_by": "this suite",
                "target": "label",
                "series": {
                    "channels": {"x": {"low": -2, "high": 2}, "y": {"low": -2, "high": 2}},
                    "steps": 8,
                    "missing": True,
                    "levels": 8,
                },
                "columns": LABEL,
            }
        ),
        _series,
    ),
}
