"""One player's step under differential privacy: its own Poisson-sampled batch, clipped, summed, noised, normalised.

Every reading player draws a batch of its own. Two players that shared one would make the accountant wrong: it composes
mechanisms whose batches are independent.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from opacus.optimizers import DPOptimizerFastGradientClipping
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from ..vocabulary.errors import Unsupported
from .canaries import Canaries
from .clipping import Drawn, LossesOf, OnePass, gradients, trained, ways_for
from .contract import Player
from .distributed import ALONE, World
from .secure import Stream, gaussian
from .units import Units

GRID = 2.0**-20
"""Noisy sums are rounded to this part of the noise's deviation."""


TRIED = 8
"""Records of the first batch by which a way of clipping is chosen."""
HANDLED = (nn.RNNBase, nn.MultiheadAttention)
"""Opacus refuses them since its hooks cannot follow what goes on within; they mix no records, and we have other ways."""


class _NoisyOptimizer(DPOptimizerFastGradientClipping):  # type: ignore[misc]
    """Opacus' optimizer with noise from our stream, and with room for gradients that never saw a record."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, noise_multiplier: float, clip: float, normaliser: float, source: Stream, world: World
    ) -> None:
        super().__init__(
            optimizer, noise_multiplier=noise_multiplier, max_grad_norm=clip, expected_batch_size=normaliser, loss_reduction="mean"
        )
        self._source, self._world = source, world
        self.free_gradients: list[Tensor] | None = None
        self.canaries: Canaries | None = None

    def add_noise(self) -> None:
        """By the leader alone, to the sum over all processes: noise of several would be too much, and of none too little."""
        dead = [] if self.canaries is None else [self.canaries.sums]
        sums = [*(parameter.summed_grad for parameter in self.params), *dead]
        noisy = self._noisy(sums) if self._world.leads else sums
        for parameter, gradient in zip(self.params, self._world.shared(noisy[: len(self.params)]), strict=True):
            parameter.grad = gradient
        if self.canaries is not None:
            self.canaries.watch(noisy[-1])

    def _noisy(self, sums: list[Tensor]) -> list[Tensor]:
        """Added in double precision and rounded to a grid that no record had a say in: the low-order bits tell nothing."""
        grid, sizes = self.noise_multiplier * self.max_grad_norm * GRID, [part.numel() for part in sums]
        steps = gaussian(self._source, sum(sizes)).mul_(1 / GRID)  # of the grid
        for part, own in zip(sums, steps.split(sizes), strict=True):
            own.add_(part.flatten().to(own.device), alpha=1 / grid)
        noisy = steps.round_().mul_(grid).to(sums[0])
        return [own.view_as(part) for part, own in zip(sums, noisy.split(sizes), strict=True)]

    def scale_grad(self) -> None:
        super().scale_grad()
        if self.free_gradients is not None:
            for parameter, free in zip(self.params, self.free_gradients, strict=True):
                parameter.grad += free


class PrivateTurn:
    """One player's private step: clipped sum, noise, public normaliser."""

    def __init__(
        self,
        player: Player,
        optimizer: torch.optim.Optimizer,
        batches: Iterator[Drawn],
        *,
        clip: float,
        noise_multiplier: float,
        normaliser: float,
        source: Stream,
        canaries: Canaries | None = None,
        world: World = ALONE,
    ) -> None:
        """`batches`: this process's shares of them. `canaries`: the leader's."""
        refuse_mixing_layers(player)
        self.player, self._batches = player, batches
        self._normaliser, self._clip, self._world = normaliser, clip, world
        self.optimizer = _NoisyOptimizer(
            optimizer, noise_multiplier=noise_multiplier, clip=clip, normaliser=normaliser, source=source, world=world
        )
        self._ways = ways_for(player)
        self.canaries = self.optimizer.canaries = canaries
        self._trusted = False
        self._batches_seen = 0

    @property
    def way(self) -> str:
        """How records are clipped, in words."""
        return self._ways[0].name

    def close(self) -> None:
        for way in self._ways:
            way.close()

    def step(self) -> None:
        clipped = self._world.summed(self.clipped_sum(next(self._batches)))
        self.optimizer.free_gradients = self._free_gradients()
        for parameter, gradient in zip(self.optimizer.params, clipped, strict=True):
            parameter.grad, parameter.summed_grad = gradient, None
        self.optimizer.step()
        self.player.after_step()

    def clipped_sum(self, batch: Drawn) -> list[Tensor]:
        """Per parameter the sum over records of min(1, clip / norm) x gradient; zeros for an empty batch."""
        before = self._state()
        sums: list[Tensor] = []
        if len(batch):
            self._keep_watch(batch[:1]) if self._trusted else self._try_on(batch[:TRIED])
        self._invite_canaries()
        at_once = max(1, self._ways[0].records // (batch.each if isinstance(batch, Units) else 1))
        for chunk in batch.split(at_once) if len(batch) else ():
            clipped = self._clipped_chunk(chunk)
            sums = [total.add_(more) for total, more in zip(sums, clipped, strict=True)] if sums else clipped
        if self._state() != before:
            raise Unsupported(
                f"{type(self.player).__name__}.losses() changes a buffer or a frozen parameter (a running mean?): what it learns from "
                "the records there is neither clipped nor noised; keep such state out of private training"
            )
        return sums or [torch.zeros_like(parameter) for parameter in self.optimizer.params]

    def _invite_canaries(self) -> None:
        """They go the way of the records. Where that is not the one pass there are none, and the evidence says nothing."""
        if self.canaries is None:
            return
        way = self._ways[0]
        if isinstance(way, OnePass):
            self.canaries.sample()
            way.invite(self.canaries)
        else:
            self.canaries = self.optimizer.canaries = None

    def _state(self) -> list[tuple[int, int]]:
        """Which tensors the optimizer does not own, and how often each was written."""
        frozen = [parameter for parameter in self.player.parameters() if not parameter.requires_grad]
        return [(id(tensor), tensor._version) for tensor in (*self.player.buffers(), *frozen)]

    def _clipped_chunk(self, chunk: Drawn) -> list[Tensor]:
        losses, norms = self._measured(chunk)
        finite = norms[: len(chunk)].isfinite() & losses.isfinite()
        if not finite.all():
            # Its gradient is not a number, so it has no direction to contribute: zero, within the clip, and said.
            warnings.warn("a record's gradient was not finite; its contribution to the step was set to zero", RuntimeWarning, stacklevel=2)
            return self._clipped_chunk(chunk[finite]) if finite.any() else [torch.zeros_like(p) for p in self.optimizer.params]
        sums = self._ways[0].weighted_sum((self._clip / (norms + 1e-6)).clamp(max=1.0))
        if self.canaries is not None:
            self.canaries.leave()
        return sums

    def _measured(self, chunk: Drawn) -> tuple[Tensor, Tensor]:
        """Losses and gradient norms, (records,) each, by the fastest way that this player allows."""
        while (measured := self._ways[0].measure(chunk, self._losses)) is None:
            self._next_way()
        return measured

    def _try_on(self, records: Drawn) -> None:
        """Settles on the fastest way that sees the whole gradient of every record tried: a weight used outside its layer is measured by
        no layer, and clipping would not bound it. A record without a finite gradient that is not 0 tells nothing; where none tells
        anything, only the way that takes any player is safe."""
        refuse_mixed(self.player, records, self._losses)
        singles: list[Drawn] = list(records.split(1))
        norms = [(place, record, self._norm(record, place)) for place, record in enumerate(singles)]
        truths = [(place, record, norm) for place, record, norm in norms if norm > 0 and math.isfinite(norm)]
        while len(self._ways) > 1 and not (truths and all(self._sees(record, norm, place) for place, record, norm in truths)):
            self._next_way()
        self._trusted = True

    def _keep_watch(self, record: Drawn) -> None:
        """The same of one record, less and less often: what a player computes may change while it trains."""
        self._batches_seen += 1
        if self._batches_seen & (self._batches_seen - 1) or len(self._ways) == 1:
            return  # at the 1st, 2nd, 4th, 8th … batch
        place = TRIED + self._batches_seen  # draws that no earlier look had
        norm = self._norm(record, place)
        if math.isfinite(norm) and not self._sees(record, norm, place):
            raise Unsupported(
                f"{type(self.player).__name__} began to use a parameter outside the layer that owns it in the course of its training: "
                "steps may have been taken whose gradients were not clipped as promised, so the model is thrown away; what was charged "
                "stays charged"
            )

    def _norm(self, record: Drawn, place: int) -> float:
        """Of the whole gradient, by autograd."""
        with _same_draws(place):
            squares = [part.square().sum() for part in gradients(self._losses(record).sum(), trained(self.player))]
        return float(torch.stack(squares).sum().sqrt())

    def _sees(self, record: Drawn, norm: float, place: int) -> bool:
        with _same_draws(place):
            found = self._ways[0].measure(record, self._losses)
        return found is not None and abs(norm - float(found[1][0])) <= 1e-3 * norm + 1e-9

    def _next_way(self) -> None:
        self._ways.pop(0).close()

    def _losses(self, chunk: Drawn) -> Tensor:
        records = chunk.batch if isinstance(chunk, Units) else chunk
        losses = self.player.losses(records)
        if losses.shape != (len(records),):
            raise Unsupported(
                f"{type(self.player).__name__}.losses() gave shape {tuple(losses.shape)} for {len(records)} records; "
                f"it must be ({len(records)},): any other shape would broadcast against the clipping factors and void the guarantee"
            )
        return chunk.joined(losses) if isinstance(chunk, Units) else losses

    def _free_gradients(self) -> list[Tensor] | None:
        """For the public batch size: under Poisson sampling the true one is a secret."""
        free = self.player.free_loss(public_size(self._normaliser))
        return None if free is None else self._world.shared(gradients(free, trained(self.player)))


def public_size(normaliser: float) -> int:
    """How many records a step has as far as anybody may know; of a few at a low rate still one."""
    return max(1, round(normaliser))


@contextmanager
def _same_draws(place: int = 0) -> Iterator[None]:
    """What is drawn within is drawn again by whoever comes next with the same `place`, and something else with another: one draw that
    leaves nothing to learn (all of a record is known) must not be that of every record tried."""
    on = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=on):
        torch.manual_seed((torch.initial_seed() + 1 + place) % 2**63)
        yield


