"""The rounds of a federation: what is asked, what is made of the answers, and what of it the receipt tells."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from flwr.serverapp import Grid

from ...vocabulary.canaries import CanaryRecord, CanaryRecords
from ...vocabulary.errors import FederationFailed, InputError, PrivacyRefused
from ...vocabulary.frozen import Frozen, parse
from ...vocabulary.receipt import ClientServed, FederationRecord, Mechanism, SampledGaussian
from ...vocabulary.seeds import entropy, stream
from ..contract import Generator
from ..loop import Progress, sound, train
from ..optimizers import optimizer_of
from ..private_turn import FreeTurn
from ..secure import SecureStream, SeededStream, Stream, poisson_batch
from .aggregation import averaged, fault_in, miscounted, strategy_of
from .central import UPDATES, clipped, noisy_shares, plan_for_clients, released, within_sensitivity
from .counts import Answer, FederatedCounts, Local, added, flattened
from .job import Job
from .learning import WEIGHT, WEIGHT_UNIT, Arrays, arrays_of, load, no_moments, private_of, recipe_of, trained_players, whole
from .masks import step_for
from .roster import Roster
from .secure_sum import SecureSum
from .state import ServerFile, ServerState
from .wire import CANARIES, COUNT, EVALUATE, TRAIN, Reply

LARGEST_CHANGE, LARGEST_COUNT = 2.0**12, 2.0**32
"""Of a weight in a round, and of a count: what masked numbers have room for."""


@dataclass
class Server:
    job: Job
    generator: Generator
    floor: Generator
    grid: Grid
    report: Callable[[Progress], None] = lambda _: None
    tell: Callable[[str], None] = lambda _: None
    file: ServerFile | None = None
    """What was done is written down here, and gone on from."""
    participants: list[int] = field(default_factory=list, init=False)
    """How many updates went into each round."""
    answers: list[Answer] = field(default_factory=list, init=False)
    """To every question, of all clients together."""
    _served: tuple[ClientServed, ...] = field(default=(), init=False)
    _place: int = field(default=0, init=False)
    """Questions that were asked since this server was started."""
    _of_model: int = field(default=0, init=False)
    """How many of them the model asked for."""
    _asked: Counter[int] = field(default_factory=Counter, init=False)
    _heard: Counter[int] = field(default_factory=Counter, init=False)
    """Rounds that a client was asked to train in, and those that it answered."""

    def __post_init__(self) -> None:
        self._roster = Roster(self.job, self.grid, self.tell)
        self._begun = self.file.read() if self.file else ServerState()
        self.answers, self.participants = list(self._begun.answers), list(self._begun.participants)
        self._asked.update(self._begun.asked)
        self._heard.update(self._begun.heard)
        self.faults.update(self._begun.faults)

    @property
    def faults(self) -> dict[int, list[str]]:
        """What was wrong with a client's answers, by number."""
        return self._roster.faults

    def run(self) -> None:
        """The generator is trained and the floor counted in place.

        Raises:
            FederationFailed: Too few clients answered, or nothing sound came of it.
            PrivacyRefused: A client's accountant does not count what was asked of it.
        """
        self._roster.gather()
        self._count()
        if self.generator.players():
            self._train()
        self._served = self.served()

    # -- counts ------------------------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        torch.manual_seed(entropy(self.job.seed, "training") % 2**63)
        counts = FederatedCounts(self.job.codec.tokens, noisy=self.job.privacy is not None, ask=self._counted)
        self.generator.initialise(counts)
        self._of_model = self._place
        self.floor.initialise(counts)

    def _counted(self, _: Local) -> Answer:
        """The answer to the next question. A count without some of the clients would be another question: all have to answer."""
        self._place += 1
        if self._place <= len(self.answers):
            return self.answers[self._place - 1]
        space, numbers = self.job.codec.tokens, self._roster.numbers
        if self.job.federation.secure_aggregation:
            sums = self._secure(numbers, LARGEST_COUNT)
            answer = sums.of("count", flattened(self.answers), {})
            heard = len(sums.facts)
        else:
            replies = self._roster.ask(COUNT, dict.fromkeys(numbers, (flattened(self.answers), {})))
            answers = [reply.arrays for reply in self._roster.good(replies, miscounted).values()]
            answer = added([within_sensitivity(one, space) for one in answers] if self.job.guards_clients else answers)
            heard = len(answers)
        if heard < len(numbers):
            raise FederationFailed("a count without some of the clients would be another question; all of them have to answer")
        if self.job.guards_clients:
            answer = noisy_shares(answer, self._plan(), self._source(f"answer {self._place}"))
        self.answers.append(answer)
        self._keep(ServerState())
        return answer

    def counts_of_floor(self) -> FederatedCounts:
        """What the floor was answered, for whoever counts it again when the clients are gone."""
        left = iter([self.answers[0], *self.answers[self._of_model :]])
        return FederatedCounts(self.job.codec.tokens, noisy=self.job.privacy is not None, ask=lambda _: next(left))

    def _secure(self, numbers: Sequence[int], largest: float) -> SecureSum:
        return SecureSum(numbers, self._roster.ask_good, step_for(largest))

    def _source(self, what: str) -> Stream:
        """Of the server's own noise and coins."""
        if self.job.privacy is not None and self.job.privacy.noise == "seeded":
            return SeededStream(stream(self.job.seed, f"noise for tests: {what}"))
        return SecureStream()

    def _plan(self) -> list[Mechanism]:
        return plan_of(self.job, self.generator)

    # -- rounds ------------------------------------------------------------------------------------------------------------------

    def _train(self) -> None:
        spec, strategy, began = self.job.federation, strategy_of(self.job.federation), time.perf_counter()
        players, begun = trained_players(self.generator, self.job), self._begun
        # Under client-level privacy every number that travels takes part of the clip: there optimizers begin anew.
        moments = {} if self.job.guards_clients else no_moments(self.generator, players, recipe_of(self.generator, self.job))
        if begun.round:
            load(self.generator, begun.weights)
            moments = dict(begun.moments)
        resumed = self.file is not None and len(self.answers) == len(begun.answers)
        lost = begun.round + 1 if spec.secure_aggregation and resumed else 0
        for round_ in range(begun.round + 1, spec.rounds + 1):
            secret = self._source(f"round {round_}")
            drawn = self._drawn(round_, secret)
            self._asked.update(drawn)
            if round_ == lost:
                self.tell(f"round {round_} was on its way when the server stopped; under masks nothing is sent twice, so it is left out")
                self.participants.append(0)
                self._keep(ServerState(round=round_, weights=whole(self.generator), moments=moments))
                continue
            before = {**arrays_of(self.generator, players), **moments}
            sent = {**whole(self.generator), **moments}
            if spec.secure_aggregation:
                after, facts = self._masked(round_, drawn, sent, before, strategy, secret)
            else:
                after, facts = self._seen(round_, drawn, sent, before, strategy, secret)
            self._check_steps(facts)
            moments = {name: after.pop(name) for name in moments}
            load(self.generator, after)
            self._train_own(round_)
            if not sound(self.generator):
                raise FederationFailed(f"after round {round_} the weights are no numbers any more; lower training.learning_rate")
            self.participants.append(len(facts))
            self._keep(ServerState(round=round_, weights=whole(self.generator), moments=moments))
            self.report(Progress(round_, spec.rounds, time.perf_counter() - began, self._mean_loss(facts), None))
        self.generator.eval()

    def _seen(self, round_: int, drawn: Sequence[int], sent: Arrays, before: Arrays, strategy: Any, secret: Stream) -> Result:
        """A round in which the server sees every update."""
        replies = self._roster.ask(TRAIN, dict.fromkeys(drawn, (sent, {"round": round_})))
        updates = self._roster.good(replies, partial(fault_in, like=before, round_=round_))
        facts = {number: reply.facts for number, reply in updates.items()}
        if self.job.guards_clients:
            changes = [clipped(reply.arrays, before, self.job.federation.clip)[0] for reply in updates.values()]
            total = {name: np.sum([change[name] for change in changes], axis=0) for name in before} if changes else {}
            return self._noisy(total, before, secret), facts
        return averaged(strategy, round_, updates, before) if updates else dict(before), facts

    def _masked(self, round_: int, drawn: Sequence[int], sent: Arrays, before: Arrays, strategy: Any, secret: Stream) -> Result:
        """A round in which it sees the sum of what they changed."""
        sums = self._secure(drawn, LARGEST_CHANGE)
        shapes = {name: value.shape for name, value in before.items()}
        if self.job.guards_clients:
            return self._noisy(sums.of("train", sent, {"round": round_}, shapes), before, secret), sums.facts
        total = sums.of("train", sent, {"round": round_}, {**shapes, WEIGHT: (1,)})
        weight = max(float(total[WEIGHT][0]), 1 / WEIGHT_UNIT)
        mean = {name: (value + total[name] / weight).astype(value.dtype) for name, value in before.items()}
        return averaged(strategy, round_, {0: Reply(mean, {"weight": 1.0})}, before), sums.facts

    def _noisy(self, total: Arrays, before: Arrays, source: Stream) -> Arrays:
        mechanism = next(one for one in self._plan() if isinstance(one, SampledGaussian) and one.what == UPDATES)
        return released(total, before, mechanism, source)

    def _keep(self, state: ServerState) -> None:
        """Before anything else is asked for."""
        if self.file is not None:
            answers, told = tuple(self.answers), tuple(self.participants)
            now = replace(state, answers=answers, participants=told, asked=self._asked, heard=self._heard, faults=self.faults)
            self.file.write(self.job, now)

    def _drawn(self, round_: int, secret: Stream) -> list[int]:
        """Each client by a coin of its own; where amplification is claimed for it, a coin that nobody else can know."""
        numbers, share = self._roster.numbers, self.job.federation.sample
        if share == 1:
            return numbers
        if self.job.guards_clients:
            return [numbers[i] for i in poisson_batch(secret, len(numbers), share).tolist()]
        public = stream(self.job.seed, f"clients of round {round_}")
        return [number for number in numbers if public.random() < share] or numbers[:1]

    def _mean_loss(self, facts: Mapping[int, Mapping[str, Any]]) -> float | None:
        losses = [float(said["loss"]) for said in facts.values() if isinstance(said.get("loss"), int | float)]
        return sum(losses) / len(losses) if losses and self.job.privacy is None else None

    def _check_steps(self, facts: Mapping[int, Mapping[str, Any]]) -> None:
        """A client that forgot its steps would be charged for fewer than it took. It may have taken some whose update was lost."""
        if self.job.local_privacy is None:
            return
        self._heard.update(list(facts))
        _, steps = private_of(self.job).planner.pace(self.generator, recipe_of(self.generator, self.job))
        per_round = steps // self.job.federation.rounds
        for number, said in facts.items():
            took = self._heard[number] * per_round
            if not isinstance(said.get("steps"), int) or not took <= said["steps"] <= self._asked[number] * per_round:
                raise PrivacyRefused(
                    f"client {number} counts {said.get('steps')!r} private steps where it took {took}: an accountant that was set back, or "
                    "that runs ahead. The claim would be false, so nothing is made of this training"
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
        replies = self._roster.ask(CANARIES, dict.fromkeys(self._roster.numbers, ({}, {})))
        said = [_understood(CanaryRecords, {"canaries": reply.facts.get("canaries")}) for reply in replies.values() if not reply.refused]
        return tuple(record for records in said if records for record in records.canaries)

    def served(self) -> tuple[ClientServed, ...]:
        """What the clients say of the trained model; nothing under privacy."""
        if self.job.privacy is not None or self.job.records.modality != "tabular":
            return ()
        replies = self._roster.ask(EVALUATE, dict.fromkeys(self._roster.numbers, (whole(self.generator), {})))
        said = [reply.facts.get("served") for reply in replies.values() if not reply.refused]
        return tuple(found for one in said if (found := _understood(ClientServed, one)) is not None)

    def record(self, *, simulated: bool) -> FederationRecord:
        """Where clients are the unit, nothing of any single one: not even in which rounds how many took part."""
        spec, secret = self.job.federation, self.job.guards_clients
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
            participants=() if secret else tuple(self.participants),
            served=self._served,
            left_out={} if secret else {str(number): tuple(dict.fromkeys(why)) for number, why in sorted(self.faults.items())},
        )


Model = TypeVar("Model", bound=Frozen)


def _understood(kind: type[Model], said: Any) -> Model | None:
    """A client's word; None where it makes no sense: it shall not cost the others their model."""
    try:
        return parse(kind, said, where="a client's answer")
    except InputError:
        return None


Result = tuple[Arrays, dict[int, Mapping[str, Any]]]
"""The next weights, and what those clients said whose updates are in them."""


def plan_of(job: Job, generator: Generator) -> list[Mechanism]:
    """What the whole federation costs the unit of its level: no unit's records lie with two clients."""
    if job.guards_clients:
        return plan_for_clients(job, generator, job.codec.tokens)
    return private_of(job).planner.plan(generator, job.codec.tokens, recipe_of(generator, job)) if job.privacy else []
