"""A crash at any message, of the server or of all there is: the same model comes of it, and nobody's records are charged twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Message

from guardrail.training.federation.job import Job
from guardrail.training.federation.server import Server
from guardrail.training.federation.simulation import Loopback
from guardrail.training.federation.state import ClientFile, Memory, ServerFile, ServerState, digest
from guardrail.training.federation.wire import Participant, client_app
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.errors import ArtifactError, FederationFailed, GuardrailError
from tests.training.federation.small import a_job, all_records, shares

SEEDED = {"epsilon": 8, "noise": "seeded", "canaries": 50}
SMALL = {"options": {"hidden": [4]}, "learning": {"epochs": 1}}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "private": {"privacy": SEEDED},
    "some of the clients": {"privacy": SEEDED, "sample": 0.5, "rounds": 3},
    "clients as units": {"privacy": {**SEEDED, "epsilon": 50}, "level": "client"},
}


class Crash(Exception):
    """The server is gone."""


@dataclass
class Crashing:
    """A grid whose server is killed at the n-th exchange, before it is sent or after it was answered."""

    inner: Loopback
    at: int
    answered: bool
    sent: int = 0

    def get_node_ids(self) -> Iterable[int]:
        return self.inner.get_node_ids()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        self.sent += 1
        if self.sent == self.at and not self.answered:
            raise Crash
        replies = self.inner.send_and_receive(messages, timeout=timeout)
        if self.sent == self.at:
            raise Crash
        return replies


@dataclass
class Hosts:
    """Three clients with homes of their own, and a server with a folder; all else is forgotten whenever it is started."""

    job: Job
    folder: Path
    reserved: list[int] = field(default_factory=list)
    fingerprint: str = "one"

    def __post_init__(self) -> None:
        self.parts: list[Dataset] = shares(all_records(self.job), self.job.federation.clients)
        self.file = ServerFile(self.folder / "server")

    def started(self, *, at: int = 0, answered: bool = False) -> tuple[Server, Crashing]:
        grid = Crashing(Loopback(self._app(), len(self.parts)), at, answered)
        job = self.file.begun(self.job)
        generator, floor = job.built()
        server = Server(job, generator, floor, grid, file=self.file)  # type: ignore[arg-type]
        server.run()
        return server, grid

    def _app(self) -> Any:
        """One app for all of them; the number that its file is named by comes with the context, so it is made for every message."""

        def opened(context: Context, job: Job) -> Participant:
            number = int(context.node_config["partition-id"])
            return Participant(number, self.parts[number], lambda _: self.reserved.append(number), self.fingerprint)

        def deliver(message: Message, context: Context) -> Message:
            number = int(context.node_config["partition-id"])
            return client_app(opened, lambda job: ClientFile(self.folder / "clients", job, number))(message, context)

        return deliver


def remembered(folder: Path, job: Job, number: int) -> ClientFile:
    file = ClientFile(folder / "clients", job, number)
    with file.held():
        return file


def crashed(hosts: Hosts, at: int, *, answered: bool) -> Server:
    with pytest.raises(Crash):
        hosts.started(at=at, answered=answered)
    torch.manual_seed(17)  # whatever the next process begins with
    return hosts.started()[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_at_any_message_changes_nothing_and_costs_nothing(tmp_path: Path, kind: str):
    job = a_job(**{**SMALL, **KINDS[kind]})
    whole, grid = Hosts(job, tmp_path / "whole").started()
    assert grid.sent >= 2 + job.federation.rounds
    for at, answered in [(1, False), *((at, True) for at in range(1, grid.sent + 1))]:  # before one is after the last
        hosts = Hosts(job, tmp_path / f"{at}-{answered}")
        server = crashed(hosts, at, answered=answered)
        assert sorted(hosts.reserved) == [0, 1, 2]
        assert server.participants == whole.participants
        for name, value in whole.generator.state_dict().items():
            assert torch.equal(value, server.generator.state_dict()[name]), (at, answered, name)
        assert server.canaries() == whole.canaries()


def test_steps_are_counted_once_through_every_crash(tmp_path: Path):
    hosts = Hosts(a_job(**SMALL, privacy=SEEDED), tmp_path)
    for at, answered in ((2, True), (2, True), (3, False), (2, True)):
        with pytest.raises(Crash):
            hosts.started(at=at, answered=answered)
    server, _ = hosts.started()
    steps = {remembered(tmp_path, server.job, number).memory.steps for number in range(3)}
    assert len(steps) == 1 and sum(mechanism.steps for mechanism in server._plan() if hasattr(mechanism, "steps")) == steps.pop()
    assert sorted(hosts.reserved) == [0, 1, 2]


def test_under_masks_the_round_that_was_on_its_way_is_left_out(tmp_path: Path):
    """One vector under the masks of two sessions could be told from the difference of two sums."""
    job = a_job(**SMALL, privacy=SEEDED, rounds=3, secure_aggregation=True)
    whole, grid = Hosts(job, tmp_path / "whole").started()
    hosts = Hosts(job, tmp_path / "hosts")
    server = crashed(hosts, grid.sent - 1, answered=False)  # within the last round
    assert whole.participants == [3, 3, 3] and server.participants == [3, 3, 0]
    assert sorted(hosts.reserved) == [0, 1, 2]
    with pytest.raises(FederationFailed, match="once"):  # a count cannot be done without
        crashed(Hosts(job, tmp_path / "early"), 4, answered=True)


def test_another_training_of_the_same_spec_is_paid_for_anew(tmp_path: Path):
    hosts = Hosts(a_job(**SMALL, privacy=SEEDED), tmp_path)
    first, _ = hosts.started()
    hosts.file.remove()
    assert not hosts.file.folder.exists()
    second, _ = hosts.started()
    assert first.job.training != second.job.training and sorted(hosts.reserved) == [0, 0, 1, 1, 2, 2]


def test_other_records_in_the_same_training_are_paid_for_and_not_taken_for_the_first(tmp_path: Path):
    hosts = Hosts(a_job(**SMALL, privacy=SEEDED), tmp_path)
    with pytest.raises(Crash):
        hosts.started(at=3, answered=True)
    hosts.fingerprint = "two"
    with pytest.raises(GuardrailError, match="before any count was asked for"):
        hosts.started(at=9)
    assert sorted(hosts.reserved) == [0, 0, 1, 1, 2, 2]


def test_the_same_message_gets_the_same_answer_and_any_other_none(tmp_path: Path):
    job = a_job(**SMALL, privacy={"epsilon": 8, "canaries": 0})
    hosts = Hosts(job, tmp_path)
    hosts.started()
    kept = remembered(tmp_path, hosts.file.begun(job), 0)
    weights = {"w": np.arange(3.0)}
    kept.keep_answer(kept.memory, digest("train", weights, {"round": 1}), weights, {"steps": 4})
    again = remembered(tmp_path, hosts.file.begun(job), 0)
    arrays, facts = again.answer_to(digest("train", weights, {"round": 1})) or ({}, {})
    assert np.array_equal(arrays["w"], weights["w"]) and facts == {"steps": 4} and again.memory.steps == kept.memory.steps > 0
    for other in (
        digest("train", weights, {"round": 2}),
        digest("query.count", weights, {"round": 1}),
        digest("train", {"w": weights["w"].astype(np.float32)}, {"round": 1}),
        digest("train", {"v": weights["w"]}, {"round": 1}),
        digest("train", {"w": -weights["w"]}, {"round": 1}),
    ):
        assert again.answer_to(other) is None


def test_who_only_says_hello_leaves_nothing_on_a_clients_disk(tmp_path: Path):
    """A server that names ever new trainings could fill it."""
    hosts = Hosts(a_job(**SMALL), tmp_path)
    with pytest.raises(Crash):
        hosts.started(at=1, answered=True)
    assert not list((tmp_path / "clients").glob("*.safetensors")) and hosts.reserved == []


def test_two_processes_of_one_client_answer_one_after_the_other(tmp_path: Path):
    """One that a restart left behind would else write down what it knew, and so set the client's count of steps back."""
    job = a_job()
    first, second, order = ClientFile(tmp_path, job, 0), ClientFile(tmp_path, job, 0), list[int]()

    def late() -> None:
        with second.held():
            order.append(second.memory.steps)

    with first.held():
        thread = Thread(target=late)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        first.keep(Memory(job=job.key, steps=7))
    thread.join(10)
    assert order == [7]


def test_no_secret_of_a_session_is_on_the_disk(tmp_path: Path):
    job = a_job(**SMALL, secure_aggregation=True)
    Hosts(job, tmp_path).started()
    files = list((tmp_path / "clients").glob("*.safetensors"))
    assert len(files) == 3 and all(path.stat().st_mode & 0o077 == 0 for path in files)
    job = ServerFile(tmp_path / "server").begun(job)
    assert [remembered(tmp_path, job, number).memory.masker for number in range(3)] == [""] * 3


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04."])
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, content: bytes):
    file, job = ServerFile(tmp_path / "server"), a_job()
    named = file.begun(job)
    assert file.read() == ServerState() and file.begun(job) == named
    file.path.write_bytes(content)
    with pytest.raises(ArtifactError, match="to begin anew"):
        file.begun(job)
    client = ClientFile(tmp_path, named, 0)
    client.path.write_bytes(content)
    with pytest.raises(ArtifactError, match="paid for anew"), client.held():
        pass
