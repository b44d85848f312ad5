"""Pieces that several families share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def one_hot(tokens: Tensor, sizes: Sequence[int]) -> Tensor:
    """(records, columns) int64 -> (records, sum of sizes): the columns' one-hot codes side by side."""
    starts = torch.tensor([0, *sizes[:-1]], device=tokens.device).cumsum(0)
    flat = torch.zeros(len(tokens), sum(sizes), device=tokens.device)
    return flat.scatter_(1, tokens + starts, 1.0)


def draw(logits: Tensor, rng: torch.Generator) -> Tensor:
    """(records, choices) -> (records,): one choice each, by the softmax of its logits."""
    return torch.multinomial(logits.softmax(1), 1, generator=rng).squeeze(1)


def token_losses(logits: Tensor, tokens: Tensor, sizes: Sequence[int]) -> Tensor:
    """Cross-entropy of each record, summed over its columns: (records, sum of sizes), (records, columns) -> (records,)."""
    parts = logits.split(list(sizes), dim=1)
    return torch.stack([F.cross_entropy(part, tokens[:, i], reduction="none") for i, part in enumerate(parts)]).sum(0)


def mlp(widths: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        layers += [activation()] * (i > 0) + [nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers)
