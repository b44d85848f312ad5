"""Convolutional maker and critic for images of any size, after DCGAN (Radford et al. 2015, https://arxiv.org/abs/1511.06434).

GroupNorm stands where the paper has BatchNorm: it reads one record at a time. The critic's class, where there is one, is an
image of its own beside the colours, so that it adds nothing to the slope in the record.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from guardrail.vocabulary.errors import SpecError
from guardrail.vocabulary.spaces import ImageSpace

from .adversarial import ACTIVATIONS, Activation, noise_of

SMALLEST = 4


def doublings(space: ImageSpace) -> int:
    """Between the smallest map, at least 4 pixels a side, and the image.

    Raises:
        SpecError: The image itself is smaller.
    """
    if min(space.height, space.width) < SMALLEST:
        raise SpecError(
            f"images of {space.height}x{space.width} pixels are too small for convolutions that halve them; "
            f"use images of at least {SMALLEST}x{SMALLEST}, or the family gan"
        )
    return math.floor(math.log2(min(space.height, space.width) / SMALLEST))


def norm(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(channels, 8), channels)


class ConvMaker(nn.Module):
    """Codes and one-hot classes -> raw images."""

    def __init__(self, space: ImageSpace, latent: int, width: int, activation: Activation, classes: int) -> None:
        super().__init__()
        steps = doublings(space)
        channels = [width * 2 ** min(i, 2) for i in reversed(range(max(1, steps)))]
        self._size = (space.height, space.width)
        self._base = (channels[0], *(math.ceil(side / 2**steps) for side in self._size))
        self.start = nn.Linear(noise_of(space, latent) + classes, math.prod(self._base))
        layers: list[nn.Module] = [norm(channels[0]), ACTIVATIONS[activation]()]
        for inputs, outputs in pairwise(channels):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), norm(outputs), ACTIVATIONS[activation]()]
        last = nn.ConvTranspose2d(channels[-1], space.channels, 4, 2, 1) if steps else nn.Conv2d(channels[-1], space.channels, 3, 1, 1)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        maps = self.start(torch.cat([codes, labels], dim=1)).reshape(len(codes), *self._base)
        raw: Tensor = self.layers(maps)  # (records, channels, at least height, at least width)
        return raw[..., : self._size[0], : self._size[1]]


class ConvCritic(nn.Module):
    """Images and one-hot classes -> (records,): higher where they look real."""

    def __init__(self, space: ImageSpace, width: int, classes: int, *, normalised: bool) -> None:
        super().__init__()
        self._size = (space.height, space.width)
        steps, height, wide = max(1, doublings(space)), *self._size
        self.label = nn.Linear(classes, height * wide) if classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight)  # as loud as the image, or the class goes unheard
        channels = [space.channels + bool(classes), *(width * 2 ** min(i, 2) for i in range(steps))]
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(channels)):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), *([norm(outputs)] if normalised and i else []), nn.LeakyReLU(0.2)]
            height, wide = height // 2, wide // 2
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * height * wide, 1))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        if self.label is not None:
            x = torch.cat([x, self.label(labels).reshape(len(x), 1, *self._size)], dim=1)
        scores: Tensor = self.layers(x)
        return scores[:, 0]
