"""Music: grids and events go round, pieces are cut without loss, the chorales are read from an installed package."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.data import builtin
from guardrail.data.arrays import as_column
from guardrail.data.modality import modality
from guardrail.data.music import builtin as source
from guardrail.data.music.codec import Events
from guardrail.data.music.musicxml import grid_of, read_mxl
from guardrail.vocabulary.content import MusicContent
from guardrail.vocabulary.errors import DataError, MissingExtra, SchemaError
from guardrail.vocabulary.schema import Schema

MUSIC = modality("music")
RNG = np.random.default_rng(0)


def schema(**said: Any) -> Schema:
    return Schema.model_validate({"modality": "music", "declared_by": "us", "music": said})


def pieces(*cells: Any) -> pd.DataFrame:
    return pd.DataFrame({"notes": as_column([np.array(cell) for cell in cells])})


GRID = schema(encoding="grid", voices=["high", "low"], low=48, high=72, length=4)
EVENTS = schema(encoding="events", low=48, high=72, length=32)

note = st.tuples(st.integers(0, 3000), st.integers(1, 2500), st.integers(48, 72), st.integers(1, 127))
notes = st.lists(note, max_size=12).map(lambda rows: np.array(rows, dtype=np.int64).reshape(-1, 4))
grids = st.lists(st.tuples(*[st.sampled_from([0, 48, 50, 72])] * 2), min_size=1, max_size=11).map(lambda rows: np.array(rows))


@settings(max_examples=60, deadline=None)
@given(grid=grids)
def test_every_grid_is_cut_and_comes_back(grid: np.ndarray) -> None:
    frame, _ = MUSIC.cast(pieces(grid), GRID, on_error="fail", where="t")
    cut = MUSIC.pieces(frame, GRID, most=None)
    tokens = MUSIC.codec(GRID).encode(cut, "tokens")
    back = MUSIC.codec(GRID).decode(tokens, "tokens", RNG)
    assert tokens.shape == (-(-len(grid) // 4), 8)
    assert np.array_equal(np.concatenate(list(back["notes"])), grid)


def sounding(events: np.ndarray, millisecond: int) -> set[int]:
    return {pitch for onset, length, pitch, _ in events.tolist() if onset <= millisecond < onset + length}


@settings(max_examples=100, deadline=None)
@given(events=notes)
def test_events_come_back_to_the_nearest_hundredth_of_a_second(events: np.ndarray) -> None:
    content = EVENTS.music
    assert content is not None
    frame, _ = MUSIC.cast(pieces(events), EVENTS, on_error="fail", where="t")
    coder, cell = Events(content), frame["notes"].iloc[0]
    tokens = coder.encode(cell)
    back = coder.decode(tokens)
    assert coder.encode(back) == tokens
    assert len(back) <= len(cell) and (back[:, 1] > 0).all()
    apart = np.abs(cell[:, :2].sum(axis=1)[:, None] - np.arange(0, 6000, 97)[None]).min(initial=9999, axis=0) > 15
    apart &= np.abs(cell[:, 0][:, None] - np.arange(0, 6000, 97)[None]).min(initial=9999, axis=0) > 15
    for millisecond in np.arange(0, 6000, 97)[apart].tolist():
        assert sounding(back, millisecond) == sounding(cell, millisecond)


@settings(max_examples=60, deadline=None)
@given(events=notes)
def test_events_are_cut_into_pieces_that_fit_and_keep_every_note(events: np.ndarray) -> None:
    frame, _ = MUSIC.cast(pieces(events), EVENTS, on_error="fail", where="t")
    cut = MUSIC.pieces(frame, EVENTS, most=None)
    tokens = MUSIC.codec(EVENTS).encode(cut, "tokens")
    assert tokens.shape[1] == 32 and (tokens[:, -1] == MUSIC.codec(EVENTS).tokens.end).all()
    assert sum(map(len, cut["notes"])) == len(frame["notes"].iloc[0])
    whole = np.concatenate(list(cut["notes"]))
    assert np.array_equal(whole[:, 1:], frame["notes"].iloc[0][:, 1:])
    assert len(MUSIC.pieces(frame, EVENTS, most=1)) == 1


def test_a_performance_becomes_the_tokens_of_the_paper() -> None:
    """By hand: loudness 25 of 32, C4 begins, 1.23 s pass (100 + 23 ticks), C4 ends, end."""
    codec = MUSIC.codec(schema(encoding="events", low=60, high=61, length=8))
    tokens = codec.encode(pieces([[0, 1230, 60, 100]]), "tokens")
    assert tokens.tolist() == [[4 + 100 + 25, 0, 4 + 99, 4 + 22, 2, 136, 136, 136]]
    assert codec.decode(tokens, "tokens", RNG)["notes"].iloc[0].tolist() == [[0, 1230, 60, 102]]


def test_every_note_is_closed_whatever_a_model_draws() -> None:
    codec = MUSIC.codec(EVENTS)
    drawn = np.random.default_rng(1).integers(0, codec.tokens.sizes[0], size=(200, 32))
    frame = codec.decode(drawn, "tokens", RNG)
    cast, kept = MUSIC.cast(frame, EVENTS, on_error="fail", where="t")
    assert kept.all() and all((cell[:, 1] > 0).all() for cell in cast["notes"])
    drawn = np.random.default_rng(1).integers(0, MUSIC.codec(GRID).tokens.sizes[0], size=(200, 8))
    frame = MUSIC.codec(GRID).decode(drawn, "tokens", RNG)
    assert MUSIC.cast(frame, GRID, on_error="fail", where="t")[1].all() and min(map(len, frame["notes"])) == 1


def test_a_note_longer_than_a_piece_is_shortened() -> None:
    cut = MUSIC.pieces(pieces([[5000, 100_000, 60, 64]]), EVENTS, most=None)
    assert cut["notes"].iloc[0].tolist() == [[0, 28_000, 60, 64]]
    MUSIC.codec(EVENTS).encode(cut, "tokens")
    with pytest.raises(SchemaError, match="declare more"):
        MUSIC.pieces(pieces([[0, 10, 60, 64]]), schema(encoding="events", length=4), most=None)


@pytest.mark.parametrize(
    ("cell", "said", "says"),
    [
        ([[60, 0, 0]], GRID, r"shape \(1, 3\); expected \(steps, 2\)"),
        ([[60, 0], [0, 90]], GRID, "pitch 90 at step 2, voice low; expected 0 .a rest. or 48 to 72"),
        ([[0.5, 1.0]], GRID, "float64"),
        ([60, 62], GRID, r"shape \(2,\)"),
        ([[0, 10, 60]], EVENTS, r"expected \(notes, 4\)"),
        ([[-1, 10, 60, 64]], EVENTS, "before 0 ms"),
        ([[0, 0, 60, 64]], EVENTS, "less than 1 ms"),
        ([[0, 10, 20, 64]], EVENTS, "note 1: pitch 20; expected 48 to 72"),
        ([[0, 10, 60, 128]], EVENTS, "velocity 128; expected 1 to 127"),
    ],
)
def test_what_contradicts_the_schema_is_named_and_skipped_on_request(cell: Any, said: Schema, says: str) -> None:
    good = [[60, 48]] if said is GRID else [[0, 10, 60, 64]]
    with pytest.raises(DataError, match="record 2: .*" + says):
        MUSIC.cast(pieces(good, cell), said, on_error="fail", where="t")
    frame, kept = MUSIC.cast(pieces(good, cell), said, on_error="skip", where="t")
    assert len(frame) == 1 and kept.tolist() == [True, False]


def test_clip_moves_pitches_into_the_range() -> None:
    assert MUSIC.cast(pieces([[90, 0]]), GRID, on_error="clip", where="t")[0]["notes"].iloc[0].tolist() == [[72, 0]]
    assert MUSIC.cast(pieces([[0, 9, 20, 200]]), EVENTS, on_error="clip", where="t")[0]["notes"].iloc[0].tolist() == [[0, 9, 48, 127]]


def test_a_note_struck_again_ends_there_and_of_two_at_once_the_longer_stays() -> None:
    cell = [[0, 100, 60, 10], [50, 100, 60, 20], [0, 30, 62, 5], [0, 90, 62, 6]]
    assert MUSIC.cast(pieces(cell), EVENTS, on_error="fail", where="t")[0]["notes"].iloc[0].tolist() == [
        [0, 50, 60, 10],
        [0, 90, 62, 6],
        [50, 100, 60, 20],
    ]


def test_drafts_say_what_they_read() -> None:
    grid = MUSIC.draft(pieces([[60, 48], [62, 0]]), target=None, sensitive=(), unit="row").music
    assert grid and (grid.encoding, grid.low, grid.high, len(grid.voices), grid.source) == ("grid", 48, 62, 2, "data")
    events = MUSIC.draft(pieces([[0, 300, 60, 64], [200, 300, 64, 64]]), target=None, sensitive=(), unit="row").music
    assert events and (events.encoding, events.low, events.high) == ("events", 60, 64)
    with pytest.raises(DataError, match="no music"):
        MUSIC.draft(pieces(), target=None, sensitive=(), unit="row")
    with pytest.raises(DataError, match="not one note"):
        MUSIC.draft(pieces([[0, 0]]), target=None, sensitive=(), unit="row")


def test_a_picture_shows_piano_rolls() -> None:
    from PIL import Image

    for said, cell in ((GRID, [[60, 48], [60, 0], [0, 0]]), (EVENTS, [[0, 300, 60, 64]]), (EVENTS, np.zeros((0, 4), dtype=int))):
        with Image.open(io.BytesIO(MUSIC.picture(pieces(cell, cell), said))) as picture:
            assert picture.format == "PNG" and picture.width > 1000
    with pytest.raises(DataError, match="no music to show"):
        MUSIC.picture(pieces(), GRID)


SCORE = """<score-partwise><part id="P1">
<measure><attributes><divisions>2</divisions></attributes>
<note><pitch><step>C</step><alter>1</alter><octave>4</octave></pitch><duration>2</duration></note>
<note><grace/><pitch><step>D</step><octave>4</octave></pitch></note><note><rest/><duration>2</duration></note></measure>
<measure><note><pitch><step>B</step><octave>3</octave></pitch><duration>4</duration></note>
<note><chord/><pitch><step>E</step><octave>4</octave></pitch><duration>4</duration></note>
<backup><duration>4</duration></backup><note><pitch><step>G</step><octave>3</octave></pitch><duration>2</duration></note></measure>
</part><part id="P2"><measure><note><pitch><step>C</step><octave>3</octave></pitch><duration>1</duration></note></measure>
</part></score-partwise>"""


def test_a_score_is_sampled_by_hand() -> None:
    """A sharp, a grace note, a rest, a chord, a second voice; the second part is shorter. Two steps to a quarter note."""
    assert grid_of(SCORE.encode(), 2).T.tolist() == [[61, 61, 0, 0, 59, 59, 59, 59], [48, 48, 0, 0, 0, 0, 0, 0]]


def test_a_score_that_is_none_is_refused() -> None:
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as packed:
        packed.writestr("META-INF/container.xml", "<container/>")
    for content, says in ((b"no zip", "not a packed"), (box.getvalue(), "not a packed")):
        with pytest.raises(DataError, match=says):
            read_mxl(content, 4)
    with pytest.raises(DataError, match="entities"):
        grid_of(b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', 4)
    with pytest.raises(DataError, match="not XML"):
        grid_of(b"<a>", 4)
    with pytest.raises(DataError, match="without parts"):
        grid_of(b"<a/>", 4)


def test_without_the_package_the_chorales_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    monkeypatch.delenv("GUARDRAIL_DATA", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install music21 .*GUARDRAIL_DATA"):
        builtin.load("chorales")
    monkeypatch.setenv("GUARDRAIL_DATA", str(tmp_path))
    (tmp_path / "chorales.npz").write_bytes(b"another file")
    with pytest.raises(DataError, match="SHA-256 is another"):
        builtin.load("chorales")


def test_the_chorales_are_four_voices_in_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GUARDRAIL_DATA", raising=False)
    try:
        frame, public = builtin.load("chorales")
    except MissingExtra:
        pytest.skip("music21 is not installed")
    cast, kept = MUSIC.cast(frame, public, on_error="fail", where="c")
    assert kept.all() and len(cast) == public.records == 250
    means = np.concatenate([cell[(cell > 0).all(axis=1)] for cell in cast["notes"]]).mean(axis=0)
    assert (np.diff(means) < -3).all() and isinstance(public.music, MusicContent)
    whole = MUSIC.pieces(cast, public, most=None)
    tokens = MUSIC.codec(public).encode(whole, "tokens")
    assert tokens.shape[1] == 256
    back = MUSIC.codec(public).decode(tokens, "tokens", RNG)
    assert all(np.array_equal(a, b) for a, b in zip(back["notes"], whole["notes"], strict=True))
