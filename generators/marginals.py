"""Independent marginals, the floor beside every model: each column by itself, from (noisy) one-way counts.

The Gaussian mechanism on histograms (Dwork and Roth 2014, section 3 and appendix A, https://doi.org/10.1561/0400000042).
No player, no gradient: under privacy the model is a function of the noisy counts alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from guardrail.training.contract import Batch, Counts, Generator, Recipe
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import TokenSpace


class MarginalsOptions(Frozen):
    pass


class Marginals(Generator):
    spaces = ("tokens",)
    Options = MarginalsOptions
    plain = private = Recipe(epochs=1, sample_rate=1.0, learning_rate=1.0)

    def __init__(self, space: TokenSpace, options: MarginalsOptions) -> None:
        super().__init__(space, options)
        self.sizes, self.end = space.sizes, space.end
        self.log_shares = nn.Parameter(torch.zeros(sum(space.sizes)), requires_grad=False)

    def initialise(self, counts: Counts) -> None:
        shares = torch.cat([torch.from_numpy(share) for share in counts.one_way()])
        self.log_shares.copy_(shares.log())

    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        columns = [torch.multinomial(part.exp(), n, replacement=True, generator=rng) for part in self.log_shares.split(list(self.sizes))]
        return torch.stack(columns, dim=1)  # (n, columns)

    def log_likelihood(self, batch: Batch) -> Tensor:
        """Of what is drawn up to the first end: what would have come after it is no part of a record."""
        parts = self.log_shares.split(list(self.sizes))
        logs = torch.stack([part[batch.x[:, i]] for i, part in enumerate(parts)], dim=1)  # (records, positions)
        if self.end is None:
            return logs.sum(1)
        ends = (batch.x == self.end).long()
        return torch.where(ends.cumsum(1) - ends == 0, logs, 0.0).sum(1)
