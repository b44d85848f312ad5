"""Pieces of a fixed number of single voices out of MusicXML, on an even grid: what the chorales of music21's corpus need, no more.

Read: parts of pitches, rests, chords (their first note, the lowest), ties, pickup bars, several voices of a bar (the first). Repeats
are not played out. Of the document only what stands in it is read: entities are refused.

Format: https://www.w3.org/2021/06/musicxml40/
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from fractions import Fraction
from xml.etree import ElementTree

import numpy as np

from ...vocabulary.errors import DataError

_LARGEST = 16 * 2**20
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def read_mxl(content: bytes, steps_per_quarter: int) -> np.ndarray:
    """(steps, parts) MIDI pitches, 0 a rest, of the packed score; the parts in its order."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as box:
            member = next(m for m in box.infolist() if m.filename.endswith((".xml", ".musicxml")) and not m.filename.startswith("META-INF"))
            if member.file_size > _LARGEST:
                raise DataError(f"a score of {member.file_size / 2**20:.0f} MiB, and {_LARGEST // 2**20} is the limit")
            return grid_of(box.read(member), steps_per_quarter)
    except (zipfile.BadZipFile, zlib.error, StopIteration, OSError, RuntimeError) as fault:
        raise DataError(f"not a packed MusicXML score ({fault})") from None


def grid_of(document: bytes, steps_per_quarter: int) -> np.ndarray:
    parts = [_part(part, steps_per_quarter) for part in _parsed(document).findall("part")]
    if not parts:
        raise DataError("a MusicXML score without parts")
    grid = np.zeros((max(map(len, parts)), len(parts)), dtype=np.int16)
    for voice, pitches in enumerate(parts):
        grid[: len(pitches), voice] = pitches
    return grid


def _parsed(document: bytes) -> ElementTree.Element:
    if b"<!ENTITY" in document:
        raise DataError("a MusicXML document that declares entities; nothing in it was read")
    try:
        return ElementTree.fromstring(document)  # noqa: S314 - no entities, see above
    except ElementTree.ParseError as fault:
        raise DataError(f"not XML ({fault})") from None


def _part(part: ElementTree.Element, steps_per_quarter: int) -> np.ndarray:
    """(steps,) what sounds at the beginning of each step."""
    notes: list[tuple[Fraction, Fraction, int]] = []
    divisions, start = Fraction(1), Fraction(0)
    for measure in part.findall("measure"):
        now = furthest = start
        for item in measure:
            if item.tag == "attributes" and item.findtext("divisions"):
                divisions = Fraction(item.findtext("divisions", "1"))
            length = Fraction(item.findtext("duration", "0")) / divisions
            if item.tag == "backup":
                now -= length
            elif item.tag == "forward":
                now += length
            elif item.tag == "note" and item.find("grace") is None and item.find("chord") is None:
                notes.append((now, now + length, _pitch(item)))
                now += length
            furthest = max(furthest, now)
        start = furthest
    return _sampled(notes, start, steps_per_quarter)


def _sampled(notes: list[tuple[Fraction, Fraction, int]], end: Fraction, steps_per_quarter: int) -> np.ndarray:
    """Of two notes at once the one that the document has first is heard."""
    pitches = np.zeros(math.ceil(end * steps_per_quarter), dtype=np.int16)
    for onset, stop, pitch in notes:
        steps = slice(math.ceil(onset * steps_per_quarter), math.ceil(stop * steps_per_quarter))
        pitches[steps] = np.where(pitches[steps] == 0, pitch, pitches[steps])
    return pitches


def _pitch(note: ElementTree.Element) -> int:
    pitch = note.find("pitch")
    if pitch is None:
        return 0
    return 12 * (int(pitch.findtext("octave", "4")) + 1) + _STEPS[pitch.findtext("step", "C")] + round(float(pitch.findtext("alter", "0")))
