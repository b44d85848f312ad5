"""`guardrail run` and `guardrail train`: what is printed where, exit codes, and the budget that may refuse."""

from __future__ import annotations

import json

import pytest

from guardrail.data.tables import read_table
from guardrail.run.folder import RunFolder


def test_json_is_one_object_on_stdout_and_progress_stays_on_stderr(finished):
    _, said = finished
    assert said.code == 0
    assert {"run", "path", "card", "samples", "receipt", "verdicts", "findings", "subject", "schema_version"} <= set(said.object)
    assert said.err.splitlines() == [
        "reading visits.csv",
        "training marginals on 7 columns without privacy",
        "sampling 297 rows",
        "auditing",
        "writing the model card",
    ]


def test_the_paths_it_names_are_there(finished):
    clinic, said = finished
    for name in ("path", "card", "samples"):
        assert (clinic.folder / said.object[name]).exists()
    report = json.loads((clinic.folder / said.object["path"] / "report" / "report.json").read_text())
    assert said.object["findings"] == report["findings"] and said.object["verdicts"]["house"] == report["verdict"]


def test_private_progress_shows_epsilon_and_no_loss(finished_private):
    _, said = finished_private
    steps = [line for line in said.err.splitlines() if line.startswith("  step ")]
    assert len(steps) == 10 and all("epsilon so far" in line and "loss" not in line for line in steps)
    assert "epsilon 3 at delta 1e-05" in said.err


def test_without_json_findings_verdict_and_paths_are_printed(clinic):
    clinic.spec(audit={"only": ["validity", "accounting"]})
    said = clinic("run", "spec.yaml")
    assert said.code == 0
    assert "quality.validity" in said.out and "policy house: pass" in said.out and "not assessable" in said.out
    for name in ("card.html", "report.html", "synthetic.parquet"):
        assert name in said.out


def test_a_policy_that_is_not_passed_exits_1_and_leaves_the_whole_run(clinic):
    clinic.spec(policy="release", audit={"only": ["validity"]})
    said = clinic("run", "spec.yaml")
    assert said.code == 1 and "policy release: fail" in said.out
    assert (RunFolder.at(clinic.runs[0]).path / "card.html").is_file()


def test_training_alone_says_what_comes_next(clinic):
    clinic.spec(privacy={"epsilon": 2, "records": 500})
    said = clinic("train", "spec.yaml")
    assert said.code == 0 and f"next: guardrail sample {clinic.runs[0].name}" in said.out and "epsilon 2.000 at delta 1e-05" in said.out
    assert {path.name for path in clinic.runs[0].iterdir()} == {
        "spec.yaml",
        "schema.json",
        "receipt.json",
        "weights.safetensors",
        "codec.json",
        "metrics.jsonl",
        "canaries.json",
        "card.yaml",
    }


def test_the_stages_alone_give_what_the_whole_run_gives(clinic, finished):
    whole = RunFolder.at(finished[0].folder / finished[1].object["path"])
    made = clinic("train", clinic.spec(), "--json").object
    assert clinic("sample", made["run"]).code == 0
    audited = clinic("audit", made["run"], "--out", f"{made['path']}/report", "--json")
    assert clinic("card", made["run"]).code == audited.code == 0
    alone = RunFolder.at(clinic.folder / made["path"])
    assert {path.name for path in alone.path.iterdir()} == {path.name for path in whole.path.iterdir()}
    for role in ("schema", "codec", "weights", "synthetic"):
        assert alone.hashes()[role] == whole.hashes()[role], role
    values = [[(f["metric"], f["value"], f["low"], f["high"]) for f in found["findings"]] for found in (audited.object, finished[1].object)]
    assert values[0] == values[1]
    assert audited.object["verdict"] == finished[1].object["verdicts"]["house"]
    (record,) = clinic("runs", "--json").object["runs"]
    assert record["verdicts"] == {"house": "pass"}


