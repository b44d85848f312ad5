"""A piece as MIDI files have it, before a schema says which encoding it becomes, and the two encodings it becomes.

`score`: int32 (notes + 1, 7), a row per note: onset and length in milliseconds, pitch, velocity, voice, onset and length in 960ths
of a quarter note; the last row is the end of the piece, pitch -1. `grid` and `events`: see MusicContent.
"""

from __future__ import annotations

import numpy as np

from ...vocabulary.content import MusicContent
from ...vocabulary.errors import DataError

QUARTER = 960
ONSET, LENGTH, PITCH, VELOCITY, VOICE, BEAT, BEATS = range(7)
_LONGEST_STEPS = 2_000_000


def is_score(cell: np.ndarray) -> bool:
    """Told from a grid of seven voices by its type: what is read from arrays is never int32."""
    return cell.dtype == np.int32 and cell.shape[1:] == (7,)


def looks_like_events(cell: np.ndarray) -> bool:
    """Rows of onset, length, pitch, velocity, and no grid of four voices: onsets never go back, lengths are not 0."""
    if cell.shape[1:] != (4,) or not len(cell):
        return False
    in_range = ((cell[:, 2:] >= 1) & (cell[:, 2:] <= 127)).all()
    return bool(in_range and (np.diff(cell[:, 0]) >= 0).all() and (cell[:, 1] > 0).all() and cell[:, 0].max() > 127)


def events_of(score: np.ndarray) -> np.ndarray:
    """(notes, 4)."""
    return score[:-1, : VELOCITY + 1].astype(np.int64)


def grid_of(score: np.ndarray, content: MusicContent) -> np.ndarray:
    """(steps, voices): onsets and ends at the nearest step; a note has one step at least."""
    notes, voices = score[:-1], len(content.voices)
    first = _steps(notes[:, BEAT], content)
    last = np.maximum(_steps(notes[:, BEAT] + notes[:, BEATS], content), first + 1)
    steps = max(1, int(_steps(score[-1:, BEAT], content)[0]), int(last.max(initial=0)))
    if steps > _LONGEST_STEPS:
        raise DataError(f"a piece of {steps} steps, and {_LONGEST_STEPS} is the limit")
    grid = np.zeros((steps, voices), dtype=np.int16)
    groups = np.unique(notes[:, VOICE])
    if len(groups) > voices:
        raise DataError(f"{len(groups)} voices (tracks or channels), and the schema has {voices}: {', '.join(content.voices)}")
    if len(groups) == voices:
        for i in np.argsort(first, kind="stable"):  # where notes of a voice overlap, the later one is heard
            grid[first[i] : last[i], notes[i, VOICE]] = notes[i, PITCH]
        return grid
    return _shared_out(grid, first, last, notes[:, PITCH])


def _shared_out(grid: np.ndarray, first: np.ndarray, last: np.ndarray, pitches: np.ndarray) -> np.ndarray:
    """Fewer tracks than voices: what sounds at a step goes to the voices from the highest."""
    for i in np.argsort(-pitches, kind="stable"):
        part = grid[first[i] : last[i]]
        taken = (part > 0).sum(axis=1)
        doubled = (part == pitches[i]).any(axis=1)
        if (full := ~doubled & (taken == grid.shape[1])).any():
            raise DataError(
                f"more than {grid.shape[1]} notes at once (step {first[i] + int(full.argmax()) + 1}), and the schema has so many voices"
            )
        rows = np.flatnonzero(~doubled)
        part[rows, taken[rows]] = pitches[i]
    return grid


def _steps(beats: np.ndarray, content: MusicContent) -> np.ndarray:
    return np.floor(beats.astype(float) * content.steps_per_quarter / QUARTER + 0.5).astype(np.int64)


def judged(cell: object, content: MusicContent, *, clip: bool) -> np.ndarray:
    """The cell as the schema has it: int16 (steps, voices), or int64 (notes, 4) in the order of their onsets; else a DataError."""
    if not isinstance(cell, np.ndarray) or cell.ndim != 2 or cell.dtype.kind not in "iu":
        shape = f"{cell.dtype} of shape {cell.shape}" if isinstance(cell, np.ndarray) else type(cell).__name__
        raise DataError(f"a piece that is {shape}; expected whole numbers, (steps, voices) or (notes, 4)")
    if content.encoding == "grid":
        grid = grid_of(cell, content) if is_score(cell) else cell
        return _judged_grid(grid, content, clip=clip)
    return _judged_events(events_of(cell) if is_score(cell) else cell.astype(np.int64), content, clip=clip)


def _judged_grid(grid: np.ndarray, content: MusicContent, *, clip: bool) -> np.ndarray:
    if grid.shape[1] != len(content.voices) or not len(grid):
        raise DataError(f"a grid of shape {grid.shape}; expected (steps, {len(content.voices)}), one step at least")
    within = np.where(grid == 0, 0, np.clip(grid, content.low, content.high))
    if not clip and (wrong := within != grid).any():
        step, voice = np.argwhere(wrong)[0]
        raise DataError(
            f"pitch {grid[step, voice]} at step {step + 1}, voice {content.voices[voice]}; expected 0 (a rest) or {_range(content)}"
        )
    return np.asarray(within.astype(np.int16))


def _judged_events(events: np.ndarray, content: MusicContent, *, clip: bool) -> np.ndarray:
    if events.shape[1] != 4:
        raise DataError(f"events of shape {events.shape}; expected (notes, 4): onset and length in ms, pitch, velocity")
    if len(events) and (events[:, ONSET].min() < 0 or events[:, LENGTH].min() < 1):
        raise DataError("a note that begins before 0 ms or lasts less than 1 ms; expected onset, length, pitch, velocity in this order")
    within = np.column_stack([events[:, :2], np.clip(events[:, PITCH], content.low, content.high), np.clip(events[:, VELOCITY], 1, 127)])
    if not clip and (wrong := within != events).any():
        note, field = np.argwhere(wrong)[0]
        expected = _range(content) if field == PITCH else "1 to 127"
        raise DataError(f"note {note + 1}: {'pitch' if field == PITCH else 'velocity'} {events[note, field]}; expected {expected}")
    return without_overlaps(within)


def without_overlaps(events: np.ndarray) -> np.ndarray:
    """In the order of onsets; a note that is struck again while it sounds ends there, of two struck at once the longer stays."""
    events = events[np.lexsort((-events[:, LENGTH], events[:, PITCH], events[:, ONSET]))]
    kept = np.ones(len(events), dtype=bool)
    for pitch in np.unique(events[:, PITCH]):
        rows = np.flatnonzero(events[:, PITCH] == pitch)
        gaps = np.diff(events[rows, ONSET])
        again = rows[1:][gaps == 0]
        kept[again] = False
        rows = rows[np.concatenate([[True], gaps > 0])]
        events[rows[:-1], LENGTH] = np.minimum(events[rows[:-1], LENGTH], np.diff(events[rows, ONSET]))
    return np.asarray(events[kept])


def _range(content: MusicContent) -> str:
    return f"{content.low} to {content.high}"
