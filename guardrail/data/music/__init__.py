"""Music: pieces as pitches on an even grid, or as notes in time, and what is known of each beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ...vocabulary.content import Modality as Name
from ...vocabulary.content import MusicContent
from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ..arrays import as_column, repeated
from ..beside import cast_content, draft_beside
from ..cast import OnError
from .builtin import read_builtin
from .codec import MusicCodec
from .cut import cut
from .files import SUFFIXES, holds_music, read_music, write_music
from .picture import piano_rolls
from .score import PITCH, VOICE, grid_of, is_score, judged, looks_like_events

_MOST_VOICES = 8
_EVENTS_LENGTH = 256


class Music:
    name: ClassVar[Name] = "music"
    samples: ClassVar[str] = "synthetic"
    floor: ClassVar[str] = "markov"
    suffixes: ClassVar[tuple[str, ...]] = (*SUFFIXES, ".npz")

    def reads(self, path: Path) -> bool:
        return holds_music(path)

    def read(self, path: Path, *, on_error: str = "fail") -> pd.DataFrame:
        return read_music(path, on_error=on_error)

    def builtin(self, facts: Mapping[str, Any], folder: Path) -> pd.DataFrame:
        return read_builtin(facts, folder)

    def draft(self, frame: pd.DataFrame, *, target: str | None, sensitive: tuple[str, ...], unit: str) -> Schema:
        """A grid where every piece is one, or has the same few voices of single notes; events else. Pitches as they are there."""
        cells = list(frame["notes"])
        if not cells:
            raise DataError("there is no music to draft a schema from")
        low, high = _range(cells)
        said: dict[str, Any] = {"low": low, "high": high, "source": "data"}
        voices = {_voices(cell) for cell in cells}
        if len(voices) == 1 and (count := voices.pop()):
            names = tuple(f"voice {i + 1}" for i in range(count)) if count > 1 else ("voice",)
            content = MusicContent(encoding="grid", voices=names, **said)
        else:
            content = MusicContent(encoding="events", length=_EVENTS_LENGTH, **said)
        return Schema(modality="music", music=content, **draft_beside(frame, "notes", target=target, sensitive=sensitive, unit=unit))

    def cast(self, frame: pd.DataFrame, schema: Schema, *, on_error: OnError, where: str) -> tuple[pd.DataFrame, np.ndarray]:
        """Grids as int16 (steps, voices), events as int64 (notes, 4). `clip` moves pitches to the nearest one allowed."""
        assert schema.music is not None  # noqa: S101 - the schema of music
        content = schema.music
        return cast_content(frame, schema, lambda cell: judged(cell, content, clip=on_error == "clip"), on_error=on_error, where=where)

    def pieces(self, frame: pd.DataFrame, schema: Schema, *, most: int | None) -> pd.DataFrame:
        assert schema.music is not None  # noqa: S101 - the schema of music
        parts = [cut(cell, schema.music)[:most] for cell in frame["notes"]]
        return repeated(frame, [len(part) for part in parts], "notes", as_column([cell for part in parts for cell in part]))

    def codec(self, schema: Schema) -> MusicCodec:
        return MusicCodec(schema)

    def write(self, frame: pd.DataFrame, path: Path, schema: Schema) -> None:
        write_music(frame, path, schema)

    def picture(self, frame: pd.DataFrame, schema: Schema) -> bytes:
        return piano_rolls(frame, schema)


def _voices(cell: np.ndarray) -> int:
    """Of a grid, or of a score whose voices never play two notes at once; 0 where events suit better."""
    if not is_score(cell):
        return 0 if looks_like_events(cell) else int(cell.shape[1])
    count = int(cell[:-1, VOICE].max(initial=-1)) + 1
    if not 1 <= count <= _MOST_VOICES:
        return 0
    grid = grid_of(cell, MusicContent(encoding="grid", voices=tuple(map(str, range(count))), steps_per_quarter=12))
    pitches = [grid[grid[:, voice] > 0, voice] for voice in range(count)]
    lasting = sum(len(voice) for voice in pitches)
    played = np.maximum(1, np.rint(cell[:-1, 6] * 12 / 960)).sum()
    return count if lasting >= 0.98 * played else 0


def _range(cells: list[np.ndarray]) -> tuple[int, int]:
    found = [cell[:-1, PITCH] if is_score(cell) else cell[:, PITCH] if looks_like_events(cell) else cell[cell > 0] for cell in cells]
    pitches = np.concatenate([part.reshape(-1) for part in found])
    if not len(pitches):
        raise DataError("there is not one note to draft a schema from")
    low, high = int(pitches.min()), int(pitches.max())
    if not 1 <= low <= high <= 127:
        raise DataError(f"pitches from {low} to {high}; MIDI pitches go from 1 to 127")
    return low, high


MODALITY = Music()
