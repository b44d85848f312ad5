"""What the states of a hidden Markov model emit: tokens of one vocabulary, or numbers with a mean and a variance per channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = 1e-30


@dataclass(frozen=True)
class Tokens:
    """Discrete emissions: at each step one token per field, independent given the state."""

    shares: Tensor
    """(states, fields, tokens), the last dimension summing to 1."""

    @classmethod
    def random(cls, overall: Tensor, states: int, rng: torch.Generator) -> Tokens:
        """Around the fields' shares in all records, (fields, tokens)."""
        shares = overall * torch.rand(states, *overall.shape, generator=rng, dtype=overall.dtype)
        return cls(shares / shares.sum(-1, keepdim=True))

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.shares,)

    def log_density(self, x: Tensor, known: Tensor) -> Tensor:
        """(records, steps, fields) twice -> (records, steps, states); what is not known contributes nothing."""
        logs = self.shares.log()
        parts = [logs[:, f].T[x[:, :, f]].where(known[:, :, f, None], 0.0) for f in range(x.shape[2])]
        return torch.stack(parts).sum(0)

    def statistic(self, x: Tensor, states: Tensor) -> Tensor:
        """(records, states x fields x tokens): how often each state is expected to have emitted each token."""
        counts = states.new_zeros(len(x), *self.shares.shape)
        for f in range(x.shape[2]):
            counts[:, :, f].scatter_add_(2, x[:, None, :, f].expand(-1, states.shape[2], -1), states.transpose(1, 2))
        return counts.flatten(1)

    def updated(self, total: Tensor, smoothing: float) -> Tokens:
        return Tokens(normalised(total.view_as(self.shares).clamp_min(0) + smoothing, self.shares))


def normalised(counts: Tensor, otherwise: Tensor) -> Tensor:
    """Counts as shares; `otherwise` where there are none."""
    sums = counts.sum(-1, keepdim=True)
    return torch.where(sums > 0, counts / sums.clamp_min(LEAST), otherwise)


@dataclass(frozen=True)
class Gaussians:
    """Continuous emissions; the channels are independent given the state."""

    means: Tensor
    """(states, channels)"""
    variances: Tensor
    floor: float

    @classmethod
    def random(cls, mean: Tensor, variance: Tensor, states: int, rng: torch.Generator, floor: float) -> Gaussians:
        """Around the channels' mean, as wide as they are."""
        noise = torch.randn(states, len(mean), generator=rng, dtype=mean.dtype)
        return cls(mean + noise * variance.sqrt(), variance.clamp_min(floor).expand(states, -1).clone(), floor)

    def tensors(self) -> tuple[Tensor, ...]:
        return self.means, self.variances

    def log_density(self, values: Tensor, observed: Tensor) -> Tensor:
        """(records, steps, channels) twice -> (records, steps, states); what was not observed contributes nothing."""
        precision, seen = 1 / self.variances, observed.to(values.dtype)
        scale = (self.variances * (2 * math.pi)).log()
        error = (values[:, :, None] - self.means).square() * precision + scale  # (records, steps, states, channels)
        return -0.5 * torch.einsum("rtsc,rtc->rts", error, seen)

    def statistic(self, values: Tensor, observed: Tensor, states: Tensor) -> Tensor:
        """(records, 3 x states x channels): expected number, sum and sum of squares of the values that each state emitted."""
        seen = observed.to(values.dtype)
        powers = torch.stack([seen, seen * values, seen * values.square()], dim=2)  # (records, steps, 3, channels)
        return torch.einsum("rts,rtpc->rpsc", states, powers).flatten(1)

    def updated(self, total: Tensor) -> Gaussians:
        number, sums, squares = total.view(3, *self.means.shape)
        seen = number > 0
        number = number.clamp_min(LEAST)
        means = torch.where(seen, (sums / number).clamp(-1, 1), self.means)  # values lie there, noisy sums may not
        variances = torch.where(seen, squares / number - means.square(), self.variances)
        return Gaussians(means, variances.clamp(self.floor, 1), self.floor)
