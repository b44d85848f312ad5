"""`guardrail sample`: rows of a run, and the manifest that says where they come from."""

from __future__ import annotations

import pytest

from guardrail.data.tables import read_table
from guardrail.run.folder import RunFolder


@pytest.fixture
def trained(clinic):
    """A clinic with a trained run that has no samples yet."""
    said = clinic("train", clinic.spec(), "--json")
    return clinic, said.object["run"]


def folder_of(trained) -> RunFolder:
    return RunFolder.at(trained[0].runs[0])


def test_as_many_rows_as_were_trained_on_go_into_the_run(trained):
    clinic, run = trained
    said = clinic("sample", run)
    folder = folder_of(trained)
    rows = folder.receipt.trained_rows
    assert said.code == 0 and f"{rows:,} rows in" in said.out
    assert len(read_table(folder.samples)) == rows
    assert clinic("verify", folder.samples).code == 0


def test_under_privacy_the_public_count_stands_in_for_the_number_of_rows(clinic):
    made = clinic("train", clinic.spec(privacy={"epsilon": 3, "records": 700}), "--json")
    assert "420 rows" in clinic("sample", made.object["run"]).out


def test_rows_go_where_asked_as_csv_or_parquet_and_the_run_keeps_its_own(trained):
    clinic, run = trained
    assert clinic("sample", run, "-n", "20").code == 0
    before = folder_of(trained).hashes()
    for name in ("rows.csv", "rows.parquet"):
        assert clinic("sample", run, "-n", "7", "-o", name).code == 0
        assert len(read_table(clinic.folder / name)) == 7
        assert clinic("verify", name).code == 0
    assert folder_of(trained).hashes() == before


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(trained):
    clinic, run = trained
    rows = []
    for name, seed in [("a.csv", []), ("b.csv", []), ("c.csv", ["--seed", "4"]), ("d.csv", ["--seed", "3"])]:
        assert clinic("sample", run, "-n", "50", "-o", name, *seed).code == 0
        rows.append((clinic.folder / name).read_bytes())
    assert rows[0] == rows[1] == rows[3] != rows[2]  # the spec's seed is 3


def test_a_run_is_named_by_id_by_its_beginning_or_by_its_path(trained):
    clinic, run = trained
    for name in (run, run[:18], f"runs/{run}", clinic.folder / "runs" / run):
        assert clinic("sample", name, "-n", "3", "-o", "rows.csv").code == 0


def test_a_flipped_byte_is_tampering_and_no_sidecar_proves_nothing(trained):
    clinic, run = trained
    assert clinic("sample", run, "-n", "30", "-o", "rows.csv").code == 0
    proven = clinic("verify", "rows.csv")
    assert proven.code == 0 and "proven by manifest" in proven.out and run in proven.out
    content = bytearray((clinic.folder / "rows.csv").read_bytes())
    content[-2] ^= 1
    (clinic.folder / "rows.csv").write_bytes(content)
    tampered = clinic("verify", "rows.csv")
    assert tampered.code == 1 and "tampered" in tampered.out
    (clinic.folder / "rows.csv.c2pa").unlink()
    absent = clinic("verify", "rows.csv")
    assert absent.code == 1 and "nothing proven" in absent.out
    assert not any("fake" in (said.out + said.err).lower() for said in (proven, tampered, absent))


def test_the_manifest_says_the_epsilon_of_the_receipt(finished_private):
    clinic, said = finished_private
    (file,) = clinic("verify", said.object["samples"], "--json").object["files"]
    claim = said.object["receipt"]["privacy"]
    assert file["claims"]["epsilon"] == claim["epsilon"] and file["claims"]["delta"] == claim["delta"]
    assert file["claims"]["run"] == said.object["run"]


def test_without_marks_no_manifest_is_written_and_an_old_one_is_not_left_to_lie(trained):
    clinic, run = trained
    assert clinic("sample", run, "-n", "9", "-o", "rows.csv").code == 0
    assert clinic("sample", run, "-n", "8", "-o", "rows.csv", "--no-marks").code == 0
    said = clinic("verify", "rows.csv")
    assert said.code == 1 and "nothing proven" in said.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["no-such-run"], "no run 'no-such-run'"),
        (["."], "not a run folder"),
        (["RUN", "-n", "0"], "-n"),
        (["RUN", "-o", "rows.xlsx"], ".xlsx"),
        (["RUN", "-o", "visits.csv/rows.csv"], "visits.csv"),
        (["RUN", "--seed", "-1"], "--seed"),
    ],
)
def test_what_cannot_be_sampled_exits_2_and_writes_nothing(trained, words, expected):
    clinic, run = trained
    before = sorted(clinic.folder.rglob("*"))
    said = clinic("sample", *(run if word == "RUN" else word for word in words))
    assert said.code == 2 and expected in said.err and "Traceback" not in said.err
    assert sorted(path for path in clinic.folder.rglob("*") if "home" not in path.parts) == [p for p in before if "home" not in p.parts]


@pytest.mark.parametrize("file", ["codec.json", "receipt.json", "weights.safetensors", "spec.yaml"])
def test_a_damaged_run_is_named_and_never_guessed_at(trained, file):
    clinic, run = trained
    path = clinic.runs[0] / file
    path.write_bytes(path.read_bytes()[:10])
    said = clinic("sample", run)
    assert said.code == 2 and file in said.err and "Traceback" not in said.err
    assert not (clinic.runs[0] / "samples").exists()


def test_weights_of_another_model_are_refused(trained):
    clinic, run = trained
    mine = clinic.runs[0]
    other = clinic("train", clinic.spec(generator={"name": "made"}, training={"epochs": 1}), "--json").object["path"]
    (mine / "weights.safetensors").write_bytes((clinic.folder / other / "weights.safetensors").read_bytes())
    said = clinic("sample", run)
    assert said.code == 2 and "does not fit the marginals" in said.err


def test_the_example_in_the_help_runs(trained):
    clinic, run = trained
    example = next(line for line in clinic("sample", "--help").out.splitlines() if "Example:" in line).split("guardrail ")[1]
    assert clinic(*(run if word == "RUN" else word for word in example.split())).code == 0
    assert len(read_table(clinic.folder / "rows.csv")) == 1000
