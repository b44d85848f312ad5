"""What a card says of a federation: whom what protects from whom, and no more than that."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.cards.federation import federation_meaning
from guardrail.vocabulary.receipt import ClientServed, FederationRecord, Shortfall
from tests.conftest import receipt

RECORD = {
    "clients": 5,
    "rounds": 3,
    "strategy": "fedavg",
    "players": "all",
    "weights": "counts",
    "sample": 1.0,
    "level": None,
    "secure_aggregation": False,
    "simulated": False,
    "participants": (5, 4, 5),
    "left_out": {},
}


def meaning(*, epsilon: float = 3.0, unit: str = "row", **changed: Any) -> str:
    record = FederationRecord.model_validate({**RECORD, **changed})
    private = receipt(private=record.level is not None)
    if private.privacy is not None:
        claim = private.privacy.model_copy(update={"epsilon": epsilon, "delta": 1e-5, "unit": unit})
        private = private.model_copy(update={"privacy": claim})
    return " ".join(federation_meaning(private.model_copy(update={"federation": record})))


def test_a_model_trained_in_one_place_has_none_of_it():
    assert federation_meaning(None) == federation_meaning(receipt()) == ()


def test_rounds_clients_and_sampling_are_said():
    said = meaning(sample=0.5)
    assert "Trained by 5 clients" in said and "3 rounds by fedavg" in said and "with probability 0.500" in said
    assert "updates used in a round: 4 to 5" in said and "psilon" not in said


def test_a_simulation_says_that_it_keeps_nothing_from_anybody():
    said = meaning(simulated=True, secure_aggregation=True)
    assert "kept no record from anybody" in said and "in a simulation it protects nobody" in said and "curious" not in said


def test_secure_aggregation_is_said_to_be_no_differential_privacy():
    said = meaning(secure_aggregation=True)
    assert "saw sums of updates and no single one" in said and "not differential privacy" in said
    assert "saw every client's update" in meaning()


def test_of_records_epsilon_bounds_a_record_and_no_client():
    said = meaning(level="record", epsilon=3, unit="person")
    assert "Per person: epsilon 3 at delta 0.00001, in every client's ledger and for the whole federation" in said
    assert "in the ledger of the source and for the whole" in meaning(level="record", simulated=True)
    assert "Per client: no bound" in said and "their epsilons add up" in said and "stays with the client" in said


@pytest.mark.parametrize(("epsilon", "both", "delta"), [(1.0, "2", "0.000037"), (3.0, "6", "0.00021"), (800.0, "1,600", "1")])
def test_of_clients_epsilon_bounds_a_record_as_a_group_of_two(epsilon: float, both: str, delta: str):
    """A client with other records is another client: one is taken away and one added. By hand: 1e-5 * (1 + e) = 3.7e-5."""
    said = meaning(level="client", epsilon=epsilon, unit="client", participants=())
    assert f"Per client: epsilon {epsilon:g} at delta 0.00001" in said
    assert f"epsilon {both} at delta {delta}, as for a group of two" in said
    assert "a server that adds noise as promised" in said and "who answered is a secret" in said


def test_who_is_served_badly_and_who_was_left_out_are_named():
    served = [ClientServed(client=number, shortfall=number / 10, low=0, high=1) for number in range(3)]
    groups = {"sex": {"female": Shortfall(value=0.2, low=0, high=1), "male": Shortfall(value=0.05, low=0, high=1)}}
    served[1] = served[1].model_copy(update={"groups": groups})
    said = meaning(served=served, left_out={"4": ("no answer within 60 s",)})
    assert "Served worst is client 2" in said and "0.200" in said and "at client 1: sex=female by 0.150 worse than male" in said
    assert "Client 4 was left out at times: no answer within 60 s." in said
