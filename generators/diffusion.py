"""Diffusion: denoising step by step (DDPM, Ho et al. 2020, https://arxiv.org/abs/2006.11239) on images and vectors.

The network predicts the velocity, a mixture of noise and record that is well scaled at every level (Salimans and Ho 2022, arXiv
2202.00512). Few-step sampling after DDIM (Song et al. 2021, arXiv 2010.02502); classes by classifier-free guidance (Ho and
Salimans 2022, arXiv 2207.12598). To complete records it is trained to: part of them is shown without noise and marked as known
(Palette, Saharia et al. 2022, arXiv 2111.05826; on tables CSDI, Tashiro et al. 2021, arXiv 2107.03502), and guided by that part
as by a class. Guidance and few steps leave no honest likelihood, so there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from guardrail.training.contract import Batch, Generator, Player, Recipe
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import ImageSpace, VectorSpace

from .unet import LineNet, UNet

UNLABELLED, UNLABELLED_PART = 0.1, 0.7
"""Shares of the training in which the class is hidden: of whole records, for the guidance; of records known in part, whose class
often follows from that part and is what nobody knows."""
INSISTENCE = 2.0
"""On images, where one good completion is wanted; cells of a table are drawn as the model says."""
CUTS = 2
"""Lines, at most, that bound the unknown part of an image in training."""


class DiffusionOptions(Frozen):
    width: int = Field(default=32, gt=1, description="channels of the U-Net's first maps; an MLP has four times as many units")
    patch: int = Field(default=2, gt=0, description="the U-Net reads patches of this many pixels a side; 1 is finer and slower")
    levels: int = Field(default=1000, gt=1, description="noise levels in training")
    schedule: Literal["cosine", "linear"] = Field(default="cosine", description="how noise rises with the level")
    steps: int = Field(default=50, gt=0, description="denoising steps of a sample, at most the number of levels")
    eta: float = Field(default=1.0, ge=0, le=1, description="noise added back in sampling: 1 as in DDPM, 0 none (DDIM)")
    guidance: float = Field(default=0.5, ge=0, description="how far a sample is pushed towards its class; 0: not beyond the model")
    insistence: float | None = Field(
        default=None,
        ge=0,
        description="how far what is filled in is pushed towards what is known; 0: not beyond the model; None: 2 on images, else 0",
    )
    draws: int = Field(
        default=1,
        gt=0,
        description="levels and noises per record and step, averaged: a steadier gradient, which pays under privacy (Dockhorn et al. 2023)",
    )
    known: float = Field(
        default=0.6, gt=0, lt=1, description="share of the training in which a part of the record is known: it learns to fill in"
    )


def signal(schedule: str, levels: int) -> Tensor:
    """(levels + 1,) float64: the share of the record's variance left at each level; 1 at level 0, nearly 0 at the last."""
    if schedule == "cosine":
        shares = torch.cos((torch.linspace(0, 1, levels + 1, dtype=torch.float64) + 0.008) / 1.008 * math.pi / 2).square()
        return (shares / shares[0]).clamp_min(1e-5)
    betas = torch.linspace(0.1 / levels, min(20 / levels, 0.999), levels, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)]).clamp_min(1e-5)


def beyond_lines(n: int, height: int, width: int, device: torch.device) -> Tensor:
    """(n, height, width) bool, False on one side of each of 1 to `CUTS` random lines: an unknown half, stripe or corner."""
    y, x = (torch.linspace(-1, 1, size, device=device) for size in (height, width))
    angle, offset = 2 * math.pi * torch.rand(n, CUTS, 1, 1, device=device), torch.rand(n, CUTS, 1, 1, device=device) - 0.5
    beside = angle.cos() * x + angle.sin() * y[:, None] < offset  # (n, CUTS, height, width)
    used = torch.rand(n, CUTS, 1, 1, device=device) < 0.5
    used[:, 0] = True
    return (beside & used).any(1)


