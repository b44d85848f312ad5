import json

import pytest

from guardrail.__main__ import run
from guardrail.marks import keys
from guardrail.marks.manifest import sidecar, sign
from guardrail.registry.home import Home

pytest.importorskip("c2pa")


@pytest.fixture
def samples(own_home, tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "synthetic.csv").write_text("age\n30\n")
    sign(folder / "synthetic.csv", own_home, {"run": "20261123-ab12cd-clinic", "epsilon": 2.97})
    return folder


def test_an_untouched_sample_file_is_proven(samples, capsys):
    assert run(["verify", str(samples / "synthetic.csv")]) == 0
    out = capsys.readouterr().out
    assert "proven by manifest" in out and "20261123-ab12cd-clinic" in out and "epsilon 2.97" in out and "fake" not in out


def test_naming_the_sidecar_verifies_its_file(samples, capsys):
    assert run(["verify", str(sidecar(samples / "synthetic.csv"))]) == 0


def test_one_changed_byte_is_tampered(samples, capsys):
    (samples / "synthetic.csv").write_text("age\n31\n")
    assert run(["verify", str(samples / "synthetic.csv")]) == 1
    out = capsys.readouterr().out
    assert "tampered" in out and "proven" not in out and "fake" not in out and "2.97" not in out


def test_without_its_sidecar_nothing_is_proven(samples, capsys):
    sidecar(samples / "synthetic.csv").unlink()
    assert run(["verify", str(samples / "synthetic.csv")]) == 1
    assert capsys.readouterr().out.endswith("nothing proven: no manifest (its origin is unknown, which says nothing against it)\n")


def test_a_stranger_proves_nothing_until_trusted(samples, own_home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "reader"))
    assert run(["verify", str(samples / "synthetic.csv")]) == 1
    assert "nothing proven" in capsys.readouterr().out
    assert run(["verify", str(samples / "synthetic.csv"), "--trust", str(keys.ensure(own_home).authority)]) == 0
    assert run(["verify", str(samples / "synthetic.csv"), "--trust", str(keys.ensure(Home(tmp_path / "third")).authority)]) == 1


def test_in_a_folder_one_proven_file_is_enough_unless_all_are_required(samples, capsys):
    assert run(["verify", str(samples)]) == 0
    (samples / "notes.txt").write_text("x")
    assert run(["verify", str(samples)]) == 0
    assert run(["verify", str(samples), "--require", "manifest"]) == 1


def test_in_a_folder_tampered_wins(samples, own_home, capsys):
    (samples / "second.csv").write_text("age\n1\n")
    sign(samples / "second.csv", own_home, {"run": "x"})
    (samples / "second.csv").write_text("age\n2\n")
    assert run(["verify", str(samples)]) == 1
    assert "tampered" in capsys.readouterr().out


def test_json_is_one_object(samples, capsys):
    assert run(["verify", str(samples), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verified"] is True and [one["state"] for one in found["files"]] == ["proven"]


@pytest.mark.parametrize(
    "words",
    [["missing.csv"], ["{samples}", "--trust", "missing.pem"], ["{samples}", "--require", "watermark"]],
)
def test_what_cannot_be_read_exits_2_with_one_message(samples, capsys, words):
    assert run(["verify", *(word.format(samples=samples) for word in words)]) == 2
    done = capsys.readouterr()
    assert done.out == "" and done.err.startswith("guardrail: ") and "Traceback" not in done.err


def test_hostile_names_and_claims_do_not_reach_the_terminal(own_home, tmp_path, capsys):
    path = tmp_path / "\x1b[31m\u202ecsv.exe"
    path.write_text("x")
    sign(path, own_home, {"run": "\x1b]0;owned\x07"})
    assert run(["verify", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\u202e" not in out and "\x07" not in out
