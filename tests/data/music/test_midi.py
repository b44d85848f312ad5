"""MIDI files: what guardrail writes comes back, what others write is read by its beats, what is broken is named."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.data.arrays import as_column
from guardrail.data.modality import modality, modality_of
from guardrail.data.music import midi
from guardrail.data.music.midi import parse_midi
from guardrail.vocabulary.errors import DataError
from guardrail.vocabulary.schema import Schema

MUSIC = modality("music")


def schema(**said: Any) -> Schema:
    return Schema.model_validate({"modality": "music", "music": said})


GRID = schema(encoding="grid", voices=["soprano", "bass"], low=36, high=84, length=16)
EVENTS = schema(encoding="events", low=1, high=127, length=64)


def pieces(*cells: Any, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"notes": as_column([np.array(cell) for cell in cells]), **columns})


def file(*tracks: list[Any], ticks: int = 100, kind: int = 1) -> bytes:
    made = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    made.tracks.extend(mido.MidiTrack(track) for track in tracks)
    stream = io.BytesIO()
    made.save(file=stream)
    return stream.getvalue()


def on(pitch: int, time: int = 0, velocity: int = 64, channel: int = 0) -> mido.Message:
    return mido.Message("note_on", note=pitch, velocity=velocity, time=time, channel=channel)


def off(pitch: int, time: int = 0, channel: int = 0) -> mido.Message:
    return mido.Message("note_off", note=pitch, time=time, channel=channel)


def cast(content: bytes, said: Schema) -> list[list[int]]:
    frame, _ = MUSIC.cast(pd.DataFrame({"notes": as_column([parse_midi(content)[0]])}), said, on_error="fail", where="t")
    return frame["notes"].iloc[0].tolist()


rows = st.lists(st.tuples(*[st.sampled_from([0, 36, 60, 84])] * 2), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(rows=rows)
def test_a_grid_comes_back_from_its_midi_file_rests_at_the_end_included(rows: list[tuple[int, int]]) -> None:
    assert GRID.music
    content = midi.midi_of(np.array(rows), GRID.music, {})
    back = cast(content, GRID)
    if {voice for row in rows for voice, pitch in enumerate(row) if pitch} == {0, 1}:
        assert back == [list(row) for row in rows]
    else:  # one voice is silent: what sounds goes to the highest
        assert [max(row) for row in back] == [max(row) for row in rows]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 9999), st.integers(1, 9999), st.integers(1, 127), st.integers(1, 127)), max_size=12))
def test_events_come_back_to_the_millisecond(rows: list[tuple[int, int, int, int]]) -> None:
    frame, _ = MUSIC.cast(pieces(np.array(rows, dtype=np.int64).reshape(-1, 4)), EVENTS, on_error="fail", where="t")
    assert EVENTS.music
    assert cast(midi.midi_of(frame["notes"].iloc[0], EVENTS.music, {}), EVENTS) == frame["notes"].iloc[0].tolist()


def test_a_folder_comes_back_with_what_is_known_beside_each_piece(tmp_path: Path) -> None:
    frame = pieces([[60, 48]], [[62, 50], [0, 0]], mode=pd.Categorical(["major", None]), year=pd.array([1725, 1726], dtype="Int64"))
    MUSIC.write(frame, tmp_path / "out", GRID)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000000.mid", "000001.mid"]
    assert list(tmp_path.iterdir()) == [tmp_path / "out"] and modality_of(tmp_path / "out").name == "music"
    back = MUSIC.read(tmp_path / "out")
    assert back["mode"].tolist() == ["major", None] and back["year"].tolist() == [1725, 1726]
    again, _ = MUSIC.cast(back[["notes"]], GRID, on_error="fail", where="t")
    assert [cell.tolist() for cell in again["notes"]] == [cell.tolist() for cell in frame["notes"]]
    with pytest.raises(DataError, match="not an empty folder"):
        MUSIC.write(frame, tmp_path / "out", GRID)
    with pytest.raises(DataError, match="a name without a suffix"):
        MUSIC.write(frame, tmp_path / "out.mid", GRID)


def test_written_files_play(tmp_path: Path) -> None:
    """mido's own clock agrees: three steps of a quarter of 600 ms."""
    MUSIC.write(pieces([[60, 48], [60, 50], [62, 0]]), tmp_path / "out", GRID)
    played = mido.MidiFile(tmp_path / "out" / "000000.mid")
    assert played.length == pytest.approx(3 * 0.15) and [track.name for track in played.tracks] == ["", "soprano", "bass"]
    assert sum(message.type == "note_on" for message in played) == sum(message.type == "note_off" for message in played) == 4


