"""What sequence families share: tokens in, each predicted from those before it, and drawing left to right.

p(record) = prod_t p(token t | tokens before t, class). The likelihood is exact and sums to 1 over all records: at every position
only that position's tokens can be drawn (the columns of a table have vocabularies of their own), and a record that may end early
is over with its first end token. A family says how hidden states follow from inputs, all at once and step by step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.training.contract import Batch, Generator, Player, Recipe
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import TokenSpace

CANDIDATES = 16
"""Continuations per record among which filling in chooses, by how well they lead to what is known further on."""
SCORED = 1024
"""Records whose likelihoods are computed at once."""


class SequenceOptions(Frozen):
    width: int = Field(default=160, ge=1, description="units of the hidden state")
    layers: int = Field(default=1, ge=1, description="layers on top of each other")
    embedding: int = Field(default=32, ge=1, description="numbers that stand for a token")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of the hidden units left out at random while training")


class Vocabulary(nn.Module):
    """Tokens of every position as one vocabulary, and which of them each position may have."""

    allowed: Tensor
    first: Tensor

    def __init__(self, space: TokenSpace) -> None:
        super().__init__()
        self.space = space
        self.size = space.sizes[0] if space.shared else sum(space.sizes)
        starts = torch.zeros(space.length, dtype=torch.int64)
        if not space.shared:
            starts[1:] = torch.tensor(space.sizes[:-1]).cumsum(0)
        self.register_buffer("first", starts, persistent=False)  # (positions,)
        tokens = torch.arange(self.size)
        until = starts + torch.tensor(space.sizes)
        self.register_buffer("allowed", (tokens >= starts[:, None]) & (tokens < until[:, None]), persistent=False)

    @property
    def restricted(self) -> bool:
        return not self.space.shared

    def inside(self, x: Tensor) -> Tensor:
        """(records, positions): tokens of the one vocabulary."""
        return x + self.first if self.restricted else x

    def logits(self, logits: Tensor, start: int = 0) -> Tensor:
        """(records, steps, size), of the positions from `start` on: what cannot stand there has no probability."""
        if not self.restricted:
            return logits
        return logits.masked_fill(~self.allowed[start : start + logits.shape[1]], float("-inf"))

    def counts(self, x: Tensor) -> Tensor:
        """(records, positions) bool: the positions up to the first end."""
        if self.space.end is None:
            return torch.ones_like(x, dtype=torch.bool)
        ends = (x == self.space.end).long()
        return ends.cumsum(1) - ends == 0


class SequenceModel(Generator, Player):
    """One player, one loss per record: minus its log-probability, in nats."""

    spaces = ("tokens",)
    private: Recipe | None = None

    def __init__(self, space: TokenSpace, options: Any, *, width: int) -> None:
        """`width`: of the inputs that `hidden` takes."""
        super().__init__(space, options)
        self.space, self.vocabulary = space, Vocabulary(space)
        self.conditional = bool(space.conditions)
        self.tokens = nn.Embedding(self.vocabulary.size + 1, width)  # the last stands before the first token
        names = list(dict.fromkeys(space.names))
        self.register_buffer("field_of", torch.tensor([names.index(name) for name in space.names]), persistent=False)
        self.fields = nn.Embedding(len(names), width) if len(names) > 1 else None
        self.classes = nn.ModuleList([nn.Embedding(size, width) for size in space.conditions])

    field_of: Tensor

    def players(self) -> Mapping[str, Player]:
        return {"model": self}

    @abstractmethod
    def hidden(self, inputs: Tensor) -> Tensor:
        """(records, steps, width) -> (records, steps, width): each step from the inputs up to it."""

    @abstractmethod
    def begin(self, n: int, device: torch.device) -> Any:
        """The state before the first step, of `n` records."""

    @abstractmethod
    def advance(self, state: Any, inputs: Tensor, step: int) -> tuple[Tensor, Any]:
        """(records, width) -> (records, width) and the next state: one step of `hidden`."""

    @abstractmethod
    def read_out(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (..., vocabulary): logits."""

    def inputs(self, before: Tensor, given: Tensor, start: int = 0) -> Tensor:
        """(records, steps) tokens that stand before the positions from `start` on -> (records, steps, width)."""
        read = self.tokens(before)
        if self.fields is not None:
            fields = self.field_of[start : start + before.shape[1]]
            read = read + self.fields(fields.repeat(len(before), 1))
        for i, embedding in enumerate(self.classes):
            read = read + embedding(given[:, i])[:, None]
        return torch.as_tensor(read)

    def logits_of(self, batch: Batch) -> Tensor:
        """(records, positions, vocabulary): of every token given those before it."""
        inside = self.vocabulary.inside(batch.x)
        before = F.pad(inside[:, :-1], (1, 0), value=self.vocabulary.size)
        return self.vocabulary.logits(self.read_out(self.hidden(self.inputs(before, batch.given))))

    def losses(self, batch: Batch) -> Tensor:
        inside = self.vocabulary.inside(batch.x)
        costs = F.cross_entropy(self.logits_of(batch).flatten(0, 1), inside.flatten(), reduction="none").view(inside.shape)
        return torch.where(self.vocabulary.counts(batch.x), costs, 0.0).sum(1)

    @torch.no_grad()
    def log_likelihood(self, batch: Batch) -> Tensor:
        return torch.cat([-self.losses(part) for part in batch.split(SCORED)]) if len(batch) else torch.zeros(0)

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        nothing = torch.zeros(n, self.space.length, dtype=torch.int64, device=self.tokens.weight.device)
        return self._drawn(Batch.of(nothing, given), torch.zeros_like(nothing, dtype=torch.bool), rng)[0]

    @torch.no_grad()
    def complete(self, batch: Batch, known: Tensor, rng: torch.Generator) -> Tensor:
        """A beginning is continued exactly. What is known further on cannot be looked at while drawing left to right: of
        CANDIDATES continuations one is chosen in proportion to the probability it gives to that (importance resampling,
        Rubin 1987), which is exact in the limit of many."""
        if not (known[:, 1:] & ~known[:, :-1]).any():
            return self._drawn(batch, known, rng)[0]
        many = torch.arange(len(batch), device=known.device).repeat_interleave(CANDIDATES)
        drawn, weights = self._drawn(batch[many], known[many], rng)
        weights = weights.view(len(batch), CANDIDATES)
        shares = (weights - weights.amax(1, keepdim=True)).exp().nan_to_num(1.0)
        chosen = torch.multinomial(shares + 1e-30, 1, generator=rng)[:, 0]
        return drawn.view(len(batch), CANDIDATES, -1)[torch.arange(len(batch), device=known.device), chosen]

    def _drawn(self, batch: Batch, known: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Records with the unknown drawn from left to right, and (records,) the log-probability of what was known."""
        x, vocabulary = batch.x.clone(), self.vocabulary
        n, weights = len(x), torch.zeros(len(batch), device=x.device)
        state = self.begin(n, x.device)
        before = torch.full((n,), vocabulary.size, device=x.device)
        over = torch.zeros(n, dtype=torch.bool, device=x.device)
        until = (known * torch.arange(1, x.shape[1] + 1, device=x.device)).amax(1)  # behind the last that is known
        for t in range(x.shape[1]):
            hidden, state = self.advance(state, self.inputs(before[:, None], batch.given, t)[:, 0], t)
            log = vocabulary.logits(self.read_out(hidden)[:, None], t)[:, 0].log_softmax(1)
            drawn = torch.multinomial(log.exp(), 1, generator=rng)[:, 0] - vocabulary.first[t]
            if self.space.end is not None:
                drawn = torch.where(over, self.space.end, drawn)
            x[:, t] = torch.where(known[:, t], x[:, t], drawn)
            inside = x[:, t] + vocabulary.first[t]
            of_known = log.gather(1, inside[:, None])[:, 0]
            weights = weights + torch.where(known[:, t] & ~over, of_known, 0.0)
            if self.space.end is not None:
                weights = weights.masked_fill(over & known[:, t] & (x[:, t] != self.space.end), float("-inf"))
                over = over | (x[:, t] == self.space.end)
                if bool((over & (until <= t + 1)).all()):  # nothing is left to draw
                    x[:, t + 1 :] = self.space.end
                    break
            before = inside
        return x, weights
