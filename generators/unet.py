"""Networks that take noise out: a small U-Net for images (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597), an MLP for vectors.

Both are told how noisy their input is and, where there is one, its class: one code, by which every block shifts and scales.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(channels, 8), channels)


def waves(level: Tensor, width: int) -> Tensor:
    """(records,) in [0, 1] -> (records, width): sines and cosines, so that a network can tell levels that lie close."""
    half = width // 2
    rates = torch.exp(torch.linspace(0.0, math.log(1000.0), half, device=level.device, dtype=level.dtype))
    angles = level[:, None] * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width - 2 * half))


class Code(nn.Module):
    """Noise level and class -> (records, width). One class more than there are stands for `any`."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self._width = width
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, level: Tensor, label: Tensor) -> Tensor:
        code: Tensor = self.layers(waves(level, self._width))
        return F.silu(code if self.label is None else code + self.label(label))


class ConvBlock(nn.Module):
    """Two convolutions past which the input is added."""

    def __init__(self, inputs: int, outputs: int, code: int) -> None:
        super().__init__()
        self.before, self.after = group_norm(inputs), group_norm(outputs)
        self.first, self.second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.turn = nn.Linear(code, 2 * outputs)
        self.past = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.turn(code)[:, :, None, None].chunk(2, dim=1)
        inner = self.after(self.first(F.silu(self.before(x)))) * (1 + scale) + shift
        result: Tensor = self.past(x) + self.second(F.silu(inner))
        return result


class UNet(nn.Module):
    """Images, levels, classes -> images. Works on patches of `patch` x `patch` pixels, and on maps of a half and a quarter of their
    resolution; what comes back up is added to what was there."""

    def __init__(self, inputs: int, outputs: int, width: int, patch: int, classes: int) -> None:
        super().__init__()
        self._multiple = 2 * patch
        code = 2 * width
        self.code = Code(code, classes)
        self.start = nn.Conv2d(inputs, width, patch, patch) if patch > 1 else nn.Conv2d(inputs, width, 3, padding=1)
        self.down = ConvBlock(width, width, code)
        self.halve = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.before, self.after = ConvBlock(2 * width, 2 * width, code), ConvBlock(2 * width, 2 * width, code)
        self.deep = nn.ModuleList(ConvBlock(2 * width, 2 * width, code) for _ in range(2))
        self.enlarge = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.up = ConvBlock(width, width, code)
        self.norm = group_norm(width)
        self.end = nn.ConvTranspose2d(width, outputs, patch, patch) if patch > 1 else nn.Conv2d(width, outputs, 3, padding=1)

    def forward(self, x: Tensor, level: Tensor, label: Tensor) -> Tensor:
        height, wide = x.shape[-2:]
        code = self.code(level, label)
        padded = F.pad(x, (0, -wide % self._multiple, 0, -height % self._multiple))
        near = self.down(self.start(padded), code)
        far = self.before(self.halve(near), code)
        deep = F.avg_pool2d(far, 2, ceil_mode=True)  # odd maps: the last cell stands for fewer
        for block in self.deep:
            deep = block(deep, code)
        far = self.after(far + F.interpolate(deep, scale_factor=2)[..., : far.shape[-2], : far.shape[-1]], code)
        joined = self.up(near + self.enlarge(far), code)
        result: Tensor = self.end(F.silu(self.norm(joined)))
        return result[..., :height, :wide]


class LineNet(nn.Module):
    """The same for vectors: residual blocks of linear layers."""

    def __init__(self, inputs: int, outputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.code = Code(width, classes)
        self.start, self.end = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(3)
        )

    def forward(self, x: Tensor, level: Tensor, label: Tensor) -> Tensor:
        code, inner = self.code(level, label), self.start(x)
        for block in self.blocks:
            inner = inner + block(inner + code)
        result: Tensor = self.end(inner)
        return result