def test_arrays_come_back(tmp_path: Path) -> None:
    frame = pieces([[60, 48]], [[62, 50], [0, 0]], mode=["a", "b"])
    MUSIC.write(frame, tmp_path / "out.npz", GRID)
    back = MUSIC.read(tmp_path / "out.npz")
    assert modality_of(tmp_path / "out.npz").name == "music" and back["mode"].tolist() == ["a", "b"]
    assert [cell.tolist() for cell in back["notes"]] == [cell.tolist() for cell in frame["notes"]]
    np.savez(tmp_path / "whole.npz", notes=np.full((3, 5, 2), 60, dtype=np.uint8), labels=np.arange(3))
    assert MUSIC.read(tmp_path / "whole.npz")["label"].tolist() == [0, 1, 2]
    np.savez(tmp_path / "bad.npz", a=np.zeros((3, 2)))
    with pytest.raises(DataError, match="expected whole numbers"):
        MUSIC.read(tmp_path / "bad.npz")
    np.savez(tmp_path / "none.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="no piece"):
        MUSIC.read(tmp_path / "none.npz")


def test_tempo_changes_are_heard_and_beats_are_not_moved_by_them() -> None:
    """By hand: a quarter at 1 s, then a quarter at 0.25 s; on the grid each is four steps."""
    tempo = [mido.MetaMessage("set_tempo", tempo=1_000_000), mido.MetaMessage("set_tempo", tempo=250_000, time=100)]
    content = file(tempo, [on(60), off(60, 100), on(62), off(62, 100)])
    assert cast(content, EVENTS) == [[0, 1000, 60, 64], [1000, 250, 62, 64]]
    one = schema(encoding="grid", voices=["voice"], length=16)
    assert cast(content, one) == [[60]] * 4 + [[62]] * 4


def test_voices_are_tracks_from_the_highest_and_percussion_is_none() -> None:
    content = file([on(40), off(40, 50)], [on(80), off(80, 100)], [on(35, channel=9), off(35, 100, channel=9)])
    assert cast(content, GRID) == [[80, 40], [80, 40], [80, 0], [80, 0]]
    assert [row[2] for row in cast(content, EVENTS)] == [40, 80]


def test_chords_of_one_track_are_shared_out_from_the_highest() -> None:
    content = file([on(60), on(64), off(60, 50), off(64, 50)])
    assert cast(content, GRID) == [[64, 60], [64, 60], [64, 0], [64, 0]]
    with pytest.raises(DataError, match=r"more than 2 notes at once \(step 1\)"):
        cast(file([on(60), on(64), on(67), off(60, 50), off(64), off(67)]), GRID)
    with pytest.raises(DataError, match="3 voices"):
        cast(file(*[[on(pitch), off(pitch, 50)] for pitch in (60, 64, 67)]), GRID)


def test_notes_are_moved_to_the_nearest_step_and_none_is_lost() -> None:
    content = file([on(60, 13), off(60, 1), on(62, 25), off(62, 30)], ticks=100)
    assert [row[0] for row in cast(content, schema(encoding="grid", voices=["voice"], length=16))] == [0, 60, 62]


GOOD = file([on(60), off(60, 50)])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"RIFF" + GOOD, "not a MIDI file"),
        (b"MThd", "cut off in its head"),
        (GOOD[:-6], "broken MIDI file"),
        (GOOD[:12] + b"\xe7\x28" + GOOD[14:], "SMPTE"),
        (GOOD[:12] + b"\0\0" + GOOD[14:], "0 ticks"),
        (GOOD[:8] + b"\0\2" + GOOD[10:], "format 2"),
        (file([on(60), on(62), off(62, 9)]), "track 1: 1 notes never end .the first: pitch 60 at tick 0"),
        (file([on(60), off(60, 200_000_000)]), "lasts more than 100,000 quarter notes"),
        (file([mido.MetaMessage("set_tempo", tempo=16_000_000), on(60), off(60, 999_900)]), "100,000 seconds"),
        (GOOD[:22] + b"\xff" * 9 + GOOD[22:], "broken MIDI file|quarter notes"),
        (b"MThd" + b"\0" * 3_000_000, "limit for one piece"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "good.mid").write_bytes(GOOD)
    (tmp_path / "bad.mid").write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        MUSIC.read(tmp_path / "bad.mid")
    assert str(caught.value).startswith(f"{tmp_path / 'bad.mid'}: ") and "\n" not in str(caught.value)
    with pytest.raises(DataError, match="one of 2 files"):
        MUSIC.read(tmp_path)
    assert MUSIC.read(tmp_path, on_error="skip").attrs["skipped"] == 1


