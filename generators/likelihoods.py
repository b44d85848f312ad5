"""What a decoder's raw outputs say of a record: its log-likelihood, and records drawn from it. One class per kind of space.

Vectors: one choice or one Gaussian per block. Images: Bernoulli, continuous Bernoulli (Loaiza-Ganem and Cunningham 2019,
https://arxiv.org/abs/1907.06845) or Gaussian per value. Series: Gaussian per value that was observed, Bernoulli per mark.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.vocabulary.spaces import ImageSpace, SeriesSpace, VectorSpace

from .blocks import draw

PixelLikelihood = Literal["bernoulli", "continuous_bernoulli", "gaussian"]
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class Scales(nn.Linear):
    """Log-scales, the same for every record: a linear layer on a constant, so that every record's gradient is its own and known."""

    def __init__(self, count: int) -> None:
        super().__init__(1, count, bias=False)
        nn.init.constant_(self.weight, -1.0)

    def of(self, records: Tensor) -> Tensor:
        """(records, scales)."""
        scales: Tensor = self(torch.ones(len(records), 1, device=records.device, dtype=records.dtype))
        return scales.clamp(-6.0, 1.0)


class Likelihood(nn.Module):
    outputs: int
    """Raw outputs that it needs per record."""

    @abstractmethod
    def loss(self, x: Tensor, raw: Tensor) -> Tensor:
        """-log p(record | raw outputs): (records, ...), (records, outputs) -> (records,)."""

    @abstractmethod
    def records(self, raw: Tensor, rng: torch.Generator | None) -> Tensor:
        """Drawn by `rng`, or, where there is none, the likeliest choices and the mean numbers."""


class VectorLikelihood(Likelihood):
    def __init__(self, space: VectorSpace) -> None:
        super().__init__()
        self.outputs, self._blocks = space.width, space.blocks
        reals = [i for i, block in enumerate(space.blocks) if block.kind == "real"]
        self._real_index = {block: i for i, block in enumerate(reals)}
        self.scales = Scales(len(reals)) if reals else None  # a layer that no loss passes through has no gradient to clip

    def loss(self, x: Tensor, raw: Tensor) -> Tensor:
        log_scales = self.scales.of(raw) if self.scales is not None else raw
        total = torch.zeros(len(x), device=x.device)
        for i, block in enumerate(self._blocks):
            part, target = raw[:, block.start : block.stop], x[:, block.start : block.stop]
            if block.kind == "choice":
                total = total - (target * F.log_softmax(part, dim=1)).sum(1)
            else:
                log_scale = log_scales[:, self._real_index[i]]
                error = (target[:, 0] - part[:, 0].sigmoid()) / log_scale.exp()
                total = total + 0.5 * error.square() + log_scale + HALF_LOG_TAU
        return total

    def records(self, raw: Tensor, rng: torch.Generator | None) -> Tensor:
        scales = self.scales.of(raw).exp() if self.scales is not None else raw
        result = torch.empty_like(raw)
        for i, block in enumerate(self._blocks):
            part = raw[:, block.start : block.stop]
            if block.kind == "choice":
                chosen = part.argmax(1) if rng is None else draw(part, rng)
                result[:, block.start : block.stop] = F.one_hot(chosen, block.size).to(raw.dtype)
            else:
                noise = scales[:, self._real_index[i]] * normal(part[:, 0], rng)
                result[:, block.start] = (part[:, 0].sigmoid() + noise).clamp(0, 1)
        return result


class ImageLikelihood(Likelihood):
    """Over values in [0, 1]. What is released is the mean of every value: the noise between neighbours is no part of a picture."""

    def __init__(self, space: ImageSpace, kind: PixelLikelihood) -> None:
        super().__init__()
        self.outputs, self._shape, self._kind = math.prod(space.shape), space.shape, kind
        self.scales = Scales(1) if kind == "gaussian" else None

    def loss(self, x: Tensor, raw: Tensor) -> Tensor:
        values = (x.flatten(1) + 1) / 2
        if self.scales is not None:
            log_scale = self.scales.of(raw)
            return (0.5 * ((values - raw.sigmoid()) / log_scale.exp()).square() + log_scale + HALF_LOG_TAU).sum(1)
        if self._kind == "bernoulli":
            return F.binary_cross_entropy_with_logits(raw, values, reduction="none").sum(1)
        return (log_volume(raw) - raw * values).sum(1)

    def records(self, raw: Tensor, rng: torch.Generator | None) -> Tensor:
        values = mean_value(raw) if self._kind == "continuous_bernoulli" else raw.sigmoid()
        return (2 * values - 1).reshape(len(raw), *self._shape)


class SeriesLikelihood(Likelihood):
    def __init__(self, space: SeriesSpace) -> None:
        super().__init__()
        self.outputs, self._shape = space.steps * space.width, (space.steps, space.width)
        self._channels, self._marked = len(space.channels), space.marked
        self.scales = Scales(self._channels)

    def loss(self, x: Tensor, raw: Tensor) -> Tensor:
        raw, log_scales = raw.reshape(len(raw), *self._shape), self.scales.of(raw)[:, None]
        errors = (x[..., : self._channels] - raw[..., : self._channels]) / log_scales.exp()
        losses = 0.5 * errors.square() + log_scales + HALF_LOG_TAU
        if not self._marked:
            return losses.flatten(1).sum(1)
        seen = (x[..., self._channels :] + 1) / 2
        marks = F.binary_cross_entropy_with_logits(raw[..., self._channels :], seen, reduction="none")
        return (losses * seen + marks).flatten(1).sum(1)

    def records(self, raw: Tensor, rng: torch.Generator | None) -> Tensor:
        scales = self.scales.of(raw)[:, None].exp()
        raw = raw.reshape(len(raw), *self._shape)
        means = raw[..., : self._channels]
        values = (means + scales * normal(means, rng)).clamp(-1, 1)
        if not self._marked:
            return values
        chances = raw[..., self._channels :].sigmoid()
        level = 0.5 if rng is None else torch.rand(chances.shape, generator=rng, device=raw.device, dtype=raw.dtype)
        seen = chances > level
        return torch.cat([values * seen, torch.where(seen, 1.0, -1.0).to(raw.dtype)], dim=-1)


def normal(like: Tensor, rng: torch.Generator | None) -> Tensor:
    """Standard normal noise of that shape; none without an `rng`."""
    return torch.zeros_like(like) if rng is None else torch.randn(like.shape, generator=rng, device=like.device, dtype=like.dtype)


def log_volume(logits: Tensor) -> Tensor:
    """log of the integral of exp(logit * x) over x in [0, 1]: what makes the continuous Bernoulli a density."""
    size = logits.abs()
    near = size < 1e-2  # a series there: the quotient would lose its digits
    safe = size.masked_fill(near, 1.0)
    exact = (-torch.expm1(-safe)).log() - safe.log() + logits.relu()
    return torch.where(near, logits / 2 + logits.square() / 24, exact)


def mean_value(logits: Tensor) -> Tensor:
    """The mean of the continuous Bernoulli, in (0, 1): the slope of `log_volume`."""
    near = logits.abs() < 1e-2
    safe = logits.masked_fill(near, 1.0)
    return torch.where(near, 0.5 + logits / 12, -1 / torch.expm1(-safe) - 1 / safe)


def likelihood_of(space: VectorSpace | ImageSpace | SeriesSpace, pixels: PixelLikelihood) -> Likelihood:
    if isinstance(space, ImageSpace):
        return ImageLikelihood(space, pixels)
    return VectorLikelihood(space) if isinstance(space, VectorSpace) else SeriesLikelihood(space)
