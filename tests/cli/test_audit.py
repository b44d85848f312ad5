import json
import shlex

import numpy as np
import pandas as pd
import pytest

from guardrail.__main__ import run

FILES = ("report.json", "report.html", "report.md", "junit.xml", "report.sarif")


def visits(n, seed):
    rng = np.random.default_rng(seed)
    age, sex = rng.integers(18, 90, n), rng.choice(["f", "m"], n)
    weight = rng.normal(75, 12, n).round(4)
    return pd.DataFrame(
        {"age": age, "weight": weight, "sex": sex, "back": np.where(rng.random(n) < 1 / (1 + np.exp((55 - age) / 6)), "yes", "no")}
    )


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Three disjoint parts of one population, and the folder they lie in as working directory."""
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for seed, name in enumerate(("train", "holdout", "samples")):
        visits(3000, seed).to_csv(f"{name}.csv", index=False)
    return tmp_path / "work"


def audit(line):
    return run(["audit", *shlex.split(line)])


QUICK = "--only copies,representation,validity --sensitive sex --target back"
ALL = "--train train.csv --holdout holdout.csv --synthetic samples.csv"


def policy(folder, metric, require):
    text = f"""name: mine
description: one rule
rules:
  - {{id: only, metric: {metric}, require: "{require}", severity: blocker, why: because, source: own convention}}
"""
    (folder / "mine.yaml").write_text(text)
    return "--policy mine.yaml"


def test_honest_samples_pass_and_the_whole_report_is_written(files, capsys):
    assert audit(f"{ALL} {QUICK} {policy(files, 'privacy.exact_copies', '<= holdout + 0.005')} --out report") == 0
    assert sorted(path.name for path in (files / "report").iterdir()) == sorted(FILES)
    text = capsys.readouterr().out
    assert "privacy.exact_copies" in text
    assert "policy mine: pass" in text
    assert "report.html" in text


def test_planted_copies_do_not_pass_and_are_named(files, capsys):
    samples = pd.concat([pd.read_csv("samples.csv")[150:], pd.read_csv("train.csv")[:150]])
    samples.to_csv("samples.csv", index=False)
    assert audit(f"{ALL} {QUICK} {policy(files, 'privacy.exact_copies', '<= holdout + 0.005')} --out report") == 1
    assert "fail only (blocker)" in capsys.readouterr().out


def test_a_group_that_was_removed_does_not_pass(files):
    samples = pd.read_csv("samples.csv")
    samples[samples["sex"] == "m"].to_csv("samples.csv", index=False)
    assert audit(f"{ALL} {QUICK} {policy(files, 'bias.representation', '>= 0.5')} --out report") == 1


def test_what_was_not_measured_does_not_pass(files):
    assert audit(f"{ALL} {QUICK} {policy(files, 'privacy.epsilon', '<= 10')} --out report") == 1


def test_without_a_policy_there_is_no_verdict_and_no_failure(files, capsys):
    assert audit(f"{ALL} {QUICK} --out report") == 0
    assert "not judged" in capsys.readouterr().out
    assert json.loads((files / "report" / "report.json").read_text())["verdict"] is None


def test_json_is_one_object_and_the_same_as_the_file(files, capsys):
    assert audit(f"{ALL} {QUICK} --out report --json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((files / "report" / "report.json").read_text())


def test_files_without_a_manifest_are_unproven_and_not_assumed_so(files, capsys):
    audit(f"{ALL} --only manifests --out report --json")
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["value"] == 0.0


def test_a_public_report_says_so(files, capsys):
    audit(f"{ALL} {QUICK} --audience public --out report --json")
    found = json.loads(capsys.readouterr().out)
    assert found["audience"] == "public"
    assert found["caveats"]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("--out report", "--train"),
        ("--train none.csv --out report", "none.csv"),
        (f"{ALL} --target bakc --out report", "back"),
        (f"{ALL} --sensitive gender --out report", "gender"),
        (f"{ALL} --policy releas --out report", "release"),
        (f"{ALL} --only copis --out report", "copies"),
        (f"{ALL} --schema none.yaml --out report", "none.yaml"),
        (f"some-run {ALL} --out report", "--train"),
        (f"{ALL}", "--out"),
        (f"{ALL} --seed -1 --out report", "--seed"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_written(files, capsys, line, word):
    before = sorted(path.name for path in files.iterdir())
    assert audit(line) == 2
    fault = capsys.readouterr().err.strip()
    assert word in fault
    assert "Traceback" not in fault
    assert sorted(path.name for path in files.iterdir()) == before


def test_a_folder_that_holds_other_things_is_not_overwritten(files):
    (files / "report").mkdir()
    (files / "report" / "thesis.txt").write_text("mine")
    assert audit(f"{ALL} {QUICK} --out report") == 2
    assert (files / "report" / "thesis.txt").read_text() == "mine"


def test_the_example_in_the_help_runs(files, capsys):
    run(["audit", "--help"])
    example = next(line for line in capsys.readouterr().out.splitlines() if "Example:" in line).split("guardrail audit ")[1]
    assert audit(f"{example} --only copies --sensitive sex --target back") == 1  # judged, with rules left unknown
    assert (files / "report" / "report.json").is_file()