def test_ten_million_events_are_refused_before_they_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(midi.mido, "MidiFile", None)
    body = b"\x00\x90\x3c\x40" + b"\x00\x3c\x00\x00\x3c\x40" * 5_000_000
    (tmp_path / "big.mid").write_bytes(GOOD[:14] + b"MTrk" + len(body).to_bytes(4, "big") + body)
    with pytest.raises(DataError, match=r"28.6 MiB, and 2 is the limit"):
        MUSIC.read(tmp_path / "big.mid")


def test_time_never_runs_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte of a MIDI file says it; a parser might."""
    track = mido.MidiTrack([on(60), off(60, 10)])
    track[1].time = -5
    made = mido.MidiFile(ticks_per_beat=100)
    made.tracks.append(track)
    monkeypatch.setattr(midi.mido, "MidiFile", lambda file: made)
    with pytest.raises(DataError, match="track 1 goes back in time"):
        parse_midi(GOOD)


@settings(max_examples=300, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(8, 200), st.integers(0, 255)), max_size=4), cut=st.integers(14, 300))
def test_no_damage_gets_past_the_one_error(edits: list[tuple[int, int]], cut: int) -> None:
    tempo = [mido.MetaMessage("set_tempo", tempo=400_000), mido.MetaMessage("key_signature", key="C"), mido.MetaMessage("text", text="x")]
    content = bytearray(file(tempo, [on(60), off(60, 50), on(62), off(62, 300)], [on(40), off(40, 99)])[:cut])
    for place, value in edits:
        content[place % len(content)] = value
    try:
        score, _ = parse_midi(bytes(content))
    except DataError as fault:
        assert "\n" not in str(fault)
    else:
        assert score.dtype == np.int32 and (score[:-1, [1, 6]] >= 1).all() and (score[:, 0] >= 0).all()


def test_what_others_write_into_a_file_is_no_column() -> None:
    for text in ('{"guardrail": 3}', '{"guardrail": {"columns": {"a": [1]}}}', '{"guardrail": {"columns"', '{"guardrail": {}}', "hello"):
        score, columns = parse_midi(file([mido.MetaMessage("text", text=text), on(60), off(60, 9)]))
        assert columns == {} and len(score) == 2


def test_subfolders_are_classes_and_links_are_not_followed(tmp_path: Path) -> None:
    for name in ("bach", "other"):
        (tmp_path / "top" / name).mkdir(parents=True)
        (tmp_path / "top" / name / "a.midi").write_bytes(GOOD)
    (tmp_path / "top" / "bach" / "link.mid").symlink_to(tmp_path / "top" / "other" / "a.midi")
    (tmp_path / "top" / ".hidden.mid").write_bytes(b"")
    assert MUSIC.read(tmp_path / "top")["label"].tolist() == ["bach", "other"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no .mid or .midi file"):
        MUSIC.read(tmp_path / "empty")


def test_scores_of_single_voices_are_drafted_as_a_grid_and_others_as_events() -> None:
    def drafted(content: bytes) -> Any:
        return MUSIC.draft(pd.DataFrame({"notes": as_column([parse_midi(content)[0]])}), target=None, sensitive=(), unit="row").music

    grid = drafted(file([on(60), off(60, 100), on(62), off(62, 100)], [on(40), off(40, 200)]))
    assert (grid.encoding, len(grid.voices), grid.low, grid.high, grid.source) == ("grid", 2, 40, 62, "data")
    assert drafted(file([on(60), on(64), off(60, 100), off(64)])).encoding == "events"
