"""`guardrail federate`: the chain over records that stay apart, what the card says of it, and what is refused before it begins."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.registry.home import Home
from guardrail.registry.ledger import Ledger
from guardrail.training.federation import federated, simulation
from tests.conftest import Clinic, Said


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients in this process. That Ray's processes do the same is for the slow test below."""
    honest = simulation.simulate
    monkeypatch.setattr(federated, "simulate", lambda parts, serve, **_: honest(parts, serve, in_process=True))


def small(clinic: Clinic, **sections: Any) -> str:
    return clinic.spec(
        generator={"name": "made", "options": {"hidden": [16]}},
        training={"epochs": 2},
        federation={"clients": 3, "rounds": 2, "partition": {"kind": "dirichlet", "by": "ward"}},
        **sections,
    )


def card_of(clinic: Clinic, said: Said) -> str:
    return (clinic.folder / said.object["path"] / "card.md").read_text()


def test_a_federation_leaves_a_run_like_any_other_and_says_what_it_was(clinic: Clinic, without_ray: None):
    said = clinic("federate", small(clinic), "--clients", "4", "--json")
    assert said.code == 0, said.err
    record = said.object["receipt"]["federation"]
    assert (record["clients"], record["rounds"], record["participants"], record["simulated"]) == (4, 2, [4, 4], True)
    card = card_of(clinic, said)
    assert "## Federation" in card and "kept no record from anybody" in card and "the server saw every client's update" in card
    assert "training made on 7 columns of 4 clients without privacy" in said.err
    audited = clinic("audit", said.object["run"], "--policy", "policy.yaml", "--out", "again")
    assert audited.code == 0, audited.err


def test_epsilon_of_records_is_reserved_once_for_the_whole_source(clinic: Clinic, without_ray: None):
    said = clinic("federate", small(clinic, privacy={"epsilon": 3}), "--json")
    assert said.code == 0, said.err
    (entry,) = Ledger(Home(clinic.home.path)).entries(said.object["receipt"]["data"])
    claim = said.object["receipt"]["privacy"]
    assert entry.unit == "row" and entry.what.startswith("federate made") and entry.epsilon == 3
    assert claim["epsilon"] <= 3 and claim["records_source"] == "measured under DP"
    assert "holds against the server and the other clients" in card_of(clinic, said)
    found = {finding["metric"]: finding for finding in said.object["findings"]}
    assert found["privacy.claim"]["value"] == 0  # attacked by the canaries of all clients


def test_epsilon_of_clients_is_kept_apart_in_the_ledger(clinic: Clinic, without_ray: None):
    spec = small(clinic, privacy={"epsilon": 3}, sample={"n": 300})
    text = (clinic.folder / spec).read_text().replace("clients: 3", "clients: 3\n  level: client")
    (clinic.folder / spec).write_text(text)
    said = clinic("federate", spec, "--json")
    assert said.code == 0, said.err
    assert said.object["receipt"]["privacy"]["unit"] == "client"
    (entry,) = Ledger(Home(clinic.home.path)).entries(said.object["receipt"]["data"])
    assert entry.unit == "client"
    assert "everything of one client (with all its records)" in card_of(clinic, said)
    assert "against which it promises nothing itself" in card_of(clinic, said)


def test_a_limit_stops_a_federation_before_a_client_is_asked(clinic: Clinic, without_ray: None):
    spec = small(clinic, privacy={"epsilon": 3})
    assert clinic("budget", "visits.csv", "--limit", "1").code == 0
    said = clinic("federate", spec)
    assert said.code == 3 and "refused by the limit" in said.err
    assert not clinic.runs


@pytest.mark.parametrize(
    ("federation", "privacy", "words"),
    [
        ({"strategy": "krum", "clients": 10, "secure_aggregation": True}, None, "nobody sees one"),
        ({"strategy": "krum", "clients": 3}, None, "needs at least 5 clients"),
        ({"strategy": "fedmedian", "level": "client"}, {"epsilon": 1}, "does not form"),
        ({"weights": "counts", "level": "client"}, {"epsilon": 1}, "number of records is a secret"),
        ({"level": "client"}, None, "add a section privacy"),
        ({"level": "client"}, {"epsilon": 3}, "say how many to draw"),
        ({"strategy": "fedsgd"}, None, "fedavg"),
        ({"partition": {"kind": "dirichlet"}}, None, "needs a column"),
        ({"partition": {"kind": "by_column", "by": "wards"}}, None, "did you mean 'ward'"),
        ({}, {"epsilon": 2, "schema_epsilon": 1}, "schema travels"),
        ({"rounds": 0}, None, "greater than 0"),
        ({"batch": 64}, {"epsilon": 2}, "no client's number of records is public"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name_and_nothing_is_spent(
    clinic: Clinic, federation: dict[str, Any], privacy: dict[str, Any] | None, words: str
):
    training = {"batch_size": federation["batch"]} if "batch" in federation else None
    federation = {key: value for key, value in federation.items() if key != "batch"}
    said = clinic("federate", clinic.spec(generator={"name": "made"}, training=training, federation=federation, privacy=privacy))
    assert said.code == 2 and words in said.err, said.err
    assert not clinic.runs and said.out == ""


def test_a_spec_without_the_section_is_refused(clinic: Clinic):
    said = clinic("federate", clinic.spec())
    assert said.code == 2 and "no section federation" in said.err


@pytest.mark.slow
def test_the_clients_can_be_processes_of_ray(clinic: Clinic):
    said = clinic("federate", small(clinic, privacy={"epsilon": 3, "canaries": 200}), "--json")
    assert said.code == 0, said.err
    assert said.object["receipt"]["federation"]["participants"] == [3, 3]
