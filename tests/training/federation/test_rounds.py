"""Rounds of training against training in one place, for every family; and what a server does about clients that fail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message

from guardrail.training.conduct import Conduct
from guardrail.training.federation.aggregation import fault_in, weighed
from guardrail.training.federation.learning import arrays_of, recipe_of, trained_players
from guardrail.training.federation.simulation import Loopback
from guardrail.training.federation.wire import Reply, content, read
from guardrail.training.loop import train
from guardrail.training.plain import ExactCounts, plain_turns
from guardrail.vocabulary.errors import FederationFailed, GuardrailError
from guardrail.vocabulary.plugins import table
from tests.training.federation.small import a_job, all_records, federate, shares

FAMILIES = [(name, entry.modalities[0]) for name, entry in table("generators").items()]


class Tampered:
    """A grid on which a client's reply to a training request is changed, or lost."""

    def __init__(self, grid: Loopback, change: Any, nodes: set[int] | None = None) -> None:
        self._grid, self._change, self._nodes = grid, change, nodes

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        found = []
        for message in messages:
            reply = self._grid.deliver(message)
            if message.metadata.message_type == "train" and (self._nodes is None or message.metadata.dst_node_id in self._nodes):
                reply = self._change(message, reply)
            found += [] if reply is None else [reply]
        return found


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox"])
def test_one_step_a_round_on_all_records_is_training_in_one_place(strategy: str):
    """SGD of the whole batch: the mean of the clients' steps, weighed by their records, is the step on all records together."""
    learning = {"optimizer": "sgd", "schedule": "constant", "epochs": 4, "batch_size": 1000, "learning_rate": 0.1}
    job = a_job("made", learning=learning, rounds=4, weights="counts", strategy=strategy)
    dataset = all_records(job)
    _, generator = federate(job, shares(dataset, 3))

    pooled, _ = job.built()
    pooled.initialise(ExactCounts(dataset))
    recipe = recipe_of(pooled, job)
    turns = plain_turns(pooled.players(), dataset, recipe, seed=0, device=torch.device("cpu"), conduct=Conduct(monitor=False))
    train(pooled, turns, recipe, steps=4, epsilon_after=lambda _: None, report=lambda _: None)
    for (name, value), truth in zip(generator.state_dict().items(), pooled.state_dict().values(), strict=True):
        assert torch.allclose(value, truth, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize(("family", "modality"), FAMILIES)
@pytest.mark.parametrize("privacy", [None, {"epsilon": 200.0, "noise": "seeded"}], ids=["plain", "private"])
def test_every_family_can_be_federated_and_knows_nothing_of_it(family: str, modality: str, privacy: dict[str, Any] | None):
    job = a_job(family, modality, learning={"epochs": 1}, privacy=privacy)
    server, generator = federate(job, shares(all_records(job, modality, 60), 3))
    start, after = job.built()[0].state_dict(), generator.state_dict()
    assert any(value.shape != start[name].shape or not torch.equal(value, start[name]) for name, value in after.items())
    assert all(bool(value.isfinite().all()) for value in generator.state_dict().values() if value.is_floating_point())
    assert server.participants == ([3, 3] if generator.players() else [])


@pytest.mark.parametrize("family", ["gan", "wgan"])
def test_a_generator_may_stay_with_the_server(family: str):
    job = a_job(family, table("generators")[family].modalities[0], learning={"epochs": 2}, players="readers")
    dataset = all_records(job, table("generators")[family].modalities[0])
    sent: list[set[str]] = []

    def noted(message: Message, reply: Message) -> Message:
        sent.append(set(read(reply.content)[0]))
        return reply

    _, generator = federate(job, shares(dataset, 3), grid=lambda grid: Tampered(grid, noted))
    readers = set(arrays_of(generator, trained_players(generator, job)))
    start, _ = job.built()
    own = {name for name, _ in generator.named_parameters()} - readers
    assert own and all(not (names & own) for names in sent)
    after, before = generator.state_dict(), start.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in own)


