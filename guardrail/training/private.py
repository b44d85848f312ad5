"""Differentially private training: DP-SGD (Abadi et al. 2016, arXiv 1607.00133) on Opacus, and noisy counts.

Covered: everything that leaves by training, for adding or removing one unit: the noisy one-way counts, and every step's
clipped, summed, noised gradients under Poisson sampling. The plan (noise, sampling rate, steps, clip) is fixed before the
records are read, from public numbers alone; where no public record count is declared, the noisy counts give one.
Not covered: a schema that was not public, what audits print, other releases from the same records (see the ledger), the
time training takes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from ..vocabulary.canaries import CanaryRecord
from ..vocabulary.errors import GuardrailError, PrivacyRefused, Unsupported
from ..vocabulary.plugins import table
from ..vocabulary.receipt import GaussianQuery, Mechanism, PrivacyClaim, SampledGaussian
from ..vocabulary.schema import Schema
from ..vocabulary.seeds import stream as public_stream
from ..vocabulary.spaces import TokenSpace
from ..vocabulary.spec import PrivacySpec
from .accounting import epsilon_prv, epsilon_rdp, total_variation
from .canaries import Canaries
from .clipping import Drawn
from .conduct import Conduct, Previews, refuse_under_privacy
from .contract import Generator, Player, Recipe
from .distributed import ALONE, World
from .loop import Progress, train
from .measured_schema import measured
from .noisy_counts import NoisyCounts
from .optimizers import optimizer_of
from .private_plan import Planner, fitting, gradients_of
from .private_turn import FreeTurn, PrivateTurn, public_size
from .secure import SecureStream, SeededStream, Stream, poisson_batch
from .strategy import Dataset, Outcome, Spending
from .units import Units, shares_of

UNWATCHED = Conduct(monitor=False)


class Private:
    """`epsilon` at `delta` for adding or removing one unit, by a plan made of public numbers."""

    def __init__(
        self,
        privacy: PrivacySpec,
        *,
        holdout: float,
        schema_sources: Mapping[str, str],
        unit: str,
        records: int | None,
        spending: Spending,
        schema_query: GaussianQuery | None = None,
        rounds: int = 1,
    ) -> None:
        """`schema_query`: what `measure` will ask, where bins are measured. `rounds`: of a federation."""
        self._privacy = privacy
        self._sources = dict(schema_sources)
        self._unit = unit
        self._records = records * (1 - holdout) if records is not None else None
        self._spending = spending
        self._schema_query = schema_query
        self.planner = Planner(privacy, self._records, schema_query, rounds)
        self._announced: list[Mechanism] | None = None
        self._seen: tuple[CanaryRecord, ...] = ()
        if records is not None:
            self.refuse_delta_of_one_unit(records)

    def recipe(self, generator: Generator) -> Recipe:
        if generator.private is None:
            able = sorted(name for name, entry in table("generators").items() if "private" in entry.abilities)
            raise Unsupported(
                f"the family {type(generator).__name__} cannot be trained privately yet, and nothing was read from the records; "
                f"families that can: {', '.join(able)}"
            )
        return generator.private

    def refuse_delta_of_one_unit(self, records: float) -> None:
        if self._privacy.delta >= 1 / records:
            raise PrivacyRefused(
                f"delta {self._privacy.delta:g} is not below 1 over the number of units, {1 / records:.2g}: "
                "publishing one unit's record in full would satisfy it; choose a smaller delta"
            )

    def fit(
        self,
        generator: Generator,
        dataset: Dataset,
        recipe: Recipe,
        *,
        seed: int,
        device: torch.device,
        report: Callable[[Progress], None],
        conduct: Conduct = UNWATCHED,
    ) -> Outcome:
        refuse_under_privacy(conduct)
        source = self.source(seed)
        # What a model draws while training (a latent code) belongs to a place in the batch, and the batch is secret.
        torch.manual_seed(secrets.randbits(63) if self._privacy.noise == "secure" else seed)
        players = generator.players()
        rate, steps = self.planner.pace(generator, recipe)
        questions = tuple(fitting(question, dataset.space) for question in generator.asks())
        plan = self.planner.plan(generator, dataset.space, recipe)
        if self._announced is None:
            self._spending.reserve(tuple(plan))
        elif plan != self._announced:
            raise GuardrailError("training would do something else than was announced before its bins were measured; please report it")
        charged = [query for query in plan if isinstance(query, GaussianQuery) and query != self._schema_query]
        world, canaries = conduct.world, self._privacy.canaries
        counts = NoisyCounts(dataset, queries=charged, source=source, questions=questions, canaries=canaries, world=world)
        records = self._records if self._records is not None else counts.records()
        self.refuse_delta_of_one_unit(records)
        generator.initialise(counts)
        generator.to(device)
        world.spread(generator)
        seen = self._seen
        if players:
            turns = self.turns(players, dataset, recipe, plan, rate * records, source, device, world)
            # Pictures of what the noisy steps made are post-processing; the monitor would look at the records.
            previews = {} if conduct.preview is None or not world.leads else {"preview": Previews(conduct.preview, conduct.preview_every)}
            told = report if world.leads else lambda _: None
            train(generator, turns, recipe, steps=steps, epsilon_after=self._meter(plan, steps), report=told, companions=previews)
            world.spread(generator)
            for name, turn in turns.items():
                turn.close()
                if isinstance(turn, PrivateTurn) and turn.canaries is not None:
                    seen += turn.canaries.records(gradients_of(name))
        claim = self._claim(self._normalised(plan, rate * records), records)
        watched = bounded((*counts.canaries, *seen), plan)
        return Outcome(counts, steps, round(rate * records), recipe.epochs if players else 1, claim, None, canaries=watched)

    def announce(self, generator: Generator, space: TokenSpace, recipe: Recipe) -> None:
        """Reserves everything of a training whose bins will be measured: `space` is that of the outlined schema."""
        self._announced = self.planner.plan(generator, space, recipe)
        self._spending.reserve(tuple(self._announced))

    def measure(self, schema: Schema, frame: pd.DataFrame, units: np.ndarray | None, *, seed: int, world: World = ALONE) -> Schema:
        """The schema with its bins, once they were announced; of several processes the leader's. The first look at the records."""
        if self._schema_query is None or self._announced is None:
            raise GuardrailError("bins can be measured once they are announced and paid for; please report it")
        found, self._seen = measured(
            schema,
            frame,
            shares_of(units, len(frame)),
            self._schema_query,
            source=self.source(seed),
            canaries=self._privacy.canaries,
            world=world,
        )
        return found

    def source(self, seed: int) -> Stream:
        return SecureStream() if self._privacy.noise == "secure" else SeededStream(public_stream(seed, "noise for tests"))

    def turns(
        self,
        players: Mapping[str, Player],
        dataset: Dataset,
        recipe: Recipe,
        plan: Sequence[Mechanism],
        normaliser: float,
        source: Stream,
        device: torch.device,
        world: World,
    ) -> dict[str, PrivateTurn | FreeTurn]:
        """Of each player with the mechanism that pays for it; of one that sees no record with none."""
        there = dataset.records.to(device)
        paid = {mechanism.what: mechanism for mechanism in plan if isinstance(mechanism, SampledGaussian)}
        rate = next(iter(paid.values())).sample_rate
        batches = _poisson(there if dataset.units is None else Units.grouped(there, dataset.units), rate, source, world)
        return {
            name: self._turn(player, paid.get(gradients_of(name)), recipe, batches, normaliser, source, world)
            for name, player in players.items()
        }

    def _turn(
        self,
        player: Player,
        mechanism: SampledGaussian | None,
        recipe: Recipe,
        batches: Iterator[Drawn],
        normaliser: float,
        source: Stream,
        world: World,
    ) -> PrivateTurn | FreeTurn:
        optimizer = optimizer_of(player, recipe)
        if mechanism is None:
            return FreeTurn(player, optimizer, public_size(normaliser), world)
        return PrivateTurn(
            player,
            optimizer,
            batches,
            clip=mechanism.clip,
            noise_multiplier=mechanism.noise_multiplier,
            normaliser=normaliser,
            source=source,
            canaries=self._canaries(player, mechanism, source) if world.leads else None,
            world=world,
        )

    def _canaries(self, player: Player, mechanism: SampledGaussian, source: Stream) -> Canaries | None:
        made = Canaries(player, self._privacy.canaries, clip=mechanism.clip, rate=mechanism.sample_rate, source=source)
        return made if made.count else None

    def _meter(self, plan: list[Mechanism], steps: int) -> Callable[[int], float | None]:
        """Epsilon so far, at ten of the steps: the accountant is exact and not free."""
        shown = {round(steps * k / 10) for k in range(1, 11)} if self._privacy.noise == "secure" else set()

        def so_far(step: int) -> float | None:
            if step not in shown:
                return None
            ran = [m.model_copy(update={"steps": m.steps * step // steps}) if isinstance(m, SampledGaussian) else m for m in plan]
            return epsilon_prv(ran, self._privacy.delta)

        return so_far

    @staticmethod
    def _normalised(plan: list[Mechanism], normaliser: float) -> tuple[Mechanism, ...]:
        return tuple(m.model_copy(update={"normaliser": normaliser}) if isinstance(m, SampledGaussian) else m for m in plan)

    def _claim(self, mechanisms: tuple[Mechanism, ...], records: float) -> PrivacyClaim:
        return PrivacyClaim(
            epsilon=epsilon_prv(mechanisms, self._privacy.delta),
            epsilon_rdp=epsilon_rdp(mechanisms, self._privacy.delta),
            delta=self._privacy.delta,
            unit=self._unit,
            rows_per_unit=1 if self._unit == "row" else self._privacy.rows_per_unit,
            mechanisms=mechanisms,
            records_public=records,
            records_source="declared public" if self._records is not None else "measured under DP",
            noise=self._privacy.noise,
            schema_sources=self._sources,
        )


def bounded(records: Sequence[CanaryRecord], plan: Sequence[Mechanism]) -> tuple[CanaryRecord, ...]:
    """With how well anybody can tell, at most, under the mechanism that each record is of."""
    most = {mechanism.what: total_variation([mechanism]) for mechanism in plan} if records else {}
    return tuple(record.model_copy(update={"total_variation": most[record.what]}) for record in records)


def _poisson(records: Drawn, rate: float, source: Stream, world: World = ALONE) -> Iterator[Drawn]:
    """This process's shares of batches without end; whoever asks gets one that nobody else has. Units are drawn, not their records."""
    while True:
        drawn = world.from_leader(lambda: poisson_batch(source, len(records), rate))
        yield records[drawn[world.share(len(drawn))].to(records.device)]