def refuse_mixing_layers(player: Player) -> None:
    """Batch norm and its like read other records of the batch: then one record's gradient is not its own."""
    mixing = [name for name, module in player.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm) or _tracks(module)]
    # Opacus looks at trained layers only; a batch norm without weights mixes records just as well.
    faults = [player.mixes_records] if player.mixes_records else []
    faults += [f"{name} normalises by other records of the batch (BatchNorm)" for name in mixing]
    faults += [str(fault) for module in player.modules() if not isinstance(module, HANDLED) for fault in _by_opacus(module)]
    if faults:
        raise Unsupported(f"{type(player).__name__} cannot be trained privately: {faults[0]}")


def refuse_mixed(player: Player, records: Drawn, losses_of: LossesOf) -> None:
    """Another record in the first place must move no other record's loss: what a player computes outside its layers (a mean over the
    batch) no validator of layers sees, and then one record's gradient is not its own."""
    if len(records) < 2:
        return
    others = records[torch.tensor([len(records) - 1, *range(1, len(records))], device=records.device)]
    with _same_draws():
        before = losses_of(records)[1:].detach()
    with _same_draws():
        after = losses_of(others)[1:].detach()
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise Unsupported(
            f"{type(player).__name__}.losses() lets one record move another's loss (a mean over the batch?), so that clipping record by "
            "record bounds nothing; compute every record's loss from that record alone"
        )


def _by_opacus(module: nn.Module) -> list[Exception]:
    validator = ModuleValidator.VALIDATORS.get(type(module))
    return list(validator(module)) if validator is not None else []


def _tracks(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats


class FreeTurn:
    """The turn of a player that sees no record (a GAN's generator): an ordinary step, at no privacy cost."""

    def __init__(self, player: Player, optimizer: torch.optim.Optimizer, n: int, world: World = ALONE) -> None:
        self.player, self.optimizer, self._n, self._world = player, optimizer, n, world

    def step(self) -> None:
        loss = self.player.free_loss(self._n)
        if loss is not None:
            parameters = trained(self.player)
            for parameter, gradient in zip(parameters, self._world.shared(gradients(loss, parameters)), strict=True):
                parameter.grad = gradient
            self.optimizer.step()
            self.player.after_step()

    def close(self) -> None:
        """Nothing was put on the player."""