def test_the_same_spec_gives_the_same_model_without_privacy():
    job = a_job("lstm", "text", learning={"epochs": 2}, sample=0.7, clients=4)
    parts = shares(all_records(job, "text"), 4)
    first, second = (federate(job, parts)[1].state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


# -- clients that fail ---------------------------------------------------------------------------------------------------------------


def changed(reply: Message, request: Message, **what: Any) -> Message:
    arrays, facts = read(reply.content)
    return Message(content(what.get("arrays", arrays), {**facts, **what.get("facts", {})}), reply_to=request)


def _first(arrays: dict[str, np.ndarray], new: Any) -> dict[str, np.ndarray]:
    name = next(iter(arrays))
    return {**arrays, name: new(arrays[name])}


BROKEN = {
    "no numbers": (lambda m, r: changed(r, m, arrays=_first(read(r.content)[0], lambda a: np.full_like(a, np.nan))), "no numbers"),
    "another shape": (lambda m, r: changed(r, m, arrays=_first(read(r.content)[0], lambda a: a[:1])), "of shape"),
    "another dtype": (lambda m, r: changed(r, m, arrays=_first(read(r.content)[0], lambda a: a.astype(np.float64))), "as float64"),
    "a weight missing": (lambda m, r: changed(r, m, arrays=dict(list(read(r.content)[0].items())[1:])), "other weights"),
    "a stale round": (lambda m, r: changed(r, m, facts={"round": 0}), "answered round 0"),
    "a negative weight": (lambda m, r: changed(r, m, facts={"weight": -5.0}), "weighs -5.0"),
    "no answer": (lambda m, r: None, "no answer within"),
    "no message of ours": (lambda m, r: Message(m.content.__class__({}), reply_to=m), "not guardrail's"),
}


@pytest.mark.parametrize("kind", list(BROKEN))
def test_a_broken_update_is_left_out_by_name_and_the_others_go_on(kind: str):
    change, words = BROKEN[kind]
    job, told = a_job(learning={"epochs": 1}), []
    server, generator = federate(job, shares(all_records(job), 3), grid=lambda grid: Tampered(grid, change, {2}), told=told)
    assert server.participants == [2, 2]
    assert words in " ".join(server.faults[0]) and words in told[0]
    assert all(bool(value.isfinite().all()) for value in generator.state_dict().values() if value.is_floating_point())
    assert server.record(simulated=True).left_out["0"]


def test_below_the_quorum_the_round_fails_closed():
    job = a_job(learning={"epochs": 1}, quorum=0.9)
    with pytest.raises(FederationFailed, match="2 of 3 clients"):
        federate(job, shares(all_records(job), 3), grid=lambda grid: Tampered(grid, BROKEN["no answer"][0], {2}))


def test_a_client_is_asked_once_a_round_and_refuses_a_repeated_one():
    job = a_job(learning={"epochs": 1})

    def replay(grid: Loopback) -> Any:
        class Twice(Tampered):
            def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
                messages = list(messages)
                super().send_and_receive(messages)
                return super().send_and_receive(messages)

        return Twice(grid, lambda message, reply: reply)

    with pytest.raises(FederationFailed, match="stale or repeated"):
        federate(job, shares(all_records(job), 3), grid=replay)


def attacking(kind: str) -> Any:
    def change(message: Message, reply: Message) -> Message:
        before, after = read(message.content)[0], read(reply.content)[0]
        factor = {"sign turned": -10.0, "a thousandfold": 1000.0, "free rider": 0.0}[kind]
        arrays = {name: (before[name] + factor * (value - before[name])).astype(value.dtype) for name, value in after.items()}
        return changed(reply, message, arrays=arrays)

    return lambda grid: Tampered(grid, change, {4})


@pytest.mark.parametrize("strategy", ["fedmedian", "krum", "trimmed_mean"])
@pytest.mark.parametrize("kind", ["sign turned", "a thousandfold", "free rider"])
def test_one_malicious_client_of_ten_moves_a_robust_strategy_little_and_the_mean_far(strategy: str, kind: str):
    def weights(strategy: str, **settings: Any) -> np.ndarray:
        job = a_job(learning={"epochs": 3, "optimizer": "sgd", "learning_rate": 0.05}, clients=10, strategy=strategy, weights="uniform")
        _, generator = federate(job, shares(all_records(job, n=200), 10), **settings)
        return np.concatenate([value.numpy().ravel() for value in generator.state_dict().values()])

    honest = weights("fedavg")
    moved = np.linalg.norm(weights(strategy, grid=attacking(kind)) - weights(strategy))
    broken = np.linalg.norm(weights("fedavg", grid=attacking(kind)) - honest)
    start = np.concatenate([value.numpy().ravel() for value in a_job().built()[0].state_dict().values()])
    if kind == "free rider":
        assert moved < 0.5 * np.linalg.norm(honest - start)
    else:
        assert moved < 0.25 * broken


def test_a_client_that_talks_nonsense_about_itself_costs_nobody_the_model():
    job = a_job(learning={"epochs": 1})

    class Nonsense(Tampered):
        def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
            odd = {"served": {"shortfall": "much"}, "canaries": [7], "number": 0}
            found = [(message, self._grid.deliver(message)) for message in messages]
            kinds = ("evaluate", "query.canaries")
            return [changed(r, m, facts=odd) if m.metadata.message_type in kinds and m.metadata.dst_node_id == 2 else r for m, r in found]

    server, _ = federate(job, shares(all_records(job), 3), grid=lambda grid: Nonsense(grid, None))
    assert {one.client for one in server.record(simulated=True).served} == {1, 2}


def test_who_says_it_has_everything_weighs_no_more_than_ten_others():
    assert weighed([10.0, 12.0, 1e9]) == [10.0, 12.0, 120.0]
    assert weighed([0.0, 0.0]) == [1.0, 1.0]


def test_a_reply_without_fault_has_none():
    like = {"a": np.zeros(2, np.float32)}
    assert fault_in(Reply({"a": np.ones(2, np.float32)}, {"round": 1, "weight": 1.0}), like, 1) == ""
    assert "weighs nan" in fault_in(Reply({"a": np.ones(2, np.float32)}, {"round": 1, "weight": float("nan")}), like, 1)


def test_clients_that_are_not_there_are_waited_for_and_then_named():
    job = a_job(deadline_seconds=0.3, clients=4)
    with pytest.raises(FederationFailed, match="3 of 4 clients are connected"):
        federate(job, shares(all_records(job), 3))


def test_an_error_of_a_client_is_said_in_its_own_words():
    job = a_job(learning={"epochs": 1})

    def failing(message: Message, reply: Message) -> Message:
        return Message(content({}, {"refused": "the disk is full"}), reply_to=message)

    with pytest.raises(GuardrailError, match="the disk is full"):
        federate(job, shares(all_records(job), 3), grid=lambda grid: Tampered(grid, failing))