def test_paths_of_a_spec_are_its_own_and_runs_go_where_the_command_was_given(clinic):
    clinic.spec()
    (clinic.folder / "work").mkdir()
    (clinic.folder / "spec.yaml").rename(clinic.folder / "work" / "spec.yaml")
    for name in ("visits.csv", "schema.yaml", "policy.yaml", "card.yaml"):
        (clinic.folder / name).rename(clinic.folder / "work" / name)
    said = clinic("train", "work/spec.yaml", "--json")
    assert said.code == 0 and len(clinic.runs) == 1
    assert clinic("sample", said.object["run"], "-n", "200").code == 0
    assert clinic("audit", said.object["run"], "--only", "validity", "--out", "report").code == 0


def test_a_source_in_the_home_directory_is_found_again(clinic, monkeypatch):
    monkeypatch.setenv("HOME", str(clinic.folder / "me"))
    (clinic.folder / "me").mkdir()
    (clinic.folder / "visits.csv").rename(clinic.folder / "me" / "visits.csv")
    made = clinic("train", clinic.spec(data={"source": "~/visits.csv"}), "--json")
    assert made.code == 0 and clinic("sample", made.object["run"]).code == 0
    assert clinic("audit", made.object["run"], "--only", "validity", "--out", "report").code == 0


def limited(clinic, epsilon: float) -> None:
    assert clinic("budget", "visits.csv", "--limit", epsilon, "--delta", "1e-5").code == 0


def private(clinic, epsilon: float) -> str:
    return clinic.spec(privacy={"epsilon": epsilon, "records": 500}, audit={"only": ["validity"]})


def test_a_run_beyond_the_limit_exits_3_before_anything_is_written_or_spent(clinic):
    limited(clinic, 2)
    said = clinic("run", private(clinic, 3))
    assert said.code == 3 and "epsilon 2 at delta 1e-05" in said.err and "Traceback" not in said.err and said.out == ""
    assert clinic.runs == [] and clinic.ledger() == []
    assert "step" not in said.err


def test_a_run_within_the_limit_passes_and_a_second_one_is_refused(clinic):
    limited(clinic, 2)
    private(clinic, 1.5)
    assert clinic("run", "spec.yaml").code == 0
    assert clinic("run", "spec.yaml").code == 3
    assert len(clinic.runs) == len(clinic.ledger()) == 1
    assert clinic("run", private(clinic, 0.2)).code == 0
    limited(clinic, 4)
    assert clinic("run", private(clinic, 1.5)).code == 0
    assert len(clinic.ledger()) == 3


def test_the_limit_follows_the_data_and_not_the_file(clinic):
    limited(clinic, 2)
    read_table(clinic.folder / "visits.csv").sample(frac=1, random_state=0).to_parquet(clinic.folder / "other.parquet")
    private(clinic, 3)
    clinic.spec(privacy={"epsilon": 3, "records": 500}, data={"source": "other.parquet"})
    assert clinic("run", "spec.yaml").code == 3


def test_a_limit_set_here_holds_for_a_spec_that_lies_elsewhere(clinic):
    """One home for every command: that of the folder it is given in, whatever lies beside the spec."""
    (clinic.folder / "work" / ".guardrail").mkdir(parents=True)
    limited(clinic, 2)
    private(clinic, 3)
    for name in ("spec.yaml", "visits.csv", "schema.yaml", "policy.yaml", "card.yaml"):
        (clinic.folder / name).rename(clinic.folder / "work" / name)
    assert clinic("run", "work/spec.yaml").code == 3


def test_an_edited_copy_that_declares_its_parent_counts_with_it(clinic):
    limited(clinic, 2)
    lines = (clinic.folder / "visits.csv").read_text().splitlines()
    (clinic.folder / "edited.csv").write_text("\n".join(lines[:-1]) + "\n")
    data = clinic("budget", "visits.csv", "--json").object["data"]
    clinic.spec(privacy={"epsilon": 3, "records": 500}, data={"source": "edited.csv", "parent": data})
    assert clinic("run", "spec.yaml").code == 3


@pytest.mark.parametrize("command", ["run", "train"])
def test_the_example_in_the_help_runs(clinic, command):
    clinic.spec(audit={"only": ["validity"]})
    example = next(line for line in clinic(command, "--help").out.splitlines() if "Example:" in line).split("guardrail ")[1]
    assert clinic(*example.split()).code == 0
