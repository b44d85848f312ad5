"""One client of a federation: its answers, its legs of the training, and what it keeps between two messages.

Between two messages a client keeps what it owes its records: how many steps it has taken on them, which questions it has answered,
its noisy count of them, its canaries. Under record-level privacy every client trains by the same plan, made of public numbers and
long enough for all rounds: it reserves the whole of it before it reads a record, takes no step twice, none beyond it, and answers
no question twice, whatever a server asks. What it sends under privacy is noisy weights and nothing else: no loss, no count.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...vocabulary.canaries import CanaryRecord, CanaryRecords
from ...vocabulary.errors import FederationFailed, PrivacyRefused, SpecError
from ...vocabulary.receipt import ClientServed, GaussianQuery, Mechanism
from ...vocabulary.seeds import entropy
from ..conduct import Conduct
from ..contract import Generator, Player, Recipe
from ..distributed import ALONE
from ..loop import Progress, train
from ..noisy_counts import NoisyCounts
from ..plain import ExactCounts, batch_of, plain_turns
from ..private import Private, bounded
from ..private_plan import fitting, gradients_of
from ..private_turn import PrivateTurn
from ..strategy import Dataset
from .central import clipped
from .counts import Answer, LocalCounts, answered
from .job import Job
from .learning import (
    MOMENTS,
    WEIGHT,
    WEIGHT_UNIT,
    Anchors,
    Arrays,
    arrays_of,
    load,
    moments_in,
    one_each,
    private_of,
    put_moments_in,
    recipe_of,
    trained_players,
)
from .masks import Masker, PublicKeys, masker_of, written
from .serving import served
from .state import Memory

CPU = torch.device("cpu")
WORDLESS = Conduct(monitor=False)


Reserve = Callable[[tuple[Mechanism, ...]], None]


@dataclass(frozen=True)
class Update:
    """What a client gives back after a round."""

    arrays: Arrays
    steps: int
    """Of each player, in all rounds so far."""
    weight: float
    loss: float | None
    """None under privacy: nobody paid for it."""


@dataclass
class Client:
    job: Job
    dataset: Dataset
    number: int
    reserve: Reserve = lambda _: None
    """Told once what will bound what leaves, before the records are read."""
    fingerprint: str = ""
    memory: Memory = field(default_factory=Memory)
    device: torch.device = CPU
    _counts: NoisyCounts | None = field(default=None, init=False)
    _moments: Arrays = field(default_factory=dict, init=False)

    def answer(self, recorded: list[Answer]) -> Answer:
        """To the question after those that were answered."""
        generator, floor = self.job.built()
        self._begin(generator)
        if self.job.local_privacy and len(recorded) != self.memory.answered:
            raise PrivacyRefused(
                f"asked for answer {len(recorded)} where {self.memory.answered} were given: under privacy every question is answered "
                "once, a second noisy answer would be a second release"
            )
        torch.manual_seed(entropy(self.job.seed, "training") % 2**63)
        noisy = self.job.privacy is not None
        found = answered((generator, floor), self.dataset.space, recorded, lambda: self._local(generator), noisy=noisy)
        if found is None:
            raise SpecError("the server asks more than this client's copy of the family does; both must run the same version of guardrail")
        self.memory.answered += 1
        if self._counts is not None:
            self._note(self._counts)
        return found if not self.job.guards_clients else one_each(found, self.dataset.space)

    def train(self, round_: int, weights: Arrays) -> Update:
        """One round's steps from the weights that the server sent."""
        if round_ <= self.memory.rounds or round_ > self.job.federation.rounds:
            raise SpecError(
                f"asked to train in round {round_} after round {self.memory.rounds} of {self.job.federation.rounds}: a stale or repeated "
                "message; steps on records are taken once"
            )
        generator, _ = self.job.built()
        self._begin(generator)
        load(generator, {name: value for name, value in weights.items() if not name.startswith(MOMENTS)})
        generator.to(self.device)
        self._moments = {name: value for name, value in weights.items() if name.startswith(MOMENTS)}
        players = trained_players(generator, self.job)
        recipe = recipe_of(generator, self.job)
        anchors = Anchors(self.job.federation.proximal if self.job.federation.strategy == "fedprox" else 0.0)
        self.memory.rounds = round_  # before the first step: whoever fails in it has had it; of one that is killed nothing leaves
        loss = None
        if self.job.local_privacy:
            self._private_leg(generator, players, recipe, round_, anchors)
        else:
            loss = self._plain_leg(generator, players, recipe, round_, anchors)
        return Update({**arrays_of(generator.cpu(), players), **self._moments}, self.memory.steps, self._weight(), loss)

    def _weight(self) -> float:
        """In the average. Under privacy of records their noisy count, which left with the first answer and is paid for."""
        rows = self.memory.records if self.job.local_privacy else float(len(self.dataset.records))
        if self.job.weights == "counts":
            return rows
        return 1.0 if rows or self.job.privacy else 0.0

    # -- under masks ---------------------------------------------------------------------------------------------------------------

    def keys(self, session: str) -> PublicKeys:
        """A new session. What an earlier one left is forgotten: its shares give nobody away any more."""
        masker = Masker(session, self.number)
        self.memory.masker = written(masker)
        return masker.public()

    def shares(self, session: str, peers: Mapping[int, PublicKeys], threshold: int) -> dict[int, bytes]:
        with self._masking(session) as masker:
            return masker.share(peers, threshold)

    def masked(self, session: str, vector: Arrays, inbox: Mapping[int, bytes], step: float) -> Arrays:
        with self._masking(session) as masker:
            return masker.masked(vector, inbox, step)

    def unmask(self, session: str, alive: Sequence[int], gone: Sequence[int]) -> dict[int, bytes]:
        with self._masking(session) as masker:
            return masker.unmask(alive, gone)

    def changes(self, round_: int, weights: Arrays) -> tuple[Arrays, Update]:
        """What a round's steps changed, to be added up under masks, times this client's weight, which is under masks too; where clients
        are the unit clipped, here where nobody else can, and without a weight."""
        update = self.train(round_, weights)
        before = {name: weights[name] for name in update.arrays}
        if self.job.guards_clients:
            return clipped(update.arrays, before, self.job.federation.clip)[0], update
        weight = update.weight / WEIGHT_UNIT
        changed = {name: weight * (value.astype(np.float64) - before[name]) for name, value in update.arrays.items()}
        return {**changed, WEIGHT: np.array([weight])}, update

    @contextmanager
    def _masking(self, session: str) -> Iterator[Masker]:
        masker = masker_of(self.memory.masker)
        if masker.session != session:
            raise FederationFailed("secure aggregation: a message of another session; nothing was sent")
        try:
            yield masker
        finally:
            self.memory.masker = written(masker)

    def served(self, weights: Arrays) -> ClientServed | None:
        """How well the trained model serves this client. Under privacy that stays here: it is computed from records, and not paid for.
        Without, the ledger is asked as for any other answer: a server could begin with this question."""
        if self.job.privacy is not None or self.job.records.modality != "tabular":
            return None
        generator, _ = self.job.built()
        self._begin(generator)
        generator.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
        return served(self.job, generator.eval(), self.dataset, self.number)

    def canaries(self) -> tuple[CanaryRecord, ...]:
        """What became of them, once all rounds are over; free of records."""
        if not self.job.local_privacy:
            return ()
        generator, _ = self.job.built()
        private, plan = private_of(self.job), self._plan(generator)
        turns = self._private_turns(private, generator, trained_players(generator, self.job), plan)
        seen = [
            record
            for name, turn in turns.items()
            if isinstance(turn, PrivateTurn) and turn.canaries is not None
            for record in turn.canaries.records(gradients_of(name))
        ]
        return bounded((*self._counted(), *seen), plan)

    def _counted(self) -> tuple[CanaryRecord, ...]:
        return CanaryRecords.model_validate_json(self.memory.counted).canaries if self.memory.counted else ()

    def _begin(self, generator: Generator) -> None:
        """A new training pays for everything at once; whoever forgot that it paid, or has other records now, pays again."""
        if (self.memory.job, self.memory.data) == (self.job.key, self.fingerprint):
            return
        if self.job.local_privacy:
            self.reserve(tuple(self._plan(generator)))
        else:
            self.reserve(())
        vars(self.memory).update(vars(Memory(job=self.job.key, data=self.fingerprint, masker=self.memory.masker)))

    def _plan(self, generator: Generator) -> list[Mechanism]:
        return private_of(self.job).planner.plan(generator, self.job.codec.tokens, recipe_of(generator, self.job))

    def _local(self, generator: Generator) -> LocalCounts:
        privacy = self.job.local_privacy
        if privacy is None:
            return ExactCounts(self.dataset)
        private = private_of(self.job)
        questions = tuple(fitting(question, self.dataset.space) for question in generator.asks())
        charged = [query for query in self._plan(generator) if isinstance(query, GaussianQuery)]
        self._counts = NoisyCounts(
            self.dataset, queries=charged, source=private.source(self._seed()), questions=questions, canaries=privacy.canaries
        )
        return self._counts

    def _note(self, counts: NoisyCounts) -> None:
        """What stays of an answer. Every one comes from counts made anew, whose shares leave with the first answer only."""
        first = self.memory.answered == 1
        if first:
            self.memory.records = counts.records()
            private_of(self.job).refuse_delta_of_one_unit(self.memory.records)
        shares = 1 + (len(counts.counted()[1]) > 0)
        new = counts.canaries[:shares] if first else counts.canaries[shares:]
        self.memory.counted = CanaryRecords(canaries=(*self._counted(), *new)).model_dump_json()

    def _seed(self) -> int:
        """Of noise that is for tests."""
        return entropy(self.job.seed, f"client {self.number}, round {self.memory.rounds}, answer {self.memory.answered}") % 2**63

    def _plain_leg(
        self, generator: Generator, players: Mapping[str, Player], recipe: Recipe, round_: int, anchors: Anchors
    ) -> float | None:
        rows = len(self.dataset.records)
        if not rows:
            return None
        per_round = math.ceil(recipe.epochs * math.ceil(rows / batch_of(recipe, rows)) / self.job.federation.rounds)
        seed = entropy(self.job.seed, f"client {self.number}") % 2**63
        turns = plain_turns(players, self.dataset, recipe, seed=seed, device=self.device, conduct=WORDLESS)
        for turn in turns.values():
            turn.number = (round_ - 1) * per_round * turn.player.turns
            anchors.hold(turn.optimizer)
        last: list[float | None] = [None]
        self._leg(generator, turns, recipe, round_, per_round, lambda progress: last.__setitem__(0, progress.loss))
        return last[0]

    def _private_leg(self, generator: Generator, players: Mapping[str, Player], recipe: Recipe, round_: int, anchors: Anchors) -> None:
        if not self.memory.answered:
            raise PrivacyRefused("asked to train before any count was asked for: the public normaliser rests on it")
        private, plan = private_of(self.job), self._plan(generator)
        _, steps = private.planner.pace(generator, recipe)
        torch.manual_seed(secrets.randbits(63) if self.job.local_privacy and self.job.local_privacy.noise == "secure" else self.number)
        turns = self._private_turns(private, generator, players, plan)
        for turn in turns.values():
            anchors.hold(turn.optimizer)
        self._leg(generator, turns, recipe, round_, steps // self.job.federation.rounds, lambda _: None)
        for name, turn in turns.items():
            turn.close()
            if isinstance(turn, PrivateTurn) and turn.canaries is not None:
                self.memory.canaries |= {f"{name}/{part}": value for part, value in turn.canaries.kept().items()}

    def _private_turns(self, private: Private, generator: Generator, players: Mapping[str, Player], plan: list[Mechanism]) -> Any:
        recipe = recipe_of(generator, self.job)
        rate, _ = private.planner.pace(generator, recipe)
        source = private.source(self._seed())
        turns = private.turns(players, self.dataset, recipe, plan, rate * self.memory.records, source, self.device, ALONE)
        for name, turn in turns.items():
            kept = {key.removeprefix(f"{name}/"): value for key, value in self.memory.canaries.items() if key.startswith(f"{name}/")}
            if kept and isinstance(turn, PrivateTurn) and turn.canaries is not None:
                turn.canaries.put_back(kept)
        return turns

    def _leg(
        self,
        generator: Generator,
        turns: Mapping[str, Any],
        recipe: Recipe,
        round_: int,
        per_round: int,
        report: Callable[[Progress], None],
    ) -> None:
        steps = per_round * self.job.federation.rounds
        leg = ((round_ - 1) * per_round, round_ * per_round)
        self.memory.steps += per_round
        optimizers = {name: getattr(turn.optimizer, "original_optimizer", turn.optimizer) for name, turn in turns.items()}
        if self._moments:
            put_moments_in(optimizers, self._moments)
        train(generator, turns, recipe, steps=steps, epsilon_after=lambda _: None, report=report, leg=leg)
        if self._moments:
            self._moments = moments_in(optimizers)
