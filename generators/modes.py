"""Numbers as modes: mode-specific normalisation, after CTGAN (Xu et al. 2019, https://arxiv.org/abs/1907.00503).

A mixture of normals per number, learned from a histogram that is asked for once; a record becomes one in which every number is a
choice of mode and an offset within it, and back.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.training.contract import Batch, Counts, Question, Sums
from guardrail.vocabulary.spaces import Block, VectorSpace

NEUTRAL = 0.5
"""Where a real stands that does not count."""
REACH = 4.0
"""Standard deviations from a mode's mean to the ends of its offset."""
NARROWEST = 1e-3
"""Least standard deviation of a mode."""
ROUNDS = 40
"""Of expectation and maximisation."""
CELLS = 256
"""Of a number's histogram between its bounds."""


class Modes(nn.Module):
    """A mixture of normals for each real of the space, (reals, modes), and the way between records and records with modes."""

    means: Tensor
    deviations: Tensor
    weights: Tensor

    def __init__(self, space: VectorSpace, modes: int) -> None:
        super().__init__()
        self._blocks = space.blocks
        self._reals = [block for block in space.blocks if block.kind == "real"]
        self._switches = {block.column: block.stop - 1 for block in space.blocks if block.kind == "choice"}
        grid = ((torch.arange(modes) + 0.5) / modes).to(torch.get_default_dtype()).repeat(len(self._reals), 1)
        self.register_buffer("means", grid)
        self.register_buffer("deviations", torch.full_like(grid, 0.5 / modes))
        self.register_buffer("weights", torch.full_like(grid, 1.0 / modes))
        self.space = self._widened(modes)

    def _widened(self, modes: int) -> VectorSpace:
        """The space with a choice of mode before each real."""
        blocks, start = list[Block](), 0
        for block in self._blocks:
            sizes = [("choice", block.size)] if block.kind == "choice" else [("choice", modes), ("real", 1)]
            for kind, size in sizes:
                blocks.append(Block(block.column, kind, start, size))  # type: ignore[arg-type]
                start += size
        return VectorSpace(tuple(blocks))

    def asks(self) -> tuple[Question, ...]:
        return (Sums("a histogram of every number", math.sqrt(len(self._reals))),) if self._reals else ()

    def fit(self, counts: Counts) -> None:
        """By expectation and maximisation on a histogram, from a fixed grid: the records are asked once, and nothing is drawn."""
        if not self._reals:
            return
        histogram = counts.total(self._histogram).double().view(len(self._reals), CELLS).clamp(min=0)
        centres = ((torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS).repeat(len(self._reals), 1)
        for _ in range(ROUNDS):
            share = self._shares_at(centres)  # (reals, cells, modes)
            distance = centres[:, :, None] - self.means[:, None]
            powers = torch.stack([share, share * distance, share * distance.square()])
            total = torch.einsum("rc,prcm->prm", histogram, powers)
            sizes, shift = total[0], total[1] / total[0].clamp(min=1e-9)
            variances = (total[2] / sizes.clamp(min=1e-9) - shift.square()).clamp(min=NARROWEST**2)
            seen = sizes > 1e-6
            shares = sizes / sizes.sum(1, keepdim=True).clamp(min=1e-9)
            shares = torch.where(sizes.sum(1, keepdim=True) > 0, shares, self.weights)
            self.weights.copy_(shares)
            self.deviations.copy_(torch.where(seen, variances.sqrt(), self.deviations))
            self.means.copy_(torch.where(seen, self.means + shift, self.means))

    def _histogram(self, batch: Batch) -> Tensor:
        """(records, reals x cells): the cell of each real that counts."""
        cells = (self._values(batch.x) * CELLS).long().clamp(0, CELLS - 1)
        return (F.one_hot(cells, CELLS) * self._counting(batch.x)[:, :, None]).flatten(1)

    def _values(self, x: Tensor) -> Tensor:
        return x[:, [block.start for block in self._reals]]

    def _counting(self, x: Tensor) -> Tensor:
        """(records, reals): whether the real counts, nearly so in training."""
        one = torch.ones(len(x), device=x.device, dtype=x.dtype)
        columns = [x[:, self._switches[b.column]] if b.column in self._switches else one for b in self._reals]
        return torch.stack(columns, dim=1) if columns else x[:, :0]

    def _shares(self, x: Tensor) -> Tensor:
        """(records, reals, modes): probability of each mode given the value."""
        return self._shares_at(self._values(x).T).transpose(0, 1)

    def _shares_at(self, values: Tensor) -> Tensor:
        """(reals, values) -> (reals, values, modes): the same at given values."""
        means, deviations, weights = (part[:, None] for part in (self.means, self.deviations, self.weights))
        z = (values[:, :, None] - means) / deviations
        return (weights.clamp(min=1e-30).log() - deviations.log() - 0.5 * z.square()).softmax(2)

    @torch.no_grad()
    def widen(self, x: Tensor) -> Tensor:
        """Records of the space with modes; a value's mode is drawn from torch's generator."""
        totals = self._shares(x).cumsum(2)
        chosen = (totals < torch.rand(len(x), len(self._reals), 1, device=x.device, dtype=x.dtype) * totals[..., -1:]).sum(2)
        chosen = chosen.clamp(max=self.means.shape[1] - 1)
        places = torch.arange(len(self._reals), device=x.device)
        offsets = (self._values(x) - self.means[places, chosen]) / (2 * REACH * self.deviations[places, chosen]) + 0.5
        parts = [F.one_hot(chosen, self.means.shape[1]).to(x.dtype), offsets.clamp(0, 1).to(x.dtype)[:, :, None]]
        return self._joined(x, torch.cat(parts, dim=2))

    def _joined(self, x: Tensor, numbers: Tensor) -> Tensor:
        """The choices of `x` and the (records, reals, modes + 1) that stand for the reals; no mode where the real does not count."""
        counting, rest = self._counting(x)[:, :, None], torch.zeros_like(numbers)
        rest[..., -1] = NEUTRAL
        numbers, parts, i = rest + counting * (numbers - rest), list[Tensor](), 0
        for block in self._blocks:
            parts.append(x[:, block.start : block.stop] if block.kind == "choice" else numbers[:, i])
            i += block.kind == "real"
        return torch.cat(parts, dim=1)

    def split(self, wide: Tensor) -> tuple[Tensor, Tensor]:
        """The choices in the space's own layout, its reals neutral, and (records, reals, modes + 1)."""
        parts, numbers, start = list[Tensor](), list[Tensor](), 0
        for block in self._blocks:
            size = block.size if block.kind == "choice" else self.means.shape[1] + 1
            part = wide[:, start : start + size]
            parts.append(part if block.kind == "choice" else torch.full_like(part[:, :1], NEUTRAL))
            numbers += [part] if block.kind == "real" else []
            start += size
        return torch.cat(parts, dim=1), torch.stack(numbers, dim=1) if numbers else wide.new_zeros(len(wide), 0, self.means.shape[1] + 1)

    def silenced(self, wide: Tensor) -> Tensor:
        """Made records, without modes of reals that do not count."""
        return self._joined(*self.split(wide))

    def narrowed(self, wide: Tensor) -> Tensor:
        """Records of the space from made ones."""
        x, numbers = self.split(wide)
        places, chosen = torch.arange(len(self._reals), device=x.device), numbers[..., :-1].argmax(2)
        values = self.means[places, chosen] + 2 * REACH * self.deviations[places, chosen] * (numbers[..., -1] - 0.5)
        x[:, [block.start for block in self._reals]] = torch.where(self._counting(x) > 0.5, values.clamp(0, 1).to(x.dtype), NEUTRAL)
        return x
