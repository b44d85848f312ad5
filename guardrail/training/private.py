"""Differentially private training: DP-SGD (Abadi et al. 2016, arXiv 1607.00133) on Opacus, and noisy counts.

Covered: everything that leaves by training, for adding or removing one unit: the noisy one-way counts, and every step's
clipped, summed, noised gradients under Poisson sampling. The plan (noise, sampling rate, steps, clip) is fixed before the
records are read, from public numbers alone; where no public record count is declared, the noisy counts give one.
Not covered: a schema that was not public, what audits print, other releases from the same records (see the ledger), the
time training takes.
"""

from __future__ import annotations

import math
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleHooksFastGradientClipping
from opacus.optimizers import DPOptimizerFastGradientClipping
from opacus.validators import ModuleValidator
from torch import Tensor

from ..vocabulary.errors import PrivacyRefused, Unsupported
from ..vocabulary.receipt import GaussianQuery, Mechanism, PrivacyClaim, SampledGaussian
from ..vocabulary.seeds import stream as public_stream
from ..vocabulary.spec import PrivacySpec
from .accounting import calibrate, epsilon_prv, epsilon_rdp, zcdp_of
from .bookkeeping import Notes, supports
from .contract import Generator, Player, Recipe
from .loop import Progress, train
from .secure import SecureStream, SeededStream, Stream, gaussian, poisson_batch
from .strategy import Dataset, Outcome, Spending, adam, smoothed_shares

COUNTS_SHARE = 0.05
"""Part of the budget (as zCDP's rho) that the one-way counts get where gradients get the rest."""
PHYSICAL_BATCH = 8192
"""Records whose activations are in memory at once; a speed setting, the logical batch is the sum over them."""


class NoisyCounts:
    """One-way counts with Gaussian noise, drawn once and then reused by whoever asks: model, floor, record count."""

    def __init__(self, dataset: Dataset, *, noise_multiplier: float, source: Stream) -> None:
        deviation = noise_multiplier * one_way_sensitivity(len(dataset.sizes))
        self._counts = tuple(
            # Whole numbers again: rounding is post-processing and leaves no low-order bits to read.
            np.rint(np.bincount(dataset.tokens[:, i], minlength=size) + deviation * gaussian(source, size).numpy())
            for i, size in enumerate(dataset.sizes)
        )

    def one_way(self) -> tuple[np.ndarray, ...]:
        return tuple(smoothed_shares(count) for count in self._counts)

    def total(self) -> float:
        """Every column counts every record once: weighted by their noise, the columns' sums agree on the record count."""
        weights = np.array([1 / len(count) for count in self._counts])
        sums = np.array([count.sum() for count in self._counts])
        return max(1.0, float((weights * sums).sum() / weights.sum()))


def one_way_sensitivity(columns: int) -> float:
    """L2: adding or removing a record changes one count in each column by one."""
    return math.sqrt(columns)


