"""The clients of a federation as the server knows them: who is there, what was asked, whose answers could be used."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from ...vocabulary.errors import FederationFailed
from .job import Job
from .learning import Arrays
from .wire import HELLO, Reply, content, reply_of

LOOK_SECONDS = 0.2
Request = tuple[Arrays, Mapping[str, Any]]


@dataclass
class Roster:
    job: Job
    grid: Grid
    tell: Callable[[str], None]
    nodes: dict[int, int] = field(default_factory=dict, init=False)
    """Flower's names of the clients, by number."""
    faults: dict[int, list[str]] = field(default_factory=dict, init=False)
    """What was wrong with a client's answers, by number."""

    def gather(self) -> None:
        """Every client that was promised, or FederationFailed at the deadline."""
        wanted, until = self.job.federation.clients, time.monotonic() + self.job.federation.deadline_seconds
        while len(nodes := sorted(self.grid.get_node_ids())) < wanted:
            if time.monotonic() > until:
                raise FederationFailed(
                    f"{len(nodes)} of {wanted} clients are connected after {self.job.federation.deadline_seconds:g} s; start the others, "
                    "or set federation.clients to those that there are"
                )
            time.sleep(LOOK_SECONDS)
        self.nodes = {node: node for node in nodes}  # until they say their numbers
        replies = self.ask(HELLO, {node: ({}, {}) for node in nodes})
        numbers = {reply.facts["number"]: node for node, reply in replies.items() if isinstance(reply.facts.get("number"), int)}
        if len(numbers) < wanted:
            refused = next((reply.refused for reply in replies.values() if reply.refused), "two clients have the same number")
            raise FederationFailed(f"{len(numbers)} of {wanted} clients answered to their names: {refused}")
        self.nodes = dict(sorted(numbers.items())[:wanted])

    @property
    def numbers(self) -> list[int]:
        return list(self.nodes)

    def ask(self, kind: str, requests: Mapping[int, Request]) -> dict[int, Reply]:
        """By number; who does not answer in time has refused."""
        job, deadline = self.job.document(), self.job.federation.deadline_seconds
        messages = [
            Message(content(arrays, {"job": job, **facts}), dst_node_id=self.nodes[number], message_type=kind)
            for number, (arrays, facts) in requests.items()
        ]
        numbers = {node: number for number, node in self.nodes.items()}
        found = {number: Reply(refused=f"no answer within {deadline:g} s") for number in requests}
        for message in self.grid.send_and_receive(messages, timeout=deadline) if messages else ():
            number = numbers.get(message.metadata.src_node_id)
            if number in found:
                found[number] = reply_of(message)
        return found

    def ask_good(self, kind: str, requests: Mapping[int, Request]) -> dict[int, Reply]:
        """Only those that answered."""
        return self.good(self.ask(kind, requests), lambda reply: reply.refused)

    def good(self, replies: Mapping[int, Reply], fault: Callable[[Reply], str]) -> dict[int, Reply]:
        """Those without a fault; FederationFailed where they are fewer than the quorum."""
        good = {}
        for number, reply in replies.items():
            if why := fault(reply):
                self.faults.setdefault(number, []).append(why)
                self.tell(f"client {number} is left out of this round: {why}")
            else:
                good[number] = reply
        least = math.ceil(self.job.federation.quorum * len(replies))
        if len(good) < least:
            raise FederationFailed(
                f"{len(good)} of {len(replies)} clients gave an answer that can be used, and federation.quorum asks for {least}; nothing "
                f"was made of this round. The first fault: {next(iter(self.faults.values()))[-1]}"
            )
        return good
