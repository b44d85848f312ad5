"""The rounds of a federation: who is asked, what is made of the answers, and what of it the receipt tells."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from flwr.app import Message
from flwr.serverapp import Grid

from ...vocabulary.canaries import CanaryRecord, CanaryRecords
from ...vocabulary.errors import FederationFailed, PrivacyRefused
from ...vocabulary.frozen import parse
from ...vocabulary.receipt import FederationRecord, Mechanism, SampledGaussian
from ...vocabulary.seeds import entropy, stream
from ..contract import Generator
from ..loop import Progress, sound, train
from ..optimizers import optimizer_of
from ..private_turn import FreeTurn
from ..secure import SecureStream, SeededStream, Stream, poisson_batch
from .aggregation import averaged, fault_in, strategy_of
from .central import UPDATES, clipped, noisy_shares, plan_for_clients, released, within_sensitivity
from .counts import Answer, FederatedCounts, Local, added
from .job import Job
from .learning import Arrays, arrays_of, load, no_moments, private_of, recipe_of, trained_players, whole
from .wire import CANARIES, COUNT, HELLO, TRAIN, Reply, content, flattened, reply_of

LOOK_SECONDS = 0.2


@dataclass
class Server:
    job: Job
    generator: Generator
    floor: Generator
    grid: Grid
    report: Callable[[Progress], None] = lambda _: None
    tell: Callable[[str], None] = lambda _: None
    nodes: dict[int, int] = field(default_factory=dict, init=False)
    """Flower's names of the clients, by number."""
    participants: list[int] = field(default_factory=list, init=False)
    """How many updates went into each round."""
    faults: dict[int, list[str]] = field(default_factory=dict, init=False)
    """What was wrong with a client's answers, by number."""
    answers: list[Answer] = field(default_factory=list, init=False)
    """To every question, of all clients together."""
    _of_model: int = field(default=0, init=False)
    """How many of them the model asked for."""
    _asked: Counter[int] = field(default_factory=Counter, init=False)
    _heard: Counter[int] = field(default_factory=Counter, init=False)
    """Rounds that a client was asked to train in, and those that it answered."""

    def run(self) -> None:
        """The generator is trained and the floor counted in place."""
        self.nodes = self._gathered()
        self._count()
        if self.generator.players():
            self._train()

    # -- who is there ------------------------------------------------------------------------------------------------------------

    def _gathered(self) -> dict[int, int]:
        """Every client that was promised, or FederationFailed at the deadline."""
        wanted, until = self.job.federation.clients, time.monotonic() + self.job.federation.deadline_seconds
        while len(nodes := sorted(self.grid.get_node_ids())) < wanted:
            if time.monotonic() > until:
                raise FederationFailed(
                    f"{len(nodes)} of {wanted} clients are connected after {self.job.federation.deadline_seconds:g} s; start the others, "
                    "or set federation.clients to those that there are"
                )
            time.sleep(LOOK_SECONDS)
        replies = self._ask(HELLO, nodes, {}, {})
        numbers = {int(reply.facts["number"]): node for node, reply in replies.items() if not reply.refused}
        if len(numbers) < wanted:
            refused = next((reply.refused for reply in replies.values() if reply.refused), "two clients have the same number")
            raise FederationFailed(f"{len(numbers)} of {wanted} clients answered to their names: {refused}")
        return dict(sorted(numbers.items())[:wanted])

    def _ask(self, kind: str, nodes: Sequence[int], arrays: Arrays, facts: Mapping[str, Any]) -> dict[int, Reply]:
        """By node; who does not answer in time has refused."""
        messages = [Message(content(arrays, {"job": self.job.document(), **facts}), dst_node_id=node, message_type=kind) for node in nodes]
        deadline = self.job.federation.deadline_seconds
        found = {node: Reply(refused=f"no answer within {deadline:g} s") for node in nodes}
        for message in self.grid.send_and_receive(messages, timeout=deadline):
            if message.metadata.src_node_id in found:
                found[message.metadata.src_node_id] = reply_of(message)
        return found

    def _good(self, replies: Mapping[int, Reply], fault: Callable[[Reply], str]) -> dict[int, Reply]:
        """By number, those without a fault; FederationFailed where they are fewer than the quorum."""
        numbers = {node: number for number, node in self.nodes.items()}
        good = {}
        for node, reply in replies.items():
            if why := fault(reply):
                self.faults.setdefault(numbers[node], []).append(why)
                self.tell(f"client {numbers[node]} is left out of this round: {why}")
            else:
                good[numbers[node]] = reply
        least = math.ceil(self.job.federation.quorum * len(replies))
        if len(good) < least:
            raise FederationFailed(
                f"{len(good)} of {len(replies)} clients gave an answer that can be used, and federation.quorum asks for {least}; nothing "
                f"was made of this round. The first fault: {next(iter(self.faults.values()))[-1]}"
            )
        return good

    # -- counts ------------------------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        space, source = self.job.codec.tokens, self._source()

        def ask(_: Local) -> Answer:
            replies = self._ask(COUNT, list(self.nodes.values()), flattened(self.answers), {})
            good = self._good(replies, lambda reply: reply.refused)
            if len(good) < len(replies):
                raise FederationFailed("a count without some of the clients would be another question; all of them have to answer")
            answers = [reply.arrays for reply in good.values()]
            if self.job.guards_clients:
                answer = noisy_shares(added([within_sensitivity(one, space) for one in answers]), self._plan(), source)
            else:
                answer = added(answers)
            self.answers.append(answer)
            return answer

        torch.manual_seed(entropy(self.job.seed, "training") % 2**63)
        counts = FederatedCounts(space, noisy=self.job.privacy is not None, ask=ask)
        self.generator.initialise(counts)
        self._of_model = len(self.answers)
        self.floor.initialise(counts)

    def counts_of_floor(self) -> FederatedCounts:
        """What the floor was answered, for whoever counts it again when the clients are gone."""
        left = iter([self.answers[0], *self.answers[self._of_model :]])
        return FederatedCounts(self.job.codec.tokens, noisy=self.job.privacy is not None, ask=lambda _: next(left))

    def _source(self) -> Stream:
        """Of the server's own noise and coins."""
        if self.job.privacy is not None and self.job.privacy.noise == "seeded":
            return SeededStream(stream(self.job.seed, "noise for tests"))
        return SecureStream()

    def _plan(self) -> list[Mechanism]:
        return plan_of(self.job, self.generator)

    # -- rounds ------------------------------------------------------------------------------------------------------------------

    def _train(self) -> None:
        spec, strategy, began = self.job.federation, strategy_of(self.job.federation), time.perf_counter()
        secret, players = self._source(), trained_players(self.generator, self.job)
        # Under client-level privacy every number that travels takes part of the clip: there optimizers begin anew.
        moments = {} if self.job.guards_clients else no_moments(self.generator, players, recipe_of(self.generator, self.job))
        public = stream(self.job.seed, "clients of a round")
        for round_ in range(1, spec.rounds + 1):
            drawn = self._drawn(round_, secret, public)
            before = {**arrays_of(self.generator, players), **moments}
            sent = {**whole(self.generator), **moments}
            replies = self._ask(TRAIN, [self.nodes[number] for number in drawn], sent, {"round": round_})
            updates = self._good(replies, partial(fault_in, like=before, round_=round_)) if replies else {}
            self._check_steps(updates, drawn)
            if self.job.guards_clients:
                after = self._noisy(updates, before, secret)
            else:
                after = averaged(strategy, round_, updates, before) if updates else dict(before)
            moments = {name: after.pop(name) for name in moments}
            load(self.generator, after)
            self._train_own(round_)
            if not sound(self.generator):
                raise FederationFailed(f"after round {round_} the weights are no numbers any more; lower training.learning_rate")
            self.participants.append(len(updates))
            losses = [float(reply.facts["loss"]) for reply in updates.values() if isinstance(reply.facts.get("loss"), int | float)]
            loss = sum(losses) / len(losses) if losses and self.job.privacy is None else None
            self.report(Progress(round_, spec.rounds, time.perf_counter() - began, loss, None))
        self.generator.eval()

    def _drawn(self, round_: int, secret: Stream, public: Any) -> list[int]:
        """Each client by a coin of its own; where amplification is claimed for it, a coin that nobody else can know."""
        numbers = list(self.nodes)
        if self.job.federation.sample == 1:
            return numbers
        if self.job.guards_clients:
            return [numbers[i] for i in poisson_batch(secret, len(numbers), self.job.federation.sample).tolist()]
        return [number for number in numbers if public.random() < self.job.federation.sample] or numbers[:1]

    def _noisy(self, updates: Mapping[int, Reply], before: Arrays, source: Stream) -> Arrays:
        mechanism = next(one for one in self._plan() if isinstance(one, SampledGaussian) and one.what == UPDATES)
        changes = [clipped(reply.arrays, before, mechanism.clip)[0] for reply in updates.values()]
        total = {name: sum((change[name] for change in changes[1:]), changes[0][name]) for name in before} if changes else {}
        return released(total, before, mechanism, source)

    def _check_steps(self, updates: Mapping[int, Reply], drawn: Sequence[int]) -> None:
        """A client that forgot its steps would be charged for fewer than it took. It may have taken some whose update was lost."""
        if self.job.local_privacy is None:
            return
        self._asked.update(drawn)
        self._heard.update(list(updates))
        _, steps = private_of(self.job).planner.pace(self.generator, recipe_of(self.generator, self.job))
        per_round = steps // self.job.federation.rounds
        for number, reply in updates.items():
            said = reply.facts.get("steps")
            if not isinstance(said, int) or not self._heard[number] * per_round <= said <= self._asked[number] * per_round:
                took = self._heard[number] * per_round
                raise PrivacyRefused(
                    f"client {number} counts {said!r} private steps where it took {took}: an accountant that was set back, or that runs "
                    "ahead. The claim would be false, so nothing is made of this training"
                )

    def _train_own(self, round_: int) -> None:
        """The players that clients do not train: they see no record, so the server can."""
        players = self.generator.players()
        own = {name: player for name, player in players.items() if name not in trained_players(self.generator, self.job)}
        if not own:
            return
        recipe = recipe_of(self.generator, self.job)
        per_round = math.ceil(recipe.epochs / recipe.sample_rate / self.job.federation.rounds)
        steps = per_round * self.job.federation.rounds
        torch.manual_seed(entropy(self.job.seed, f"server, round {round_}") % 2**63)
        turns = {name: FreeTurn(player, optimizer_of(player, recipe), recipe.batch_size or 64) for name, player in own.items()}
        leg = ((round_ - 1) * per_round, round_ * per_round)
        train(self.generator, turns, recipe, steps=steps, epsilon_after=lambda _: None, report=lambda _: None, leg=leg)

    # -- what is told ------------------------------------------------------------------------------------------------------------

    def canaries(self) -> tuple[CanaryRecord, ...]:
        """Of all clients; free of records."""
        if self.job.local_privacy is None:
            return ()
        replies = self._ask(CANARIES, list(self.nodes.values()), {}, {})
        found = [
            parse(CanaryRecords, {"canaries": reply.facts.get("canaries")}, where="a client's canaries").canaries
            for reply in replies.values()
            if not reply.refused
        ]
        return tuple(record for records in found for record in records)

    def record(self, *, simulated: bool) -> FederationRecord:
        spec = self.job.federation
        return FederationRecord(
            clients=spec.clients,
            rounds=spec.rounds if self.generator.players() else 0,
            strategy=spec.strategy,
            players=spec.players,
            weights=self.job.weights,
            sample=spec.sample,
            level=spec.level if self.job.privacy else None,
            secure_aggregation=spec.secure_aggregation,
            simulated=simulated,
            participants=tuple(self.participants),
            left_out={str(number): tuple(dict.fromkeys(why)) for number, why in sorted(self.faults.items())},
        )


def plan_of(job: Job, generator: Generator) -> list[Mechanism]:
    """What the whole federation costs the unit of its level: no unit's records lie with two clients."""
    if job.guards_clients:
        return plan_for_clients(job, generator, job.codec.tokens)
    return private_of(job).planner.plan(generator, job.codec.tokens, recipe_of(generator, job)) if job.privacy else []
