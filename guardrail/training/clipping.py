"""Ways to the clipped sum of per-record gradients, from the fastest to the one that takes any player.

One pass where every weight belongs to a layer with a rule (`bookkeeping`); two passes where Opacus knows the layers, by its
ghost norms or per-record gradients; one gradient per record where a weight is used outside its layer (tied or functional use):
all at once by torch.func where the loss can be vectorised, else a loop of one. All give the same sum.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleHooksFastGradientClipping
from torch import Tensor, nn

from .bookkeeping import Notes, supports
from .canaries import Canaries
from .contract import Batch, Player
from .units import Units

Drawn = Batch | Units
"""Of a step: records, or units of several records each, which are clipped as one. Below, a unit is a record too."""
LossesOf = Callable[[Any], Tensor]
"""What was drawn to one loss per record, (records,)."""


class Way(Protocol):
    """Asked in turn for one physical batch: the norms, then the sum."""

    name: str
    records: int
    """The most that it takes at once."""

    def measure(self, chunk: Drawn, losses_of: LossesOf) -> tuple[Tensor, Tensor] | None:
        """Losses and gradient norms, (records,) each; None where this way does not fit the player after all."""
        ...

    def weighted_sum(self, factors: Tensor) -> list[Tensor]:
        """Per trained parameter the sum over records of factor x gradient."""
        ...

    def close(self) -> None:
        """Leaves the player as it came."""
        ...


class OnePass:
    name = "one pass"
    records = 8192

    def __init__(self, player: Player) -> None:
        self._notes, self._parameters = Notes(player), trained(player)

    def measure(self, chunk: Drawn, losses_of: LossesOf) -> tuple[Tensor, Tensor] | None:
        each = chunk.each if isinstance(chunk, Units) else 1
        with self._notes.taken(each * len(chunk), each):
            losses = losses_of(chunk)
        return (losses.detach(), self._notes.measure(losses)) if self._notes.complete and self._notes.any else None

    def invite(self, canaries: Canaries | None) -> None:
        """Those of them that wait join the batch that is measured next: their norms follow the records', and so do their factors."""
        self._notes.canaries = canaries

    def weighted_sum(self, factors: Tensor) -> list[Tensor]:
        return self._notes.weighted_sum(factors, self._parameters)

    def close(self) -> None:
        """Its hooks last as long as a forward pass."""


class TwoPasses:
    """For layers that Opacus knows and we do not."""

    name = "two passes"
    records = 1024

    def __init__(self, player: Player) -> None:
        self._player, self._parameters = player, trained(player)
        self._hooks: GradSampleHooksFastGradientClipping | None = None
        self._losses = torch.zeros(0)

    def measure(self, chunk: Drawn, losses_of: LossesOf) -> tuple[Tensor, Tensor] | None:
        if isinstance(chunk, Units):
            return None  # its norms are those of single records
        if self._hooks is None:
            try:
                self._hooks = GradSampleHooksFastGradientClipping(self._player, loss_reduction="sum", max_grad_norm=1.0, strict=False)
            except (NotImplementedError, ValueError):
                return None
        # Only here do the layers note norms; any other pass (a likelihood, a free loss) goes unnoticed.
        self._hooks.enable_hooks()
        try:
            with without_hook_warning():
                self._losses = losses_of(chunk)
                self._losses.sum().backward(retain_graph=True)
            norms: Tensor = self._hooks.get_norm_sample()
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return None  # layers used in a way that its hooks cannot follow
        finally:
            self._hooks.disable_hooks()
            for parameter in self._parameters:
                parameter.grad = None
        return (self._losses, norms) if norms.shape == self._losses.shape else None

    def weighted_sum(self, factors: Tensor) -> list[Tensor]:
        return gradients((factors * self._losses).sum(), self._parameters)

    def close(self) -> None:
        if self._hooks is not None:
            self._hooks.cleanup()


class PerRecord:
    """Every record's own gradient: slow, and right for whatever a player does."""

    name = "one gradient per record"
    records = 64

    def __init__(self, player: Player) -> None:
        self._player, self._losses_module = player, _Losses(player)
        self._parameters = trained(player)
        self._vectorised = True
        self._kept: list[Tensor] = []

    def measure(self, chunk: Drawn, losses_of: LossesOf) -> tuple[Tensor, Tensor] | None:
        losses, self._kept = self._of(chunk, losses_of)
        return losses, torch.stack([own.flatten(1).square().sum(1) for own in self._kept]).sum(0).sqrt()

    def weighted_sum(self, factors: Tensor) -> list[Tensor]:
        return [torch.tensordot(factors, own, dims=1) for own in self._kept]

    def _of(self, part: Drawn, losses_of: LossesOf) -> tuple[Tensor, list[Tensor]]:
        """Losses, (records,), and per parameter the gradients, (records, ...)."""
        if self._vectorised and isinstance(part, Batch):
            try:
                return self._together(part)
            except RuntimeError:  # a choice that depends on the data, or a gradient inside the loss
                self._vectorised = False
        ones = [losses_of(part[i : i + 1])[0] for i in range(len(part))]
        own = [gradients(loss, self._parameters) for loss in ones]
        return torch.stack(ones).detach(), [torch.stack(rows) for rows in zip(*own, strict=True)]

    def _together(self, part: Batch) -> tuple[Tensor, list[Tensor]]:
        names = {id(parameter): name for name, parameter in self._losses_module.named_parameters()}
        weights = {names[id(parameter)]: parameter.detach() for parameter in self._parameters}

        def loss(weights: dict[str, Tensor], x: Tensor, given: Tensor) -> Tensor:
            one: Tensor = torch.func.functional_call(self._losses_module, weights, (Batch(x[None], given[None]),))
            return one[0]

        each = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(None, 0, 0), randomness="different")
        found, losses = each(weights, part.x, part.given)
        return losses.detach(), [found[names[id(parameter)]] for parameter in self._parameters]

    def close(self) -> None:
        """Nothing was put on the player."""


class _Losses(nn.Module):
    """A player's losses as a forward pass: torch.func calls nothing else."""

    def __init__(self, player: Player) -> None:
        super().__init__()
        self.player = player

    def forward(self, batch: Batch) -> Tensor:
        return self.player.losses(batch)


def ways_for(player: Player) -> list[Way]:
    """The ways that may fit, the fastest first; the last fits always."""
    first: list[Way] = [OnePass(player)] if supports(player) else []
    return [*first, TwoPasses(player), PerRecord(player)]


def trained(player: Player) -> list[nn.Parameter]:
    return [parameter for parameter in player.parameters() if parameter.requires_grad]


def gradients(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """By autograd.grad, so that nothing is left behind in `.grad`."""
    with without_hook_warning():
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if gradient is None else gradient for p, gradient in zip(parameters, found, strict=True)]


@contextmanager
def without_hook_warning() -> Iterator[None]:
    """Records need no gradient of their own, and torch finds that worth a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield
