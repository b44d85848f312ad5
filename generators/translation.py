"""Reading some fields of a record and writing the others: p(source) p(target | source), by three stacks of attention.

Where records may end early, the source says where: behind its end nothing is written, and before it the target cannot end.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.training.contract import Batch
from guardrail.vocabulary.spaces import TokenSpace

from .attention import State
from .sequences import Vocabulary


class Reader(Protocol):
    """A stack of attention layers, as far as a translator needs it."""

    def __call__(self, inputs: Tensor, *, causal: bool = True, memory: Tensor | None = None) -> Tensor: ...
    def begin(self) -> list[State]: ...
    def step(self, inputs: Tensor, states: list[State], step: int, memory: Tensor | None = None) -> Tensor: ...
    def maps(self, inputs: Tensor) -> list[Tensor]: ...


class Whole(Protocol):
    """The model around it: its embeddings and its output."""

    space: TokenSpace
    vocabulary: Vocabulary
    tokens: nn.Embedding
    fields: nn.Embedding | None
    classes: nn.ModuleList
    field_of: Tensor

    def read_out(self, hidden: Tensor) -> Tensor: ...


class Translator(nn.Module):
    source: Tensor
    """(positions,) bool: those that are read."""

    def __init__(self, source: Tensor, prior: nn.Module, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.register_buffer("source", source, persistent=False)
        self.prior, self.encoder, self.decoder = prior, encoder, decoder

    def reads_all(self, known: Tensor) -> bool:
        """Whether the known is all of the source and a beginning of the target at most: then drawing is exact."""
        target = known[:, ~self.source]
        return bool(known[:, self.source].all()) and not bool((target[:, 1:] & ~target[:, :-1]).any())

    def logits_of(self, whole: Whole, batch: Batch) -> Tensor:
        """(records, positions, vocabulary), in the record's own order of positions."""
        inside = whole.vocabulary.inside(batch.x)
        read, written = inside[:, self.source], inside[:, ~self.source]
        start = whole.vocabulary.size
        prior = self.prior(_inputs(whole, F.pad(read[:, :-1], (1, 0), value=start), self.source, batch.given))
        memory = self.encoder(_inputs(whole, read, self.source, batch.given), causal=False)
        hidden = self.decoder(_inputs(whole, F.pad(written[:, :-1], (1, 0), value=start), ~self.source, batch.given), memory=memory)
        logits = torch.empty(*batch.x.shape, whole.vocabulary.size, dtype=hidden.dtype, device=hidden.device)
        logits[:, self.source], logits[:, ~self.source] = whole.read_out(prior), self._going_on(whole, whole.read_out(hidden))
        return whole.vocabulary.logits(logits)

    @staticmethod
    def _going_on(whole: Whole, logits: Tensor) -> Tensor:
        """The target cannot end: where a record is over is for the source to say."""
        if whole.space.end is None:
            return logits
        at_end = torch.arange(logits.shape[-1], device=logits.device) == whole.space.end
        return logits.masked_fill(at_end, torch.finfo(logits.dtype).min)

    def drawn(self, whole: Whole, batch: Batch, known: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """The unknown drawn, the source first; and (records,) the log-probability of what was known."""
        x = batch.x.clone()
        weights = self._draw_part(whole, x, self.source, known, batch.given, rng, None)
        inside = whole.vocabulary.inside(x)
        memory = self.encoder(_inputs(whole, inside[:, self.source], self.source, batch.given), causal=False)
        return x, weights + self._draw_part(whole, x, ~self.source, known, batch.given, rng, memory)

    def _draw_part(
        self, whole: Whole, x: Tensor, part: Tensor, known: Tensor, given: Tensor, rng: torch.Generator, memory: Tensor | None
    ) -> Tensor:
        """Fills these positions of `x` in place, from the first to the last."""
        stack, vocabulary, end = (self.prior if memory is None else self.decoder), whole.vocabulary, whole.space.end
        states, weights = stack.begin(), torch.zeros(len(x), device=x.device)  # type: ignore[operator]
        before = torch.full((len(x), 1), vocabulary.size, device=x.device)
        for step, t in enumerate(part.nonzero()[:, 0].tolist()):
            over = (
                (x[:, :t][:, self.source[:t]] == end).any(1)
                if end is not None and t
                else torch.zeros(len(x), dtype=torch.bool, device=x.device)
            )
            here = torch.zeros_like(part)
            here[t] = True
            hidden = stack.step(_inputs(whole, before, here, given)[:, 0], states, step, memory)  # type: ignore[operator]
            logits = whole.read_out(hidden)
            if memory is not None:
                logits = self._going_on(whole, logits)
            log = vocabulary.logits(logits[:, None], t)[:, 0].log_softmax(1)
            drawn = torch.multinomial(log.exp(), 1, generator=rng)[:, 0] - vocabulary.first[t]
            if end is not None:
                drawn = torch.where(over, end, drawn)
            x[:, t] = torch.where(known[:, t], x[:, t], drawn)
            of_known = log.gather(1, (x[:, t] + vocabulary.first[t])[:, None])[:, 0]
            weights = weights + torch.where(known[:, t] & ~over, of_known, 0.0)
            before = (x[:, t] + vocabulary.first[t])[:, None]
        return weights

    def maps(self, whole: Whole, inside: Tensor, given: Tensor) -> list[Tensor]:
        """What each written token looked at among those written before it."""
        written = F.pad(inside[:, ~self.source][:, :-1], (1, 0), value=whole.vocabulary.size)
        found: list[Tensor] = self.decoder.maps(_inputs(whole, written, ~self.source, given))  # type: ignore[operator]
        return found


def _inputs(whole: Whole, before: Tensor, at: Tensor, given: Tensor) -> Tensor:
    """(records, steps) tokens and which positions (positions,) bool they lead to -> (records, steps, width)."""
    read = whole.tokens(before)
    if whole.fields is not None:
        read = read + whole.fields(whole.field_of[at].repeat(len(before), 1))
    for i, embedding in enumerate(whole.classes):
        read = read + embedding(given[:, i])[:, None]
    return torch.as_tensor(read)
