"""MADE: a masked autoencoder as autoregressive model (Germain et al. 2015, https://arxiv.org/abs/1502.03509) over table columns.

Each column is a choice among its tokens, given the columns before it: p(row) = prod p(column | columns before). One pass
gives every conditional, so training is one softmax per column. A direct masked connection from inputs to outputs carries
the pairwise part, hidden layers the rest. The output starts at the log of the one-way marginals, with zero weights: before
its first step the model is the independent floor, and every step can only have been made to improve on it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from guardrail.training.contract import Batch, Counts, Generator, Player, Recipe
from guardrail.training.layers import MaskedLinear
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import TokenSpace

from .blocks import draw, one_hot, token_losses

CANDIDATES = 16
"""Rows per record among which filling in chooses, by how well they lead to the known cells further right."""


class MadeOptions(Frozen):
    hidden: tuple[int, ...] = Field(default=(128,), description="widths of the hidden layers")
    direct: bool = Field(default=True, description="connect inputs to outputs directly as well")


class Made(Generator, Player):
    spaces = ("tokens",)
    Options = MadeOptions
    plain = Recipe(epochs=30, sample_rate=0.05, batch_size=512, learning_rate=0.003, average=0.999)
    private = Recipe(epochs=40, sample_rate=0.1, learning_rate=0.015, clip=3.0, average=0.98)

    def __init__(self, space: TokenSpace, options: MadeOptions) -> None:
        super().__init__(space, options)
        self.sizes = space.sizes
        of_input = torch.arange(len(space.sizes)).repeat_interleave(torch.tensor(space.sizes))  # column of each one-hot entry
        before, layers = of_input, []
        for width in options.hidden:
            degrees = torch.arange(width) % max(1, len(space.sizes) - 1)  # the last column each unit may read
            layers += [MaskedLinear(degrees[:, None] >= before[None, :]), nn.ReLU()]
            before = degrees
        self.hidden = nn.Sequential(*layers)
        self.output = MaskedLinear(of_input[:, None] > before[None, :])
        self.direct = MaskedLinear(of_input[:, None] > of_input[None, :], bias=False) if options.direct else None
        for layer in (self.output, self.direct):
            if layer is not None:
                nn.init.zeros_(layer.weight)

    def initialise(self, counts: Counts) -> None:
        shares = torch.cat([torch.from_numpy(share) for share in counts.one_way()])
        with torch.no_grad():
            self.output.bias.copy_(shares.log())

    def players(self) -> Mapping[str, Player]:
        return {"made": self}

    def logits(self, inputs: Tensor) -> Tensor:
        """(records, sum of sizes) one-hot -> (records, sum of sizes): every column given those before it."""
        outputs: Tensor = self.output(self.hidden(inputs))
        if self.direct is not None:
            outputs = outputs + self.direct(inputs)
        return outputs

    def losses(self, batch: Batch) -> Tensor:
        return token_losses(self.logits(one_hot(batch.x, self.sizes)), batch.x, self.sizes)

    @torch.no_grad()
    def log_likelihood(self, batch: Batch) -> Tensor:
        return -self.losses(batch)

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        nothing = torch.zeros(n, len(self.sizes), dtype=torch.int64, device=self.output.weight.device)
        return self._drawn(nothing, torch.zeros_like(nothing, dtype=torch.bool), rng)[0]

    @torch.no_grad()
    def complete(self, batch: Batch, known: Tensor, rng: torch.Generator) -> Tensor:
        """Unknown cells given all known ones: of CANDIDATES rows drawn left to right one is chosen in proportion to the
        probability it gives to the known cells (importance resampling, Rubin 1987), which is exact in the limit of many."""
        many = torch.arange(len(batch), device=known.device).repeat_interleave(CANDIDATES)
        drawn, weights = self._drawn(batch.x[many], known[many], rng)
        shares = weights.view(len(batch), CANDIDATES).softmax(1).nan_to_num(1.0)
        chosen = draw((shares + 1e-30).log(), rng)
        return drawn.view(len(batch), CANDIDATES, -1)[torch.arange(len(batch), device=known.device), chosen]

    def _drawn(self, x: Tensor, known: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """(n, columns) with the unknown drawn from left to right, and (n,) the log-probability of what was known."""
        inputs = torch.zeros(len(x), sum(self.sizes), device=x.device)
        weights, columns, start = torch.zeros(len(x), device=x.device), [], 0
        for column, size in enumerate(self.sizes):
            logits = self.logits(inputs)[:, start : start + size]
            tokens = torch.where(known[:, column], x[:, column], draw(logits, rng))
            of_token = logits.log_softmax(1).gather(1, tokens[:, None])[:, 0]
            weights = weights + torch.where(known[:, column], of_token, 0.0)
            inputs.scatter_(1, start + tokens[:, None], 1.0)
            columns.append(tokens)
            start += size
        return torch.stack(columns, dim=1), weights
