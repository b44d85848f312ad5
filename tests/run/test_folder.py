"""The run folder: made as a whole or not at all; read without guessing."""

from __future__ import annotations

import datetime as dt
import shutil

import pytest

from guardrail.registry.runs import Registry
from guardrail.run.folder import RunFolder, building, new_id
from guardrail.run.registration import is_registered, register
from guardrail.vocabulary.documents import sha256_of_file
from guardrail.vocabulary.errors import ArtifactError, InputError


def test_a_folder_appears_when_everything_is_in_it(tmp_path):
    final = tmp_path / "runs" / "one"
    with building(final) as partial:
        (partial / "spec.yaml").write_text("x")
        assert not final.exists() and partial.parent == final.parent
    assert [path.name for path in final.iterdir()] == ["spec.yaml"]
    assert [path.name for path in final.parent.iterdir()] == ["one"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError, OSError])
def test_whatever_stops_the_making_leaves_nothing(tmp_path, fault):
    with pytest.raises(fault), building(tmp_path / "runs" / "one") as partial:
        (partial / "samples").mkdir()
        (partial / "samples" / "rows").write_text("x")
        raise fault
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "mine").write_text("x")
    with pytest.raises(InputError, match="exists already"), building(tmp_path / "one"):
        raise AssertionError("nothing may be made")
    assert (tmp_path / "one" / "mine").read_text() == "x"


def test_ids_sort_by_time_name_the_spec_and_never_repeat():
    early, late = (new_id("visits", dt.datetime(2026, 11, day, tzinfo=dt.UTC)) for day in (9, 23))
    assert early < late and early.endswith("-visits")
    assert len({new_id("visits", dt.datetime(2026, 11, 23, tzinfo=dt.UTC)) for _ in range(100)}) == 100


def test_hashes_are_of_what_lies_there_now(make_run):
    folder = RunFolder.at(make_run())
    before = folder.hashes()
    assert set(before) == {"spec", "receipt", "synthetic"}
    assert before["synthetic"] == sha256_of_file(folder.samples)
    folder.samples.write_bytes(b"other rows")
    assert folder.hashes()["synthetic"] != before["synthetic"] and folder.hashes()["spec"] == before["spec"]


@pytest.mark.parametrize("lacking", ["spec.yaml", "receipt.json"])
def test_a_folder_without_spec_or_receipt_is_none(make_run, lacking):
    path = make_run()
    (path / lacking).unlink()
    with pytest.raises(ArtifactError, match="not a run folder"):
        RunFolder.at(path)


@pytest.mark.parametrize(("file", "read"), [("spec.yaml", "spec"), ("receipt.json", "receipt")])
def test_a_document_that_was_edited_into_nonsense_is_named(make_run, file, read):
    path = make_run()
    (path / file).write_text('{"colour": "red"}')
    with pytest.raises(ArtifactError, match=file):
        getattr(RunFolder.at(path), read)


def test_the_registry_follows_a_folder_and_never_takes_in_a_foreign_one(make_run, own_home, tmp_path):
    mine = RunFolder.at(make_run())
    assert not is_registered(mine, own_home)
    register(mine, own_home, ())
    (record,) = Registry(own_home).runs()
    assert is_registered(mine, own_home) and record.verdicts == {}
    assert set(Registry(own_home).artifacts(record.id).values()) == {"spec", "receipt", "report"}
    shutil.copytree(mine.path, tmp_path / "elsewhere" / mine.id)
    assert not is_registered(RunFolder(tmp_path / "elsewhere" / mine.id), own_home)
