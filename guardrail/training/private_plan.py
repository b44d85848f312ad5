"""The plan of a private training: every mechanism that will touch the records, fixed before any of them is read, from public numbers.

Shares of tokens and classes get a small part of the budget. The rest is for what the family learns from: gradients, else its own
questions; where it has both, the questions get a small part as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..vocabulary.errors import PrivacyRefused
from ..vocabulary.receipt import GaussianQuery, Mechanism, SampledGaussian
from ..vocabulary.spaces import TokenSpace
from ..vocabulary.spec import PrivacySpec
from .accounting import calibrate, zcdp_of
from .contract import Generator, Player, Question, Recipe, Runs
from .noisy_counts import longest, one_way_sensitivity, queries_for

COUNTS_SHARE = 0.05
"""Part of the budget (as zCDP's rho) that counts get, in equal parts, where gradients get the rest."""


@dataclass(frozen=True)
class Planner:
    privacy: PrivacySpec
    records: float | None = None
    """Public number of units in the training part, where one was declared."""
    schema_query: GaussianQuery | None = None
    """What measuring the bins will ask."""
    rounds: int = 1
    """Of a federation: every one of them takes the same number of steps."""

    def sample_rate(self, recipe: Recipe) -> float:
        if recipe.batch_size is None:
            return recipe.sample_rate
        if self.records is None:
            raise PrivacyRefused(
                "training.batch_size under privacy needs a public record count to turn it into a sampling rate; "
                "add `privacy: {records: <public number of units in the source>}`, or leave batch_size out"
            )
        return min(1.0, recipe.batch_size / self.records)

    def pace(self, generator: Generator, recipe: Recipe) -> tuple[float, int]:
        """Sampling rate, and the steps of every player."""
        rate = self.sample_rate(recipe)
        steps = math.ceil(recipe.epochs / rate) if generator.players() else 0
        return rate, self.rounds * math.ceil(steps / self.rounds)

    def plan(self, generator: Generator, space: TokenSpace, recipe: Recipe) -> list[Mechanism]:
        rate, steps = self.pace(generator, recipe)
        conditions = len(space.conditions) if generator.conditional else 0
        asked = queries_for([fitting(question, space) for question in generator.asks()], space, 1.0)
        return self.of(len(space.sizes), generator.players(), recipe.clip, rate, steps, conditions=conditions, asked=asked)

    def of(
        self,
        columns: int,
        players: Mapping[str, Player],
        clip: float,
        rate: float,
        steps: int,
        *,
        conditions: int = 0,
        asked: Sequence[GaussianQuery] = (),
    ) -> list[Mechanism]:
        """Together they cost at most the epsilon asked for."""
        epsilon, delta = self.privacy.epsilon, self.privacy.delta
        readers = [name for name, player in players.items() if player.sees_records]
        small = small_noise(epsilon, delta)

        def shares(noise: float) -> list[Mechanism]:
            return shares_of_columns(columns, conditions, noise)

        def questions(noise: float) -> list[Mechanism]:
            return [query.model_copy(update={"noise_multiplier": noise * math.sqrt(len(asked))}) for query in asked]

        def gradients(noise: float) -> list[Mechanism]:
            return [
                SampledGaussian(
                    what=gradients_of(name), noise_multiplier=noise, sample_rate=rate, steps=steps * players[name].turns, clip=clip
                )
                for name in readers
            ]

        bins: list[Mechanism] = [self.schema_query] if self.schema_query is not None else []
        if readers:
            fixed, learning = [*bins, *shares(small), *questions(small)], gradients
        elif asked:
            fixed, learning = [*bins, *shares(small)], questions
        else:
            fixed, learning = bins, shares
        return [*fixed, *learning(calibrate(lambda noise: [*fixed, *learning(noise)], epsilon=epsilon, delta=delta))]


def small_noise(epsilon: float, delta: float) -> float:
    """The noise multiplier at which an answer costs the part of the budget that is for counts."""
    return float((2 * COUNTS_SHARE * zcdp_of(epsilon, delta)) ** -0.5)


def shares_of_columns(columns: int, conditions: int, noise: float) -> list[Mechanism]:
    """One-way counts, and those of the classes; they share what the multiplier buys."""
    counted = {"one-way counts of every column": columns, "counts of every class": conditions}
    each = noise * math.sqrt(1 + (conditions > 0))
    return [GaussianQuery(what=what, sensitivity=one_way_sensitivity(n), noise_multiplier=each) for what, n in counted.items() if n]


def gradients_of(player: str) -> str:
    return f"gradients of {player}"


def fitting(question: Question, space: TokenSpace) -> Question:
    """The longest runs that noise can be laid on."""
    return Runs(longest(question.order, question.period, space), question.period) if isinstance(question, Runs) else question
