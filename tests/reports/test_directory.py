import json
import os
from pathlib import Path

import pytest

from guardrail.reports import directory, read_report, write_report
from guardrail.vocabulary.errors import ArtifactError

FILES = {"report.json", "report.html", "report.md", "junit.xml", "report.sarif"}


def _names(path):
    return {entry.name for entry in path.iterdir()}


def test_what_was_written_is_read_back(report, tmp_path):
    written = write_report(report, tmp_path / "out")
    assert written == tmp_path / "out" / "report.json"
    assert _names(tmp_path / "out") == FILES
    assert read_report(tmp_path / "out") == read_report(written) == report


def test_the_same_report_gives_the_same_bytes(report, tmp_path):
    first, second = write_report(report, tmp_path / "a"), write_report(report, tmp_path / "b")
    for name in FILES:
        assert first.with_name(name).read_bytes() == second.with_name(name).read_bytes()


def test_an_older_report_is_replaced_as_a_whole(report, tmp_path):
    write_report(report, tmp_path / "out")
    (tmp_path / "out" / "card.html").write_text("an old card")
    write_report(report.model_copy(update={"verdict": None}), tmp_path / "out")
    assert _names(tmp_path / "out") == FILES
    assert read_report(tmp_path / "out").verdict is None
    assert _names(tmp_path) == {"out"}


def test_an_empty_folder_is_used(report, tmp_path):
    (tmp_path / "out").mkdir()
    write_report(report, tmp_path / "out")
    assert _names(tmp_path / "out") == FILES


@pytest.mark.parametrize("name", ["thesis.docx", "report.json", "card.html", ".hidden"])
def test_a_folder_that_is_not_ours_is_refused_and_left_alone(name, report, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("{}")
    with pytest.raises(ArtifactError, match="choose another --out"):
        write_report(report, out)
    assert _names(out) == {name}
    assert _names(tmp_path) == {"out"}


def test_a_report_with_a_foreign_file_beside_it_is_refused(report, tmp_path):
    write_report(report, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"notes\.txt"):
        write_report(report, tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_file_in_the_way_is_refused(report, tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(ArtifactError, match="is a file"):
        write_report(report, tmp_path / "out")


@pytest.mark.parametrize("moment", ["while writing", "between the renames"])
def test_an_interruption_leaves_the_old_report(moment, report, tmp_path, monkeypatch):
    write_report(report, tmp_path / "out")
    before = (tmp_path / "out" / "report.json").read_bytes()
    _interrupt(monkeypatch, moment)
    with pytest.raises(KeyboardInterrupt):
        write_report(report.model_copy(update={"verdict": None}), tmp_path / "out")
    monkeypatch.undo()
    assert (tmp_path / "out" / "report.json").read_bytes() == before
    assert _names(tmp_path) == {"out"}


def _interrupt(monkeypatch, moment):
    calls = []
    if moment == "while writing":
        real_sync = os.fsync

        def sync(handle):
            calls.append(handle)
            if len(calls) == 3:
                raise KeyboardInterrupt
            real_sync(handle)

        monkeypatch.setattr(directory.os, "fsync", sync)
        return
    real = Path.rename

    def rename(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)


def _broken(report):
    good = json.loads(directory.report_json(report))
    outside = json.loads(json.dumps(good))
    outside["findings"][0]["value"] = 2.0
    return {
        "empty": "",
        "no json": "{",
        "a list": "[]",
        "another document": '{"a": 1}',
        "NaN": json.dumps(good).replace("0.9514", "NaN"),
        "infinite": json.dumps(good).replace("0.9514", "1e999"),
        "a key twice": '{"findings": [], "findings": []}',
        "deep": "[" * 100_000 + "]" * 100_000,
        "another version": json.dumps({**good, "schema_version": "2"}),
        "unknown key": json.dumps({**good, "findingz": []}),
        "no time zone": json.dumps({**good, "created": "2026-03-10T10:00:00"}),
        "value outside its interval": json.dumps(outside),
        "lone surrogate": json.dumps(good).replace("clinic visits", "\\ud800"),
        "number as text": json.dumps(good).replace('"value": 0.9514', '"value": "much"'),
    }


@pytest.mark.parametrize(
    "name",
    [
        "empty",
        "no json",
        "a list",
        "another document",
        "NaN",
        "infinite",
        "a key twice",
        "deep",
        "another version",
        "unknown key",
        "no time zone",
        "value outside its interval",
        "lone surrogate",
        "number as text",
    ],
)
def test_a_broken_report_is_refused_with_one_message(name, report, tmp_path):
    file = tmp_path / "report.json"
    file.write_text(_broken(report)[name])
    with pytest.raises(ArtifactError, match=r"report\.json"):
        read_report(tmp_path)


def test_a_folder_without_report_says_how_to_make_one(tmp_path):
    with pytest.raises(ArtifactError, match="guardrail audit"):
        read_report(tmp_path)