class _NoisyOptimizer(DPOptimizerFastGradientClipping):  # type: ignore[misc]
    """Opacus' optimizer with noise from our stream, and with room for gradients that never saw a record."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, noise_multiplier: float, clip: float, normaliser: float, source: Stream
    ) -> None:
        super().__init__(
            optimizer, noise_multiplier=noise_multiplier, max_grad_norm=clip, expected_batch_size=normaliser, loss_reduction="mean"
        )
        self._source = source
        self.free_gradients: list[Tensor] | None = None

    def add_noise(self) -> None:
        parameters = list(self.params)
        deviation = self.noise_multiplier * self.max_grad_norm
        noise = gaussian(self._source, sum(parameter.numel() for parameter in parameters)).mul_(deviation)
        for parameter, part in zip(parameters, noise.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = parameter.summed_grad + part.view_as(parameter).to(parameter)

    def scale_grad(self) -> None:
        super().scale_grad()
        if self.free_gradients is not None:
            for parameter, free in zip(self.params, self.free_gradients, strict=True):
                parameter.grad += free


class PrivateTurn:
    """One player's private step: clipped sum, noise, public normaliser. Clipping takes one backward pass where the layers
    allow it, else two (ghost clipping where Opacus knows the layer's norms, per-record gradients where it does not)."""

    def __init__(
        self, player: Player, optimizer: torch.optim.Optimizer, *, clip: float, noise_multiplier: float, normaliser: float, source: Stream
    ) -> None:
        refuse_mixing_layers(player)
        self.player = player
        self._normaliser, self._clip = normaliser, clip
        self._notes, self._one_pass = Notes(player), supports(player)
        self.optimizer = _NoisyOptimizer(optimizer, noise_multiplier=noise_multiplier, clip=clip, normaliser=normaliser, source=source)
        self._hooks: GradSampleHooksFastGradientClipping | None = None

    def close(self) -> None:
        """Takes the hooks off the player: it leaves training as it came."""
        if self._hooks is not None:
            self._hooks.cleanup()

    def step(self, batch: Tensor) -> float | None:
        clipped = self.clipped_sum(batch)
        self.optimizer.free_gradients = self._free_gradients()
        for parameter, gradient in zip(self.optimizer.params, clipped, strict=True):
            parameter.grad, parameter.summed_grad = gradient, None
        self.optimizer.step()
        self.player.after_step()
        return None

    def clipped_sum(self, batch: Tensor) -> list[Tensor]:
        """Per parameter the sum over records of min(1, clip / norm) x gradient; zeros for an empty batch."""
        sums = [torch.zeros_like(parameter) for parameter in self.optimizer.params]
        for chunk in batch.split(PHYSICAL_BATCH) if len(batch) else ():
            for total, gradient in zip(sums, self._clipped_chunk(chunk), strict=True):
                total += gradient
        return sums

    def _clipped_chunk(self, chunk: Tensor) -> list[Tensor]:
        if self._one_pass:
            with self._notes.taken(len(chunk)):
                losses = self._losses(chunk)
            self._one_pass = self._notes.complete
        if self._one_pass:
            sums, factors = self._notes.clipped_sum(losses, self._clip, list(self.optimizer.params))
        else:
            losses, factors = self._measured(chunk)
        finite = factors.isfinite() & losses.isfinite()
        if not finite.all():
            # Its gradient is not a number, so it has no direction to contribute: zero, within the clip, and said.
            warnings.warn("a record's gradient was not finite; its contribution to the step was set to zero", RuntimeWarning, stacklevel=2)
            return self._clipped_chunk(chunk[finite]) if finite.any() else [torch.zeros_like(p) for p in self.optimizer.params]
        return sums if self._one_pass else self._gradients((factors * losses).sum())

    def _measured(self, chunk: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and clipping factors by Opacus, for layers of any kind; the sum then takes a second pass."""
        if self._hooks is None:
            self._hooks = GradSampleHooksFastGradientClipping(self.player, loss_reduction="sum", max_grad_norm=self._clip, strict=False)
        # Only here do the layers note norms; any other pass (a likelihood, a free loss) goes unnoticed.
        self._hooks.enable_hooks()
        try:
            with _without_hook_warning():
                losses = self._losses(chunk)
                losses.sum().backward(retain_graph=True)
            return losses, self._hooks.get_clipping_coef()
        finally:
            self._hooks.disable_hooks()

    def _losses(self, chunk: Tensor) -> Tensor:
        losses = self.player.losses(chunk)
        if losses.shape != (len(chunk),):
            raise Unsupported(
                f"{type(self.player).__name__}.losses() gave shape {tuple(losses.shape)} for {len(chunk)} records; "
                f"it must be ({len(chunk)},): any other shape would broadcast against the clipping factors and void the guarantee"
            )
        return losses

    def _free_gradients(self) -> list[Tensor] | None:
        """For the public batch size: under Poisson sampling the true one is a secret."""
        free = self.player.free_loss(round(self._normaliser))
        return None if free is None else self._gradients(free)

    def _gradients(self, loss: Tensor) -> list[Tensor]:
        """By autograd.grad, so that nothing is left behind in `.grad`."""
        with _without_hook_warning():
            found = torch.autograd.grad(loss, list(self.optimizer.params), allow_unused=True)
        return [torch.zeros_like(p) if gradient is None else gradient for p, gradient in zip(self.optimizer.params, found, strict=True)]


@contextmanager
def _without_hook_warning() -> Iterator[None]:
    """Records need no gradient of their own, and torch finds that worth a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield


def refuse_mixing_layers(player: Player) -> None:
    """Batch norm and its like read other records of the batch: then one record's gradient is not its own."""
    faults = ModuleValidator.validate(player, strict=False)
    if faults:
        raise Unsupported(f"{type(player).__name__} cannot be trained privately: {faults[0]}")


class Private:
    """`epsilon` at `delta` for adding or removing one unit, by a plan made of public numbers."""

    def __init__(
        self, privacy: PrivacySpec, *, holdout: float, schema_sources: Mapping[str, str], unit: str, records: int | None, spending: Spending
    ) -> None:
        self._privacy = privacy
        self._sources = dict(schema_sources)
        self._unit = unit
        self._records = records * (1 - holdout) if records is not None else None
        self._spending = spending
        if privacy.schema_epsilon:
            raise Unsupported("privacy.schema_epsilon: measuring a schema under privacy is not available yet; declare the schema public")
        if records is not None and privacy.delta >= 1 / records:
            raise PrivacyRefused(
                f"delta {privacy.delta:g} is not below 1/records = {1 / records:g}: publishing one record in full would satisfy it; "
                "choose a smaller delta"
            )

    def recipe(self, generator: type[Generator]) -> Recipe:
        return generator.private

    def fit(
        self, generator: Generator, dataset: Dataset, recipe: Recipe, *, seed: int, device: torch.device, report: Callable[[Progress], None]
    ) -> Outcome:
        source = self._source(seed)
        # What a model draws while training (a latent code) belongs to a place in the batch, and the batch is secret.
        torch.manual_seed(secrets.randbits(63) if self._privacy.noise == "secure" else seed)
        players = generator.players()
        rate = self._sample_rate(recipe)
        steps = math.ceil(recipe.epochs / rate) if players else 0
        plan = self.plan(len(dataset.sizes), players, recipe.clip, rate, steps)
        self._spending.reserve(tuple(plan))
        counts = NoisyCounts(dataset, noise_multiplier=plan[0].noise_multiplier, source=source)
        records = self._records if self._records is not None else counts.total()
        generator.initialise(counts)
        generator.to(device)
        if players:
            turns = [self._turn(player, mechanism, recipe, rate * records, source) for player, mechanism in self._charged(players, plan)]
            batches = _poisson(dataset.records.to(device), rate, steps, source)
            train(generator, turns, batches, steps=steps, average=recipe.average, epsilon_after=self._meter(plan, steps), report=report)
            for turn in turns:
                turn.close()
        claim = self._claim(self._normalised(plan, rate * records), records)
        return Outcome(counts, steps, round(rate * records), recipe.epochs if players else 1, claim, None)

    def plan(self, columns: int, players: Mapping[str, Player], clip: float, rate: float, steps: int) -> list[Mechanism]:
        """Every mechanism of the run, before the records are read; together they cost at most the epsilon asked for."""
        epsilon, delta = self._privacy.epsilon, self._privacy.delta
        readers = [name for name, player in players.items() if player.sees_records]

        def counting(noise: float) -> GaussianQuery:
            return GaussianQuery(what="one-way counts of every column", sensitivity=one_way_sensitivity(columns), noise_multiplier=noise)

        if not readers:
            return [counting(calibrate(lambda noise: [counting(noise)], epsilon=epsilon, delta=delta))]
        counted = counting((2 * COUNTS_SHARE * zcdp_of(epsilon, delta)) ** -0.5)

        def all_at(noise: float) -> list[Mechanism]:
            return [
                counted,
                *(
                    SampledGaussian(what=f"gradients of {name}", noise_multiplier=noise, sample_rate=rate, steps=steps, clip=clip)
                    for name in readers
                ),
            ]

        return all_at(calibrate(all_at, epsilon=epsilon, delta=delta))

    def _sample_rate(self, recipe: Recipe) -> float:
        if recipe.batch_size is None:
            return recipe.sample_rate
        if self._records is None:
            raise PrivacyRefused(
                "training.batch_size under privacy needs a public record count to turn it into a sampling rate; "
                "add `privacy: {records: <public size of the source>}`, or leave batch_size out"
            )
        return min(1.0, recipe.batch_size / self._records)

    def _source(self, seed: int) -> Stream:
        return SecureStream() if self._privacy.noise == "secure" else SeededStream(public_stream(seed, "noise for tests"))

    @staticmethod
    def _charged(players: Mapping[str, Player], plan: list[Mechanism]) -> Iterator[tuple[Player, SampledGaussian | None]]:
        """Each player with the mechanism that pays for it; None for a player that sees no record."""
        paid = (mechanism for mechanism in plan if isinstance(mechanism, SampledGaussian))
        for player in players.values():
            mechanism = next(paid) if player.sees_records else None
            yield player, mechanism

    def _turn(
        self, player: Player, mechanism: SampledGaussian | None, recipe: Recipe, normaliser: float, source: Stream
    ) -> PrivateTurn | FreeTurn:
        optimizer = adam(player, recipe)
        if mechanism is None:
            return FreeTurn(player, optimizer, round(normaliser))
        return PrivateTurn(
            player, optimizer, clip=mechanism.clip, noise_multiplier=mechanism.noise_multiplier, normaliser=normaliser, source=source
        )

    def _meter(self, plan: list[Mechanism], steps: int) -> Callable[[int], float | None]:
        """Epsilon so far, at twenty of the steps: the accountant is exact and not free."""
        shown = {round(steps * k / 20) for k in range(1, 21)}

        def so_far(step: int) -> float | None:
            if step not in shown:
                return None
            ran = [m.model_copy(update={"steps": step}) if isinstance(m, SampledGaussian) else m for m in plan]
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
            mechanisms=mechanisms,
            records_public=records,
            records_source="declared public" if self._records is not None else "measured under DP",
            noise=self._privacy.noise,
            schema_sources=self._sources,
        )


class FreeTurn:
    """The turn of a player that sees no record (a GAN's generator): an ordinary step, at no privacy cost."""

    def __init__(self, player: Player, optimizer: torch.optim.Optimizer, n: int) -> None:
        self.player, self.optimizer, self._n = player, optimizer, n

    def step(self, batch: Tensor) -> float | None:
        """`batch` is not read: not even its size, which under Poisson sampling is a secret."""
        self.optimizer.zero_grad()
        loss = self.player.free_loss(self._n)
        if loss is not None:
            loss.backward()
            self.optimizer.step()
            self.player.after_step()
        return None

    def close(self) -> None:
        """Nothing was put on the player."""


def _poisson(records: Tensor, rate: float, steps: int, source: Stream) -> Iterator[Tensor]:
    for _ in range(steps):
        yield records[poisson_batch(source, len(records), rate).to(records.device)]
