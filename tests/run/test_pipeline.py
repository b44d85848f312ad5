"""The chain from a CSV to a card: what a run leaves, what it claims, what it keeps out, and that the same spec gives the same run."""

from __future__ import annotations

import json

import pytest
from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.pld import PLDAccountant

from guardrail.data.tables import read_table
from guardrail.registry.runs import Registry
from guardrail.run.folder import RunFolder
from guardrail.vocabulary.documents import parse_yaml, sha256_of_file
from guardrail.vocabulary.plugins import resolve, table
from guardrail.vocabulary.receipt import PrivacyClaim, Receipt, SampledGaussian

FOLDER = {"spec.yaml", "schema.json", "receipt.json", "weights.safetensors", "codec.json", "metrics.jsonl", "samples", "report"}
CARD = {"card.yaml", "card.json", "card.md", "card.html"}
REPORT = {"report.json", "report.html", "report.md", "junit.xml", "report.sarif"}
KINDS = {"spec", "schema", "receipt", "weights", "codec", "metrics", "report", "card"}
EVERY_METRIC = {metric for name in table("audits") for metric in resolve("audits", name).metrics}


def folder_of(made) -> RunFolder:
    clinic, said = made
    return RunFolder.at(clinic.folder / said.object["path"])


def names(path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


@pytest.mark.parametrize("which", ["finished", "finished_private"])
def test_a_run_leaves_every_file_of_the_contract_and_no_other(which, request):
    folder = folder_of(request.getfixturevalue(which))
    assert names(folder.path) == FOLDER | CARD | ({"canaries.json"} if which == "finished_private" else set())
    assert names(folder.report) == REPORT
    assert names(folder.path / "samples") == {"synthetic.parquet", "synthetic.parquet.c2pa"}
    assert names(folder.path.parent) == {folder.id}


@pytest.mark.parametrize("which", ["finished", "finished_private"])
def test_every_metric_is_measured_or_says_why_not(which, request):
    findings = request.getfixturevalue(which)[1].object["findings"]
    assert {finding["metric"] for finding in findings} == EVERY_METRIC
    assert all(finding["status"] == "measured" or finding["reason"] for finding in findings)


def test_a_target_of_several_classes_is_used(finished):
    findings = {finding["metric"]: finding for finding in finished[1].object["findings"]}
    assert findings["quality.utility_auc"]["status"] == "measured"
    assert "has 3 classes" in findings["fairness.demographic_parity_difference"]["reason"]


def test_a_target_that_is_a_number_is_used(clinic):
    clinic.spec(data={"target": "stay"}, audit={"only": ["utility"]})
    findings = {finding["metric"]: finding for finding in clinic("run", "spec.yaml", "--json").object["findings"]}
    assert findings["quality.utility_gap"]["status"] == "measured"
    assert "quality.utility_gap" in findings["quality.utility_auc"]["reason"]


def test_samples_obey_the_schema_and_keep_kinds_missing_cells_and_dates(finished):
    clinic, _ = finished
    rows = read_table(folder_of(finished).samples)
    assert list(rows.columns) == list(read_table(clinic.folder / "visits.csv").columns)
    assert rows["cost"].isna().any() and rows["admitted"].isna().any() and not rows["age"].isna().any()
    assert rows["admitted"].dropna().dt.year.isin([2022, 2023]).all()
    assert set(rows["ward"]) == {"surgery", "medicine", "geriatrics"}


def test_the_registry_has_the_run_with_its_verdict_and_what_it_cost(finished, finished_private):
    for (clinic, said), private in ((finished, False), (finished_private, True)):
        (record,) = Registry(clinic.home).runs()
        assert (record.id, record.path) == (said.object["run"], str(clinic.folder / said.object["path"]))
        assert record.verdicts == {"house": "pass"}
        assert record.epsilon == (said.object["receipt"]["privacy"]["epsilon"] if private else None)


@pytest.mark.parametrize("which", ["finished", "finished_private"])
def test_artifacts_are_stored_by_hash_and_no_sample_and_no_record_is_among_them(which, request):
    made = request.getfixturevalue(which)
    clinic, _ = made
    folder = folder_of(made)
    stored = Registry(clinic.home).artifacts(folder.id)
    latest = {sha256_of_file(folder.path / name) for name in FOLDER | {"card.json", "report/report.json"} if (folder.path / name).is_file()}
    assert set(stored.values()) == KINDS and latest <= set(stored)
    kept_out = {sha256_of_file(clinic.folder / "visits.csv"), sha256_of_file(folder.samples)}
    assert not kept_out & set(stored)
    lines = [line.encode() for line in (clinic.folder / "visits.csv").read_text().splitlines()[1:]]
    for path in clinic.home.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert content[:4] != b"PAR1" and not any(line in content for line in lines), path


def test_the_run_folder_holds_no_record(finished_private):
    """Beside the samples, which are generated, and the report, which is internal and says so."""
    clinic, _ = finished_private
    folder = folder_of(finished_private)
    costs = {line.split(",")[5] for line in (clinic.folder / "visits.csv").read_text().splitlines()[1:]} - {""}
    assert len(costs) > 600
    for name in FOLDER - {"samples", "report"} | {"card.yaml"}:
        text = (folder.path / name).read_bytes().decode("latin-1")
        assert not [cost for cost in costs if len(cost) > 5 and cost in text], name


def test_the_card_says_what_people_said_and_points_to_every_artifact(finished):
    folder = folder_of(finished)
    card = json.loads((folder.path / "card.json").read_text())
    assert card["words"]["title"] == "Visits" and "Visits" in (folder.path / "card.html").read_text()
    hashes = folder.hashes()
    assert {role: card["evidence"][role] for role in hashes} == hashes
    assert card["findings"] == json.loads((folder.report / "report.json").read_text())["findings"]


def test_the_spec_of_a_run_still_holds_from_inside_its_folder(finished):
    clinic, _ = finished
    spec = folder_of(finished).spec
    assert spec.data.source == str(clinic.folder / "visits.csv") and spec.policy == str(clinic.folder / "policy.yaml")


def independent_epsilon(claim: PrivacyClaim) -> float:
    """All the mechanisms of a receipt, added up by another library."""
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for mechanism in claim.mechanisms:
        event = dp_event.GaussianDpEvent(mechanism.noise_multiplier)
        if isinstance(mechanism, SampledGaussian):
            event = dp_event.SelfComposedDpEvent(dp_event.PoissonSampledDpEvent(mechanism.sample_rate, event), mechanism.steps)
        accountant.compose(event)
    return float(accountant.get_epsilon(claim.delta))


def test_epsilon_is_what_another_accountant_finds_for_the_mechanisms_of_the_receipt(finished_private):
    claim = folder_of(finished_private).receipt.privacy
    truth = independent_epsilon(claim)
    assert truth * 0.9999 <= claim.epsilon <= min(1.01 * truth, 3.0)
    finding = next(found for found in finished_private[1].object["findings"] if found["metric"] == "privacy.epsilon")
    assert finding["value"] == claim.epsilon


def test_what_was_spent_is_settled_in_the_ledger_with_the_mechanisms_of_the_receipt(finished_private):
    clinic, said = finished_private
    (entry,) = clinic.ledger()
    receipt = folder_of(finished_private).receipt
    assert entry["state"] == "spent" and receipt.ledger == f"{clinic.home.id}/{entry['number']}"
    charged = [{key: value for key, value in mechanism.items() if key != "normaliser"} for mechanism in entry["mechanisms"]]
    assert charged == [mechanism.model_dump(exclude={"normaliser"}) for mechanism in receipt.privacy.mechanisms]
    assert entry["data"] == receipt.data == said.object["subject"]["artifacts"]["train"]


def metrics(made) -> list[dict]:
    return [json.loads(line) for line in (folder_of(made).path / "metrics.jsonl").read_text().splitlines()]


def test_under_privacy_the_course_of_training_shows_epsilon_and_never_a_loss(finished_private):
    lines = metrics(finished_private)
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert all(line["loss"] is None for line in lines)
    spent = [line["epsilon"] for line in lines if line["epsilon"] is not None]
    assert spent == sorted(spent) and spent[-1] == pytest.approx(folder_of(finished_private).receipt.privacy.epsilon)


def test_without_privacy_the_course_of_training_shows_the_loss_and_no_epsilon(clinic):
    clinic.spec(generator={"name": "made"}, training={"epochs": 1}, audit={"only": ["validity"]})
    said = clinic("train", "spec.yaml", "--json")
    lines = metrics((clinic, said))
    assert lines and all(line["loss"] > 0 and line["epsilon"] is None for line in lines)
    assert said.object["receipt"]["privacy"] is None and said.object["receipt"]["trained_rows"] > 200


def test_the_receipt_of_a_private_run_holds_public_numbers_only(finished_private):
    receipt = folder_of(finished_private).receipt
    assert set(receipt.model_dump()) == set(Receipt.model_fields)
    assert receipt.seed == 3 and receipt.trained_rows is None
    assert receipt.privacy.records_public == 480 and receipt.privacy.records_source == "declared public"
    assert receipt.batch_size == 48  # sampling rate times the public count, not the size of any batch
    assert receipt.privacy.unit == "row" and receipt.privacy.noise == "secure"


def test_no_seed_of_the_noise_is_kept_so_the_same_spec_gives_another_model(clinic):
    clinic.spec(privacy={"epsilon": 4, "records": 500})
    made = [clinic("train", "spec.yaml", "--json").object for _ in range(2)]
    first, second = (RunFolder.at(clinic.folder / one["path"]).hashes() for one in made)
    assert first["spec"] == second["spec"] and first["codec"] == second["codec"]
    assert first["weights"] != second["weights"]


def test_a_record_count_that_nobody_declared_is_measured_under_the_same_epsilon(clinic):
    clinic.spec(privacy={"epsilon": 4, "records": None}, data={"holdout": 0.2})
    receipt = clinic("train", "spec.yaml", "--json").object["receipt"]
    claim = PrivacyClaim.model_validate(receipt["privacy"])
    assert claim.records_source == "measured under DP" and receipt["trained_rows"] is None
    assert independent_epsilon(claim) <= claim.epsilon * 1.0001 <= 4.0004
    assert 200 < claim.records_public < 600 and claim.records_public != 400


def test_seeded_noise_makes_no_claim_anywhere(clinic):
    clinic.spec(privacy={"epsilon": 3, "records": 500, "noise": "seeded"}, audit={"only": ["accounting", "validity"]})
    said = clinic("run", "spec.yaml", "--json")
    (record,) = clinic("runs", "--json").object["runs"]
    assert record["epsilon"] is None
    assert not PrivacyClaim.model_validate(said.object["receipt"]["privacy"]).valid
    card = json.loads((clinic.folder / said.object["path"] / "card.json").read_text())
    assert card["privacy"]["claimed"] is False
    assert clinic("judge", f"{said.object['path']}/report", "--policy", "release", "--out", "judged").code == 1


def without_time(findings: list[dict]) -> list[dict]:
    """Findings without what names the receipt, which holds the time, and without their own seconds."""
    return [{key: value for key, value in finding.items() if key not in ("seconds", "evidence")} for finding in findings]


def test_without_privacy_the_same_spec_gives_the_same_model_samples_and_findings(clinic):
    clinic.spec(generator={"name": "made", "options": {"hidden": [8]}}, training={"epochs": 2})
    first, second = clinic("run", "spec.yaml", "--json").object, clinic("run", "spec.yaml", "--json").object
    hashes = [RunFolder.at(clinic.folder / made["path"]).hashes() for made in (first, second)]
    for role in ("spec", "schema", "codec", "weights", "synthetic"):
        assert hashes[0][role] == hashes[1][role], role
    assert without_time(first["findings"]) == without_time(second["findings"])
    assert first["verdicts"]["house"]["rules"] == second["verdicts"]["house"]["rules"]


def test_another_seed_is_another_run(clinic, finished):
    said = clinic("train", clinic.spec(seed=4), "--json")
    assert clinic("sample", said.object["run"]).code == 0
    assert RunFolder.at(clinic.folder / said.object["path"]).hashes()["synthetic"] != folder_of(finished).hashes()["synthetic"]


def test_a_public_report_is_what_the_card_shows_where_the_spec_asks_for_it(clinic):
    clinic.spec(audit={"audience": "public", "only": ["marginals", "validity"]})
    said = clinic("run", "spec.yaml", "--json")
    card = json.loads((clinic.folder / said.object["path"] / "card.json").read_text())
    assert said.object["audience"] == card["audience"] == "public" and said.object["caveats"]


def test_a_policy_beside_the_spec_decides_the_exit_code(clinic):
    text = (clinic.folder / "policy.yaml").read_text()
    (clinic.folder / "strict.yaml").write_text(text.replace("house", "strict").replace("0.9", "0.9999"))
    clinic.spec(policy="strict.yaml", audit={"only": ["validity"]})
    said = clinic("run", "spec.yaml", "--json")
    assert said.code == 1 and said.object["verdicts"]["strict"]["status"] == "fail"
    assert parse_yaml((clinic.folder / said.object["path"] / "spec.yaml").read_text(), where="")["policy"].endswith("strict.yaml")
