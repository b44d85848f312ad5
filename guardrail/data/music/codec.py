"""The music codec: cast pieces to and from tokens of one vocabulary, built from the schema alone.

`grid`: step by step, voice by voice, a rest or a pitch. `events`: what happens in turn: a note begins, a note ends, time passes
(10 ms to 1 s), the notes from here on are so loud. Both end by a token of their own.

Events: Oore et al., "This time with feeling: learning expressive musical performance", 2018, https://arxiv.org/abs/1808.03715
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ...vocabulary.content import MusicContent
from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ...vocabulary.spaces import Space, SpaceKind, TokenSpace
from ..arrays import as_column
from ..codec import Codec
from .score import LENGTH, ONSET, PITCH, without_overlaps

TICK = 10
"""Milliseconds: the shortest time that passes."""
SHIFTS = 100
LOUDNESSES = 32


class MusicCodec(Codec):
    """
    >>> schema = {"modality": "music", "music": {"encoding": "grid", "voices": ["high", "low"], "low": 60, "high": 72, "length": 3}}
    >>> codec = MusicCodec(Schema.model_validate(schema))
    >>> codec.encode(pd.DataFrame({"notes": as_column([np.array([[72, 60], [72, 0]])])}), "tokens").tolist()
    [[13, 1, 13, 0, 14, 14]]
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        if schema.music is None:
            raise DataError("this schema describes no music")
        self.content = schema.music
        self.events = Events(self.content)
        grid = self._is_grid
        pitches = self.content.high - self.content.low + 1
        self.end = pitches + 1 if grid else self.events.end
        names = self.content.voices * self.content.length if grid else ("event",) * self.content.length
        sizes = (self.end + 1,) * len(names)
        self._spaces: dict[SpaceKind, Space] = {
            "tokens": TokenSpace(names, sizes, shared=True, end=self.end, conditions=self.condition_sizes)
        }

    @property
    def spaces(self) -> Mapping[SpaceKind, Space]:
        return self._spaces

    def encode(self, frame: pd.DataFrame, kind: SpaceKind) -> np.ndarray:
        """(records, positions) int64."""
        if "notes" not in frame:
            raise DataError("the records lack the column 'notes'; cast them to the schema first")
        tokens = np.full((len(frame), self.tokens.length), self.end, dtype=np.int64)
        room = self.tokens.length - (not self._is_grid)
        for row, cell in enumerate(frame["notes"]):
            coded = self._grid_tokens(cell) if self._is_grid else np.array(self.events.encode(cell), dtype=np.int64)
            if len(coded) > room:
                raise DataError(f"a piece of {len(coded)} tokens, and the schema has room for {room}; cut it into pieces first")
            tokens[row, : len(coded)] = coded
        return tokens

    def decode(self, records: np.ndarray, kind: SpaceKind, rng: np.random.Generator) -> pd.DataFrame:
        """Column `notes`, up to the first end. A step that is not complete is left out; a grid has one step at least."""
        if records.ndim != 2 or records.shape[1] != self.tokens.length:
            raise DataError(f"tokens of shape {records.shape}; expected (records, {self.tokens.length})")
        if records.size and not 0 <= records.min() <= records.max() <= self.end:
            raise DataError(f"tokens go from 0 to {self.end}, met {records.min()} to {records.max()}")
        ended = records == self.end
        lengths = np.where(ended.any(axis=1), ended.argmax(axis=1), self.tokens.length)
        parts = [row[:length] for row, length in zip(records, lengths, strict=True)]
        return pd.DataFrame(
            {"notes": as_column([self._grid(part) if self._is_grid else self.events.decode(part.tolist()) for part in parts])}
        )

    @property
    def _is_grid(self) -> bool:
        return self.content.encoding == "grid"

    def _grid_tokens(self, grid: np.ndarray) -> np.ndarray:
        if grid.ndim != 2 or grid.shape[1] != len(self.content.voices):
            raise DataError(f"a grid of shape {grid.shape}; expected (steps, {len(self.content.voices)})")
        return np.asarray(np.where(grid > 0, grid.astype(np.int64) - self.content.low + 1, 0).reshape(-1))

    def _grid(self, tokens: np.ndarray) -> np.ndarray:
        voices = len(self.content.voices)
        steps = tokens[: len(tokens) // voices * voices].reshape(-1, voices)
        grid = np.where(steps > 0, steps + self.content.low - 1, 0).astype(np.int16)
        return grid if len(grid) else np.zeros((1, voices), dtype=np.int16)


class Events:
    """Notes (onset and length in ms, pitch, velocity) to and from tokens: begins, ends, time, loudness, end."""

    def __init__(self, content: MusicContent) -> None:
        self._low = content.low
        pitches = content.high - content.low + 1
        self._off = pitches
        self._shift = 2 * pitches
        self._loud = self._shift + SHIFTS
        self.end = self._loud + LOUDNESSES

    def encode(self, notes: np.ndarray) -> list[int]:
        """At one time notes end before others begin; a note lasts one tick at least."""
        onsets = (notes[:, ONSET] + TICK // 2) // TICK
        stops = np.maximum((notes[:, ONSET] + notes[:, LENGTH] + TICK // 2) // TICK, onsets + 1)
        ticked = without_overlaps(np.column_stack([onsets, stops - onsets, notes[:, PITCH:]]))
        on = [(onset, 1, pitch, velocity * LOUDNESSES // 128) for onset, _, pitch, velocity in ticked.tolist()]
        off = [(onset + length, 0, pitch, 0) for onset, length, pitch, _ in ticked.tolist()]
        tokens: list[int] = []
        now, loud = 0, -1
        for tick, begins, pitch, loudness in sorted(on + off):
            tokens += self._wait(tick - now)
            if begins and loudness != loud:
                tokens.append(self._loud + loudness)
                loud = loudness
            tokens.append((0 if begins else self._off) + pitch - self._low)
            now = tick
        return tokens

    def _wait(self, ticks: int) -> list[int]:
        rest = [self._shift + ticks % SHIFTS - 1] if ticks % SHIFTS else []
        return [self._shift + SHIFTS - 1] * (ticks // SHIFTS) + rest

    def decode(self, tokens: Sequence[int]) -> np.ndarray:
        """(notes, 4) int64. Every note is closed: by its end, by its next beginning, or by the end of the piece."""
        now, velocity = 0, 64
        sounding: dict[int, tuple[int, int]] = {}
        rows: list[tuple[int, int, int, int]] = []
        for token in tokens:
            if token >= self._loud:
                velocity = (token - self._loud) * (128 // LOUDNESSES) + 64 // LOUDNESSES
            elif token >= self._shift:
                now += token - self._shift + 1
            else:
                pitch = token % self._off
                if pitch in sounding:
                    self._close(pitch, now, sounding, rows)
                if token < self._off:
                    sounding[pitch] = (now, velocity)
        for pitch in list(sounding):
            self._close(pitch, max(now, sounding[pitch][0] + 1), sounding, rows)
        return np.array(sorted(rows, key=lambda row: (row[0], row[2])), dtype=np.int64).reshape(-1, 4)

    def _close(self, pitch: int, now: int, sounding: dict[int, tuple[int, int]], rows: list[tuple[int, int, int, int]]) -> None:
        """A note without length was none."""
        onset, velocity = sounding.pop(pitch)
        if now > onset:
            rows.append((onset * TICK, (now - onset) * TICK, pitch + self._low, velocity))
