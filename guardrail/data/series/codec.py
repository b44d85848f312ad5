"""The series codec: cast series to and from numbers in [-1, 1] with marks, and tokens of quantised values.

`series`: float32 (records, steps, width), see SeriesSpace. `tokens`: step by step, channel by channel, one of `levels` levels
between the channel's bounds, then `missing` where values may be, then `end` where series may be shorter. What a token is
decoded to is the middle of its level.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ...vocabulary.spaces import SeriesSpace, Space, SpaceKind, TokenSpace
from ..arrays import as_column
from ..codec import Codec, finite
from .cut import bounds


class SeriesCodec(Codec):
    """
    >>> schema = Schema.model_validate(
    ...     {"modality": "series", "series": {"channels": {"load": {"low": 0, "high": 4}}, "steps": 3, "variable": True, "levels": 4}}
    ... )
    >>> codec = SeriesCodec(schema)
    >>> codec.encode(pd.DataFrame({"values": as_column([np.array([[0.0], [4.0]])])}), "tokens").tolist()
    [[0, 3, 4]]
    >>> codec.encode(pd.DataFrame({"values": as_column([np.array([[0.0], [4.0]])])}), "series").tolist()
    [[[-1.0, 1.0], [1.0, 1.0], [0.0, -1.0]]]
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        if schema.series is None:
            raise DataError("this schema describes no series")
        self.content = schema.series
        self._low, self._high = bounds(self.content)
        self._missing = self.content.levels if self.content.missing else None
        self._end = self.content.levels + self.content.missing if self.content.variable else None
        channels = tuple(self.content.channels)
        size = self.content.levels + self.content.missing + self.content.variable
        names = channels * self.content.steps
        marked = self.content.missing or self.content.variable
        self._spaces: dict[SpaceKind, Space] = {
            "series": SeriesSpace(channels, self.content.steps, marked, self.condition_sizes),
            "tokens": TokenSpace(names, (size,) * len(names), shared=True, end=self._end, conditions=self.condition_sizes),
        }

    @property
    def spaces(self) -> Mapping[SpaceKind, Space]:
        return self._spaces

    def encode(self, frame: pd.DataFrame, kind: SpaceKind) -> np.ndarray:
        """`series`: (records, steps, width) float32; `tokens`: (records, steps * channels) int64."""
        units, lengths = self._units(frame)
        observed = ~np.isnan(units)
        if kind == "tokens":
            levels = self.content.levels
            tokens = np.minimum(np.where(observed, units, 0) * levels, levels - 1).astype(np.int64)
            tokens[~observed] = self.content.levels if self._missing is not None else 0
            tokens[np.arange(units.shape[1]) >= lengths[:, None]] = self._end or 0
            return np.asarray(tokens.reshape(len(tokens), self.tokens.length))
        values = np.where(observed, units * 2 - 1, 0)
        parts = [values, np.where(observed, 1, -1)] if len(self._low) < self._width else [values]
        return np.asarray(np.concatenate(parts, axis=2).astype(np.float32))

    def decode(self, records: np.ndarray, kind: SpaceKind, rng: np.random.Generator) -> pd.DataFrame:
        """Column `values`; numbers beyond [-1, 1] are cut off, and a series has one step at least."""
        expected = (self.tokens.length,) if kind == "tokens" else (self.content.steps, self._width)
        if records.shape[1:] != expected:
            raise DataError(f"{kind} of shape {records.shape}; expected (records, {', '.join(map(str, expected))})")
        units, lengths = self._from_tokens(records, rng) if kind == "tokens" else self._from_marks(finite(records))
        values = np.clip(self._low + units * (self._high - self._low), self._low, self._high)
        return pd.DataFrame({"values": as_column([cell[:length] for cell, length in zip(values, lengths, strict=True)])})

    @property
    def _width(self) -> int:
        space = self._spaces["series"]
        assert isinstance(space, SeriesSpace)  # noqa: S101 - as built above
        return space.width

    def _units(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """(records, steps, channels) between 0 and 1, NaN where there is no value; and (records,) how many steps each has."""
        if "values" not in frame:
            raise DataError("the records lack the column 'values'; cast them to the schema first")
        cells = list(frame["values"])
        lengths = np.array([len(cell) for cell in cells], dtype=np.int64)
        units = np.full((len(cells), self.content.steps, len(self._low)), np.nan)
        for row, cell in enumerate(cells):
            if len(cell) > self.content.steps or cell.shape[1:] != self._low.shape:
                raise DataError(
                    f"a series of shape {cell.shape}; the schema has ({self.content.steps}, {len(self._low)}): cast and cut it first"
                )
            units[row, : len(cell)] = (cell - self._low) / (self._high - self._low)
        if not self.content.missing and np.isnan(units[np.arange(units.shape[1]) < lengths[:, None]]).any():
            raise DataError("a series has missing values, and the schema declares none; cast the records first")
        if not self.content.variable and (lengths < self.content.steps).any():
            raise DataError(f"a series is shorter than the schema's {self.content.steps} steps; cast the records first")
        return units, lengths

    def _from_tokens(self, tokens: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        size = self.tokens.sizes[0]
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < size:
            raise DataError(f"tokens go from 0 to {size - 1}, met {tokens.min()} to {tokens.max()}")
        steps = tokens.reshape(len(tokens), self.content.steps, len(self._low))
        ended = (steps == self._end).any(axis=2) if self._end is not None else np.zeros(steps.shape[:2], dtype=bool)
        lengths = np.where(ended.any(axis=1), ended.argmax(axis=1), self.content.steps)
        units = (steps + 0.5) / self.content.levels
        if self._missing is not None:
            units = np.where(steps == self._missing, np.nan, units)
        # A record that ends before its first step is complete says nothing of that step.
        unsaid = steps[:, 0] == self._end if self._end is not None else np.zeros(units[:, 0].shape, dtype=bool)
        units[:, 0] = np.where(unsaid, np.nan if self.content.missing else rng.random(unsaid.shape), units[:, 0])
        return units, np.maximum(lengths, 1)

    def _from_marks(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        channels = len(self._low)
        units = (np.clip(records[:, :, :channels].astype(float), -1, 1) + 1) / 2
        steps = self.content.steps
        if self._width == channels:
            return units, np.full(len(units), steps)
        marks = records[:, :, channels:]
        if not self.content.missing:  # then a step is there or not, as most of its channels say
            over = marks.mean(axis=2) <= 0
            return units, np.maximum(np.where(over.any(axis=1), over.argmax(axis=1), steps), 1)
        units = np.where(marks > 0, units, np.nan)
        if not self.content.variable:
            return units, np.full(len(units), steps)
        there = (marks > 0).any(axis=2)
        return units, np.maximum(np.where(there, np.arange(1, steps + 1), 0).max(axis=1), 1)