class Diffusion(Generator, Player):
    spaces = ("image", "vector")
    Options = DiffusionOptions
    plain = Recipe(epochs=20, sample_rate=0.02, batch_size=64, learning_rate=0.002, average=0.995, warmup=0.02, max_norm=1.0)
    private = Recipe(epochs=40, sample_rate=0.05, learning_rate=0.002, average=0.99, warmup=0.02)
    fills_unclassed = True

    def __init__(self, space: ImageSpace | VectorSpace, options: DiffusionOptions) -> None:
        super().__init__(space, options)
        self.options, self._space = options, space
        self.conditional = bool(space.conditions)
        self._classes = math.prod(space.conditions) if space.conditions else 0
        self._shape = space.shape if isinstance(space, ImageSpace) else (space.width,)
        default = INSISTENCE if isinstance(space, ImageSpace) else 0.0
        self._insistence = default if options.insistence is None else options.insistence
        self._signal = signal(options.schedule, options.levels)
        self.network = (
            UNet(2 * space.channels, space.channels, options.width, options.patch, self._classes)
            if isinstance(space, ImageSpace)
            else LineNet(2 * space.width, space.width, 4 * options.width, self._classes)
        )

    def players(self) -> Mapping[str, Player]:
        return {"diffusion": self}

    def losses(self, batch: Batch) -> Tensor:
        """Mean squared error of the unknown entries' velocity at `draws` levels per record, drawn uniformly."""
        return torch.stack([self._loss(batch) for _ in range(self.options.draws)]).mean(0)

    def _loss(self, batch: Batch) -> Tensor:
        clean = self._centred(batch.x)
        n, device = len(clean), clean.device
        level = torch.randint(1, self.options.levels + 1, (n,), device=device)
        noise, known = torch.randn_like(clean), self._some_known(n, device)
        hidden = torch.rand(n, device=device) < torch.where(known.flatten(1).any(1), UNLABELLED_PART, UNLABELLED)
        keep, lose = self._scales(level, clean)
        label = self._label(batch.given, n, device).masked_fill(hidden, self._classes)
        velocity = self._velocity(torch.where(known, clean, keep * clean + lose * noise), known, level, label)
        error = (velocity - (keep * noise - lose * clean)).masked_fill(known, 0.0).square().flatten(1)
        return error.sum(1) / (~known).flatten(1).sum(1).clamp_min(1)

    def _some_known(self, n: int, device: torch.device) -> Tensor:
        """(records, ...) bool: nothing; or of an image one side of some lines, or scattered pixels; of a vector some blocks."""
        kind, share = torch.rand(n, device=device), torch.rand(n, device=device)
        if isinstance(self._space, ImageSpace):
            _, height, width = self._space.shape
            scattered = torch.rand(n, height, width, device=device) < share[:, None, None]
            often = (kind < self.options.known / 4)[:, None, None]
            known = torch.where(often, scattered, beyond_lines(n, height, width, device))[:, None].expand(-1, *self._shape)
        else:
            sizes = torch.tensor([block.size for block in self._space.blocks], device=device)
            known = (torch.rand(n, len(sizes), device=device) < share[:, None]).repeat_interleave(sizes, dim=1)
        return known & (kind < self.options.known).reshape(-1, *(1 for _ in self._shape))

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        x = self._noise(n, rng)
        return self._record(self._drawn(x, x, torch.zeros_like(x, dtype=torch.bool), given, rng))

    @torch.no_grad()
    def complete(self, batch: Batch, known: Tensor, rng: torch.Generator) -> Tensor:
        """Where `batch` has no conditions, a conditional model draws without knowing the class."""
        x = self._noise(len(batch), rng).to(batch.x.dtype)
        return torch.where(known, batch.x, self._record(self._drawn(x, self._centred(batch.x), known, batch.given, rng)))

    def _drawn(self, x: Tensor, clean: Tensor, known: Tensor, given: Tensor | None, rng: torch.Generator) -> Tensor:
        """From noise `x`, step by step, a record that has what is `known` of `clean`."""
        label = self._label(given, len(x), x.device)
        for level, lower in self._path():
            x = self._denoised(torch.where(known, clean, x), known, level, lower, label, rng)
        return x

    def _path(self) -> Iterator[tuple[int, int]]:
        """Pairs of levels, each with the one a step leads down to; the last is 0."""
        steps = min(self.options.steps, self.options.levels)
        return pairwise(round(self.options.levels * (1 - i / steps)) for i in range(steps + 1))

    def _denoised(self, x: Tensor, known: Tensor, level: int, lower: int, label: Tensor, rng: torch.Generator) -> Tensor:
        """One step down, after DDIM's equation 12, with eta of the noise that DDPM adds."""
        keep, lose = self._at(level)
        velocity = self._guided(x, known, level, label, rng)
        clean = (keep * x - lose * velocity).clamp(-1, 1)
        noise = (x - keep * clean) / lose
        below, rest = self._at(lower)
        fresh = self.options.eta * rest / lose * math.sqrt(max(0.0, 1 - (keep / below) ** 2))
        result = below * clean + math.sqrt(max(0.0, rest**2 - fresh**2)) * noise
        return result + fresh * self._noise(len(x), rng) if fresh else result

    def _guided(self, x: Tensor, known: Tensor, level: int, label: Tensor, rng: torch.Generator) -> Tensor:
        """Pushed away from what the model says without the class, and from what it says without the part that is known."""
        levels, unlabelled = torch.full((len(x),), level, device=x.device), torch.full_like(label, self._classes)
        velocity = pushed = self._velocity(x, known, levels, label)
        if self.conditional and self.options.guidance and not torch.equal(label, unlabelled):
            pushed = pushed + self.options.guidance * (velocity - self._velocity(x, known, levels, unlabelled))
        if self._insistence and known.any():
            keep, lose = self._at(level)
            noisy = torch.where(known, keep * x + lose * self._noise(len(x), rng), x)
            pushed = pushed + self._insistence * (velocity - self._velocity(noisy, torch.zeros_like(known), levels, label))
        return pushed

    def _velocity(self, x: Tensor, known: Tensor, level: Tensor, label: Tensor) -> Tensor:
        result: Tensor = self.network(torch.cat([x, known.to(x.dtype)], dim=1), level.to(x.dtype) / self.options.levels, label)
        return result

    def _scales(self, level: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of record and noise, (records, 1, ...) each."""
        share = self._signal.to(like.device)[level].reshape(-1, *(1 for _ in self._shape))
        return share.sqrt().to(like.dtype), (1 - share).sqrt().to(like.dtype)

    def _at(self, level: int) -> tuple[float, float]:
        share = float(self._signal[level])
        return math.sqrt(share), math.sqrt(1 - share)

    def _label(self, given: Tensor | None, n: int, device: torch.device) -> Tensor:
        """(records,): the conditions as one class; the class `any` where there are none."""
        if not self.conditional or given is None or not given.shape[1]:
            return torch.full((n,), self._classes, device=device)
        label = torch.zeros(n, dtype=torch.int64, device=device)
        for i, size in enumerate(self._space.conditions):
            label = label * size + given[:, i]
        return label

    def _noise(self, n: int, rng: torch.Generator) -> Tensor:
        like = next(self.parameters())
        return torch.randn(n, *self._shape, generator=rng, device=like.device, dtype=like.dtype)

    def _centred(self, x: Tensor) -> Tensor:
        """Entries in [-1, 1]."""
        return x if isinstance(self._space, ImageSpace) else 2 * x - 1

    def _record(self, x: Tensor) -> Tensor:
        if isinstance(self._space, ImageSpace):
            return x.clamp(-1, 1)
        x = ((x + 1) / 2).clamp(0, 1)
        for block in self._space.blocks:
            if block.kind == "choice":
                x[:, block.start : block.stop] = F.one_hot(x[:, block.start : block.stop].argmax(1), block.size).to(x.dtype)
        return x
