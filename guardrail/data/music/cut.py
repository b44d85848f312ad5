"""Long pieces cut into several of at most the schema's length."""

from __future__ import annotations

import numpy as np

from ...vocabulary.content import MusicContent
from ...vocabulary.errors import SchemaError
from .codec import SHIFTS, TICK, Events
from .score import LENGTH, ONSET

_SHORTEST = 8


def cut(cell: np.ndarray, content: MusicContent) -> list[np.ndarray]:
    """`grid`: every `length` steps. `events`: as many notes as fit, each whole; the silence before the first of a piece goes."""
    if content.encoding == "grid":
        return [cell[start : start + content.length] for start in range(0, len(cell), content.length)]
    if content.length < _SHORTEST:
        raise SchemaError(f"music.length {content.length}: one note takes up to {_SHORTEST} event tokens; declare more")
    events, most = Events(content), content.length - 1
    parts, start = [], 0
    while start < len(cell):
        taken = _fitting(cell[start:], events, most)
        parts.append(_from_zero(cell[start : start + taken]) if taken else _shortened(cell[start : start + 1], most))
        start += max(taken, 1)
    return parts or [cell]


def _fitting(notes: np.ndarray, events: Events, most: int) -> int:
    """How many notes from the first take at most so many tokens: no more than half of them, since each begins and ends."""
    low, high = 0, min(len(notes), most // 2)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(events.encode(_from_zero(notes[:middle]))) <= most else (low, middle - 1)
    return low


def _from_zero(notes: np.ndarray) -> np.ndarray:
    moved = notes.copy()
    moved[:, ONSET] -= notes[:1, ONSET].sum()
    return moved


def _shortened(note: np.ndarray, most: int) -> np.ndarray:
    """A note so long that its time alone does not fit."""
    note = _from_zero(note)
    note[:, LENGTH] = (most - 3) * SHIFTS * TICK
    return note
