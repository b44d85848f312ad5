"""`guardrail demo`: refusals are quick; the whole of it, on the census, is slow and marked so."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epsilon", "0"], "--epsilon"),
        (["--epsilon", "nan"], "epsilon"),
        (["--epsilon", "1e9"], "epsilon"),
        (["--out", "visits.csv"], "is a file"),
        (["--out", "."], "no demo made"),
        (["--quick"], "--quick"),
    ],
)
def test_what_cannot_be_a_demo_exits_2_and_empties_nothing(clinic, words, expected):
    (clinic.folder / "runs" / "mine").mkdir(parents=True)
    before = sorted(clinic.folder.rglob("*"))
    said = clinic("demo", *words)
    assert said.code == 2 and expected in said.err and "Traceback" not in said.err and said.out == ""
    assert sorted(clinic.folder.rglob("*")) == before


@pytest.mark.slow
def test_the_whole_demo_prints_one_object_and_leaves_card_report_and_samples(clinic):
    said = clinic("demo", "--out", "d", "--epsilon", "3", "--json")
    assert said.code == 0, said.err
    assert all(finding["status"] == "measured" or finding["reason"] for finding in said.object["findings"])
    assert set(said.object["verdicts"]) == {"research", "release"}
    assert said.object["receipt"]["privacy"]["epsilon"] <= 3 and "loss" not in said.err
    folder = clinic.folder / said.object["path"]
    assert (folder / "card.html").is_file() and (folder / "report" / "report.html").is_file()
    assert json.loads((folder / "card.json").read_text())["privacy"]["claimed"]
    clinic.home = type(clinic.home)(clinic.folder / "d" / ".guardrail")
    assert clinic("verify", said.object["samples"]).code == 0
    assert [record["id"] for record in clinic("runs", "--json").object["runs"]] == [said.object["run"]]
    assert len(clinic("budget", "builtin:adult", "--json").object["entries"]) == 1


@pytest.mark.slow
def test_the_example_in_the_help_runs_and_names_the_dashboard(clinic):
    example = next(line for line in clinic("demo", "--help").out.splitlines() if "Example:" in line).split("guardrail ")[1]
    said = clinic(*example.split())
    assert said.code == 0 and "GUARDRAIL_HOME=demo/.guardrail guardrail dashboard" in said.out
    assert "policy research: " in said.out and "policy release: " in said.out and "card.html" in said.out
