"""One piece out of the bytes of a MIDI file, as what a stranger sent, and into one.

Read by mido; sizes are checked before it parses and what it gives is checked after. Percussion (channel 10) is left out: its
pitches are none. A voice is one channel of one track.
Covered: what is no MIDI file, is cut off, has times in frames (SMPTE), independent sequences, notes that never end, events or
silence without end. Each is a DataError.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mido  # type: ignore[import-untyped]
import numpy as np

from ...vocabulary.content import MusicContent
from ...vocabulary.documents import parse_json
from ...vocabulary.errors import DataError
from .score import LENGTH, ONSET, PITCH, QUARTER, VELOCITY

LARGEST = 2 * 2**20
"""Bytes of a file: 700,000 events, some hours of an orchestra."""
_LONGEST = 100_000
"""Quarter notes of a piece, and seconds."""
_PERCUSSION = 9
_TICKS_A_STEP = 40
_MARK = "guardrail"
_BROKEN = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, mido.KeySignatureError)


_Sounding = dict[tuple[int, int], tuple[int, int]]
"""By channel and pitch: onset and velocity."""


@dataclass
class _Notes:
    """What sounds in a file, in ticks: onset, end, pitch, velocity, voice."""

    rows: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    tempi: dict[int, int] = field(default_factory=dict)
    voices: list[tuple[int, int]] = field(default_factory=list)
    told: dict[str, Any] | None = None
    end: int = 0


def parse_midi(content: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    """The score, and the columns beside it where guardrail wrote the file."""
    _check_head(content)
    try:
        file = mido.MidiFile(file=io.BytesIO(content))
    except _BROKEN as fault:
        raise DataError(f"a broken MIDI file ({str(fault) or type(fault).__name__}); is it cut off?") from None
    notes = _Notes()
    for number, track in enumerate(file.tracks):
        _read_track(track, number, notes, file.ticks_per_beat * _LONGEST)
    return _score(notes, file.ticks_per_beat), (notes.told or {}).get("columns", {})


def _check_head(content: bytes) -> None:
    if not content:
        raise DataError("the file is empty")
    if content[:4] != b"MThd":
        raise DataError("not a MIDI file, whatever its name says")
    if len(content) > LARGEST:
        raise DataError(f"{len(content) / 2**20:.1f} MiB, and {LARGEST // 2**20} is the limit for one piece; is it music?")
    if len(content) < 14:
        raise DataError("a MIDI file that is cut off in its head")
    kind, division = int.from_bytes(content[8:10], "big"), int.from_bytes(content[12:14], "big")
    if division & 0x8000:
        raise DataError("counts time in frames (SMPTE), which has no beats; export it with ticks per quarter note")
    if not division or kind not in (0, 1):
        raise DataError(f"format {kind} with {division} ticks per quarter note; expected format 0 or 1 with one tick at least")


def _read_track(track: mido.MidiTrack, number: int, notes: _Notes, longest: int) -> None:
    now = 0
    sounding: _Sounding = {}
    for message in track:
        if message.time < 0:
            raise DataError(f"track {number + 1} goes back in time")
        now += message.time
        if now > longest:
            raise DataError(f"track {number + 1} lasts more than {_LONGEST:,} quarter notes; no such file is music")
        if message.type == "set_tempo":
            notes.tempi[now] = message.tempo
        elif message.type == "text":
            notes.told = notes.told or _told(message.text)
        elif message.type in ("note_on", "note_off") and message.channel != _PERCUSSION:
            _strike(message, (number, message.channel), now, sounding, notes)
    if sounding:
        (_, pitch), (onset, _) = next(iter(sounding.items()))
        raise DataError(f"track {number + 1}: {len(sounding)} notes never end (the first: pitch {pitch} at tick {onset})")
    notes.end = max(notes.end, now)


def _strike(
    message: mido.Message, voice: tuple[int, int], now: int, sounding: dict[tuple[int, int], tuple[int, int]], notes: _Notes
) -> None:
    """A note that is struck again while it sounds ends there; an end of what does not sound says nothing."""
    key = (message.channel, message.note)
    if key in sounding:
        onset, velocity = sounding.pop(key)
        if voice not in notes.voices:
            notes.voices.append(voice)
        notes.rows.append((onset, now, message.note, velocity, notes.voices.index(voice)))
    if message.type == "note_on" and message.velocity:
        sounding[key] = (now, message.velocity)


def _told(text: str) -> dict[str, Any] | None:
    """What guardrail wrote into a file of its own; any other text is only text."""
    if not text.startswith('{"' + _MARK) or len(text) > 2**16:
        return None
    try:
        said = parse_json(text, where="", error=DataError)[_MARK]
    except (DataError, LookupError, TypeError):
        return None
    columns = said.get("columns") if isinstance(said, dict) else None
    plain = isinstance(columns, dict) and not any(isinstance(value, (dict, list)) for value in columns.values())
    return {"columns": columns} if plain else None


def _score(notes: _Notes, ticks_per_beat: int) -> np.ndarray:
    rows = np.array(sorted(notes.rows), dtype=np.int64).reshape(-1, 5)
    order = _highest_first(rows) if notes.told is None else np.arange(len(notes.voices))
    milliseconds = _clock(notes.tempi, ticks_per_beat)
    onset, stop = milliseconds(rows[:, 0]), milliseconds(rows[:, 1])
    end = milliseconds(np.array([notes.end]))
    if end[0] > _LONGEST * 1000:
        raise DataError(f"lasts more than {_LONGEST:,} seconds; no such file is music")
    beats = np.floor(np.append(rows[:, :2], notes.end) * (QUARTER / ticks_per_beat) + 0.5).astype(np.int64)
    score = np.zeros((len(rows) + 1, 7), dtype=np.int32)
    score[:-1] = np.column_stack(
        [onset, np.maximum(stop - onset, 1), rows[:, 2:4], order[rows[:, 4]], beats[:-1:2], np.maximum(beats[1:-1:2] - beats[:-1:2], 1)]
    )
    score[-1] = (end[0], 0, -1, 0, 0, beats[-1], 0)
    return score


def _highest_first(rows: np.ndarray) -> np.ndarray:
    """(voices,): the place of each by its mean pitch."""
    voices = int(rows[:, 4].max(initial=-1)) + 1
    means = np.array([rows[rows[:, 4] == voice, 2].mean() for voice in range(voices)])
    return np.asarray(np.argsort(np.argsort(-means, kind="stable"), kind="stable"))


def _clock(tempi: dict[int, int], ticks_per_beat: int) -> Callable[[np.ndarray], np.ndarray]:
    """From ticks to whole milliseconds, by every change of the tempo."""
    changes = sorted({0: 500_000, **tempi}.items())
    starts = np.array([tick for tick, _ in changes], dtype=float)
    rates = np.array([tempo for _, tempo in changes], dtype=float) / (1000 * ticks_per_beat)
    passed = np.concatenate([[0.0], np.cumsum(np.diff(starts) * rates[:-1])])

    def milliseconds(ticks: np.ndarray) -> np.ndarray:
        at = np.searchsorted(starts, ticks, side="right") - 1
        return np.asarray(np.floor(passed[at] + (ticks - starts[at]) * rates[at] + 0.5).astype(np.int64))

    return milliseconds


def midi_of(cell: np.ndarray, content: MusicContent, columns: dict[str, Any]) -> bytes:
    """A playable file: a first track with the tempo, then one for every voice."""
    if content.encoding == "grid":
        ticks, tempo = _TICKS_A_STEP * content.steps_per_quarter, content.quarter_ms * 1000
        voices = {name: _runs(cell[:, i]) for i, name in enumerate(content.voices)}
        end = len(cell) * _TICKS_A_STEP
    else:
        ticks, tempo = 500, 500_000  # a tick is a millisecond
        voices = {content.voices[0]: cell[:, [ONSET, LENGTH, PITCH, VELOCITY]]}
        end = int((cell[:, ONSET] + cell[:, LENGTH]).max(initial=0))
    file = mido.MidiFile(type=1, ticks_per_beat=ticks)
    head = json.dumps({_MARK: {"columns": columns}})
    file.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=tempo), mido.MetaMessage("text", text=head), _closing(end)]))
    for i, (name, notes) in enumerate(voices.items()):
        file.tracks.append(_track(name, notes, channel=i % 15 + (i % 15 >= _PERCUSSION), end=end))
    stream = io.BytesIO()
    file.save(file=stream)
    return stream.getvalue()


def _runs(pitches: np.ndarray) -> np.ndarray:
    """(notes, 4) in ticks: equal pitches at neighbouring steps are one note that is held."""
    starts = np.flatnonzero(np.diff(pitches, prepend=-1))
    lengths = np.diff(np.append(starts, len(pitches)))
    sounds = pitches[starts] > 0
    full = np.full(int(sounds.sum()), 80)
    return np.column_stack([starts[sounds] * _TICKS_A_STEP, lengths[sounds] * _TICKS_A_STEP, pitches[starts][sounds], full])


def _track(name: str, notes: np.ndarray, *, channel: int, end: int) -> mido.MidiTrack:
    """Ends before beginnings at the same tick."""
    on = [(int(onset), 1, int(pitch), int(velocity)) for onset, _, pitch, velocity in notes]
    off = [(int(onset + length), 0, int(pitch), 0) for onset, length, pitch, _ in notes]
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=name.encode("ascii", "replace").decode())])
    now = 0
    for tick, begins, pitch, velocity in sorted(on + off):
        kind = "note_on" if begins else "note_off"
        track.append(mido.Message(kind, channel=channel, note=pitch, velocity=velocity, time=tick - now))
        now = tick
    track.append(_closing(end - now))
    return track


def _closing(ticks: int) -> mido.MetaMessage:
    return mido.MetaMessage("end_of_track", time=ticks)
