"""Canaries: gradients that nobody stands behind, put into a private training so that its claim can be attacked.

Each weight of a player gets dead entries beside its own: nothing reads them and no record reaches them. A canary is a gradient
that lies in one of these. A secret fair coin decides whether it takes part at all; if so, every step samples it like a record,
and it is measured and clipped by the same rules and noised by the same call. Who sees every noisy step can tell the coins only
as well as the claimed epsilon lets him; an attacker here does see them, and the audit `claim` says whether he told too well.

The model is none the better or worse for it: dead entries are not part of it. And the scores are the canaries' own parts and
noise that lies on nothing else, so that whoever reads them learns nothing of a record. What they cannot see: a fault that spares
the dead entries, such as noise missing on one weight only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..vocabulary.canaries import CanaryRecord
from .seats import Seat, seats_of
from .secure import Stream, poisson_batch

FEWEST = 24
"""Canaries in a weight: of fewer, even if all coins were told, chance could be the reason."""


class Guest(NamedTuple):
    """Canaries of one weight that take part in a step."""

    layer: nn.Module
    use: Any
    """What the layer's rule reads: one row a canary."""
    parameter: str
    at: tuple[Tensor, ...]
    """Where in the parameter their gradients lie, (rows,) each."""
    canaries: Tensor
    """(rows,): which they are."""
    sums: Tensor
    """(all canaries,): where what they add to the step is kept."""

    def take(self, clipped: Tensor) -> None:
        """`clipped`: their clipped sum over the whole parameter."""
        self.sums[self.canaries] += clipped[self.at].detach().to(self.sums)


class _Seated(NamedTuple):
    name: str
    layer: nn.Module
    seat: Seat
    entries: Tensor
    canaries: slice


class Canaries:
    """Of one player."""

    def __init__(self, player: nn.Module, asked: int, *, clip: float, rate: float, source: Stream) -> None:
        """`asked`: at most so many, shared evenly by the player's weights; the largest ones where they are too few for all."""
        free = [(f"{name}.{seat.parameter}", layer, seat) for name, layer in player.named_modules() for seat in seats_of(layer)]
        free = sorted((one for one in free if len(one[2].entries) >= FEWEST), key=lambda one: -len(one[2].entries))[: asked // FEWEST]
        self._seated: list[_Seated] = []
        self.count = 0
        for i, (name, layer, seat) in enumerate(reversed(free)):
            number = min(len(seat.entries), (asked - self.count) // (len(free) - i))
            chosen = seat.entries[source.uniform(len(seat.entries)).argsort()[:number]]
            self._seated.append(_Seated(name, layer, seat, chosen, slice(self.count, self.count + number)))
            self.count += number
        self._clip, self._rate, self._source = clip, rate, source
        self._included = source.uniform(self.count) < 0.5
        self._scores = torch.zeros(self.count, dtype=torch.float64)
        self._waiting = torch.zeros(self.count, dtype=torch.bool)
        self.sums = torch.zeros(self.count)
        """(canaries,): of this step, what lies in the dead entries before noise."""

    def sample(self) -> None:
        """Those that take part in the next step, each at the records' rate."""
        self._waiting = torch.zeros(self.count, dtype=torch.bool)
        self._waiting[poisson_batch(self._source, self.count, self._rate)] = True
        self._waiting &= self._included
        self.sums = torch.zeros(self.count)

    def guests(self, uses: Mapping[nn.Module, Sequence[Any]]) -> list[Guest]:
        """`uses`: what the layers read and gave in this step. Whose layer did not run stays away."""
        found = []
        for seated in self._seated:
            waiting = self._waiting[seated.canaries].nonzero().squeeze(1)
            like = seated.seat.like(uses.get(seated.layer, ())) if len(waiting) else None
            if like is not None:
                parameter = getattr(seated.layer, seated.seat.parameter)
                at = torch.unravel_index(seated.entries[waiting].to(parameter.device), parameter.shape)
                use = seated.seat.use(like, at, self._clip)
                found.append(Guest(seated.layer, use, seated.seat.parameter, at, waiting + seated.canaries.start, self.sums))
        return found

    def leave(self) -> None:
        """They had their part in this step."""
        self._waiting = torch.zeros_like(self._waiting)

    def watch(self, noisy: Tensor) -> None:
        """`noisy`, (canaries,): the dead entries of this step as they left."""
        self._scores += noisy.double().cpu() / self._clip

    def kept(self) -> dict[str, np.ndarray]:
        """What they are and what was seen of them, to go on from in another process."""
        entries = torch.cat([seated.entries for seated in self._seated]) if self._seated else torch.zeros(0, dtype=torch.int64)
        return {"entries": entries.numpy(), "included": self._included.numpy().astype(np.int64), "scores": self._scores.numpy()}

    def put_back(self, kept: Mapping[str, np.ndarray]) -> None:
        """The same canaries of the same player, in place of these."""
        entries = torch.from_numpy(kept["entries"]).split([seated.canaries.stop - seated.canaries.start for seated in self._seated])
        self._seated = [seated._replace(entries=own) for seated, own in zip(self._seated, entries, strict=True)]
        self._included = torch.from_numpy(kept["included"]).bool()
        self._scores = torch.from_numpy(kept["scores"]).double().clone()

    def records(self, what: str) -> tuple[CanaryRecord, ...]:
        """By weight. `what`: the mechanism that they attack, as the receipt names it."""
        return tuple(
            CanaryRecord(
                what=what,
                where=seated.name.removeprefix("."),
                included=tuple(self._included[seated.canaries].tolist()),
                scores=tuple(self._scores[seated.canaries].tolist()),
            )
            for seated in self._seated
        )
