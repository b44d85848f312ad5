"""`guardrail card`, `audit RUN` and `judge` on a run: every number has a path back, and none that belongs to other samples."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def audited(clinic):
    """A clinic with a run that was trained, sampled and audited, stage by stage."""
    run = clinic("train", clinic.spec(audit={"only": ["validity", "manifests"]}), "--json").object["run"]
    assert clinic("sample", run).code == clinic("audit", run, "--out", f"runs/{run}/report").code == 0
    return clinic, run


def card_of(audited) -> dict:
    clinic, run = audited
    return json.loads((clinic.folder / "runs" / run / "card.json").read_text())


def test_a_card_in_three_forms_from_one_object(audited):
    clinic, run = audited
    said = clinic("card", run)
    assert said.code == 0 and "card.html" in said.out
    report = json.loads((clinic.folder / "runs" / run / "report" / "report.json").read_text())
    card = card_of(audited)
    assert card["findings"] == report["findings"] and card["verdicts"] == [report["verdict"]]
    for form in ("card.html", "card.md"):
        text = (clinic.folder / "runs" / run / form).read_text()
        assert "Visits" in text and "quality.validity" in text and "house" in text


def test_the_words_of_people_are_read_again(audited):
    clinic, run = audited
    (clinic.folder / "runs" / run / "card.yaml").write_text("{title: Other visits, limits: one ward only}\n")
    assert clinic("card", run).code == 0
    assert card_of(audited)["words"]["title"] == "Other visits"


def test_words_that_no_card_has_a_place_for_are_refused(audited):
    clinic, run = audited
    (clinic.folder / "runs" / run / "card.yaml").write_text("{titel: Visits}\n")
    said = clinic("card", run)
    assert said.code == 2 and "did you mean 'title'" in said.err
    assert not (clinic.folder / "runs" / run / "card.json").exists()


def test_a_report_about_other_samples_makes_no_card(audited):
    clinic, run = audited
    assert clinic("card", run).code == 0
    before = card_of(audited)
    assert clinic("sample", run, "--seed", "9").code == 0
    said = clinic("card", run)
    assert said.code == 2 and "another synthetic" in said.err and f"guardrail audit {run} --out" in said.err
    assert card_of(audited) == before
    command = said.err.split("guardrail audit ")[1].split()
    assert clinic("audit", *command).code == 0 and clinic("card", run).code == 0
    assert card_of(audited)["evidence"]["synthetic"] != before["evidence"]["synthetic"]


def test_a_receipt_that_was_changed_since_training_makes_no_card(audited):
    clinic, run = audited
    receipt = clinic.folder / "runs" / run / "receipt.json"
    receipt.write_text(receipt.read_text().replace('"seed": 3', '"seed": 4'))
    said = clinic("card", run)
    assert said.code == 2 and "not the receipt that was registered" in said.err
    moved = (clinic.folder / "runs" / run).rename(clinic.folder / "moved")  # unknown to the registry, known to its own report
    said = clinic("card", str(moved))
    assert said.code == 2 and "another receipt" in said.err


def test_without_a_report_or_samples_the_next_command_is_named(clinic):
    run = clinic("train", clinic.spec(), "--json").object["run"]
    said = clinic("card", run)
    assert said.code == 2 and f"guardrail audit {run} --out" in said.err
    said = clinic("audit", run, "--out", "report")
    assert said.code == 2 and f"guardrail sample {run}" in said.err and not (clinic.folder / "report").exists()


def test_a_card_of_a_folder_from_elsewhere_is_written_and_the_registry_stays_as_it_was(audited):
    clinic, run = audited
    (clinic.folder / "runs" / run).rename(clinic.folder / "moved")
    assert clinic("card", "moved").code == 0 and (clinic.folder / "moved" / "card.html").is_file()
    (record,) = clinic("runs", "--json").object["runs"]
    assert record["verdicts"] == {}


def test_an_audit_refuses_records_that_are_not_those_of_the_training(audited):
    clinic, run = audited
    lines = (clinic.folder / "visits.csv").read_text().splitlines()
    (clinic.folder / "visits.csv").write_text("\n".join(lines[:-1]) + "\n")
    said = clinic("audit", run, "--out", "report")
    assert said.code == 2 and "not what this run was trained on" in said.err and not (clinic.folder / "report").exists()
    (clinic.folder / "visits.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    assert clinic("audit", run, "--out", "report").code == 0  # another order is the same data


def test_an_audit_in_another_home_says_so(audited):
    clinic, run = audited
    clinic.home = type(clinic.home)(clinic.folder / "other")
    said = clinic("audit", f"runs/{run}", "--out", "report")
    assert said.code == 2 and "another home" in said.err


def test_a_run_is_audited_as_its_spec_says_unless_told_otherwise(audited):
    clinic, run = audited
    own = clinic("audit", run, "--out", "own", "--json").object
    assert [finding["metric"] for finding in own["findings"]] == ["quality.validity", "provenance.manifest_coverage"]
    assert own["verdict"]["policy"] == "house" and own["audience"] == "internal"
    told = clinic("audit", run, "--only", "accounting", "--policy", "research", "--audience", "public", "--out", "told", "--json")
    assert told.code == 1 and told.object["verdict"]["policy"] == "research" and told.object["audience"] == "public"
    assert [finding["metric"] for finding in told.object["findings"]] == ["privacy.epsilon", "privacy.delta"]


def test_a_report_of_a_run_is_judged_by_another_policy_into_another_folder(audited):
    clinic, run = audited
    report = clinic.folder / "runs" / run / "report" / "report.json"
    before = report.read_bytes()
    said = clinic("judge", f"runs/{run}/report", "--policy", "release", "--out", "judged", "--json")
    assert said.code == 1 and said.object["verdict"]["policy"] == "release"
    assert report.read_bytes() == before
    assert clinic("judge", f"runs/{run}/report", "--policy", "policy.yaml", "--out", "again").code == 0
    synthetic = json.loads(before)["subject"]["artifacts"]["synthetic"]
    assert clinic("judge", f"runs/{run}/report", "--policy", "policy.yaml", "--expect", f"synthetic={synthetic}", "--out", "c").code == 0
    assert clinic("judge", f"runs/{run}/report", "--policy", "policy.yaml", "--expect", "synthetic=sha256:0", "--out", "d").code == 2
    assert not (clinic.folder / "d").exists()


def test_the_example_in_the_help_runs(audited):
    clinic, run = audited
    example = next(line for line in clinic("card", "--help").out.splitlines() if "Example:" in line).split("guardrail ")[1]
    assert clinic(*(run if word == "RUN" else word for word in example.split())).code == 0
