"""Priors of a latent code: the standard normal, and a mixture of normals that is learned with the decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def log_normal(codes: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density of diagonal normals, summed over the last dimension."""
    squares = (codes - mean).square() / log_variance.exp()
    return -0.5 * (squares + log_variance + math.log(2 * math.pi)).sum(-1)


class Normal(nn.Module):
    def __init__(self, latent: int) -> None:
        super().__init__()
        self._latent = latent

    def log_density(self, codes: Tensor) -> Tensor:
        """(records, latent) -> (records,)."""
        return log_normal(codes, torch.zeros_like(codes), torch.zeros_like(codes))

    def divergence(self, codes: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """(records,): in closed form."""
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)

    def draw(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        return torch.randn(n, self._latent, generator=rng, device=device)


class Mixture(nn.Module):
    """Weights, means and variances are a linear layer's outputs on a constant: every record's gradient is its own and known."""

    def __init__(self, latent: int, components: int) -> None:
        super().__init__()
        self._latent, self._components = latent, components
        self.table = nn.Linear(1, components * (2 * latent + 1), bias=False)
        with torch.no_grad():
            self.table.weight.zero_()
            self.table.weight[components : components * (1 + latent)].normal_()

    def _parts(self, n: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights (n, components), means and log-variances (n, components, latent)."""
        table = self.table(torch.ones(n, 1, device=like.device, dtype=like.dtype))
        k, size = self._components, self._components * self._latent
        logits, means, log_variances = table.split([k, size, size], dim=1)
        shape = (n, k, self._latent)
        return logits.log_softmax(1), means.reshape(shape), log_variances.reshape(shape).clamp(-8, 4)

    def log_density(self, codes: Tensor) -> Tensor:
        log_weights, means, log_variances = self._parts(len(codes), codes)
        return (log_weights + log_normal(codes[:, None], means, log_variances)).logsumexp(1)

    def divergence(self, codes: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """(records,): estimated at the drawn codes, for a mixture has no closed form."""
        return log_normal(codes, mean, log_variance) - self.log_density(codes)

    def draw(self, n: int, rng: torch.Generator, device: torch.device) -> Tensor:
        log_weights, means, log_variances = (part[0] for part in self._parts(1, self.table.weight))
        chosen = torch.multinomial(log_weights.exp(), n, replacement=True, generator=rng)
        noise = torch.randn(n, self._latent, generator=rng, device=device)
        return means[chosen] + (0.5 * log_variances[chosen]).exp() * noise
