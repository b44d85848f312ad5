"""Transformer (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762) over tokens: causal, or encoder and decoder.

Causal: every token given those before it, by layers of attention (full, within a window, or linear; see `attention`). With
`source:` the positions of those fields (a chorale's soprano) are read by an encoder that sees all of them at once, and a decoder
writes the rest, token by token, looking at what it has written and at the encoder's states. The source has a small causal
decoder of its own, so the family stays a probability of whole records: p(source) p(target | source).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from guardrail.training.contract import Batch, Recipe
from guardrail.vocabulary.errors import SpecError
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import TokenSpace

from .attention import Block, Kind, State
from .sequences import SequenceModel
from .translation import Translator

LOUDNESS = 0.3
"""Of tokens and positions before training, beside what the first blocks add to them."""


class TransformerOptions(Frozen):
    width: int = Field(default=96, ge=1, description="numbers that stand for a step between layers")
    layers: int = Field(default=2, ge=1, description="blocks on top of each other")
    heads: int = Field(default=4, ge=1, description="attentions side by side; they divide the width")
    attention: Kind = Field(default="full", description="full: all earlier steps; window: the last `window`; linear: a running sum")
    window: int = Field(default=128, ge=1, description="steps that attention: window looks back, the own one included")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of the numbers left out at random while training")
    source: tuple[str, ...] = Field(default=(), description="fields that are read; the others are written given them")

    @model_validator(mode="after")
    def _divides(self) -> TransformerOptions:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the width {self.width}")
        return self


class Stack(nn.Module):
    """Positions, blocks, a last normalisation: inputs to hidden states, at once or step by step."""

    def __init__(self, at: Tensor, options: TransformerOptions, *, crossed: bool = False) -> None:
        """`at`: (steps,) where in the record each stands."""
        super().__init__()
        self.positions = nn.Embedding(len(at), options.width)
        with torch.no_grad():
            self.positions.weight.copy_(LOUDNESS * _waves(at, options.width))
        kind, window, dropout = options.attention, options.window, options.dropout
        self.blocks = nn.ModuleList(
            [Block(options.width, options.heads, kind, window, dropout, crossed=crossed) for _ in range(options.layers)]
        )
        self.last = nn.LayerNorm(options.width)

    def forward(self, inputs: Tensor, *, causal: bool = True, memory: Tensor | None = None) -> Tensor:
        """(records, steps, width) in and out; over `memory` (records, others, width) as well where it is given."""
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        hidden = inputs + self.positions(steps.repeat(len(inputs), 1))
        for block in self.blocks:
            hidden = block(hidden, causal=causal, memory=memory)
        return torch.as_tensor(self.last(hidden))

    def begin(self) -> list[State]:
        return [State() for _ in self.blocks]

    @property
    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def step(self, inputs: Tensor, states: list[State], step: int, memory: Tensor | None = None) -> Tensor:
        """(records, width) in and out: step `step` of the causal sequence."""
        hidden = inputs + self.positions(torch.full((len(inputs),), step, device=inputs.device))
        for block, state in zip(self._blocks, states, strict=True):
            hidden = block.step(hidden, state, memory)
        return torch.as_tensor(self.last(hidden))

    def maps(self, inputs: Tensor) -> list[Tensor]:
        """Per block (records, heads, steps, steps): what each step looked at."""
        hidden = inputs + self.positions(torch.arange(inputs.shape[1], device=inputs.device).repeat(len(inputs), 1))
        found = []
        for block in self._blocks:
            found.append(block.attention.weights(block.before(hidden)))
            hidden = block(hidden)
        return found


def _waves(at: Tensor, width: int) -> Tensor:
    """(steps,) -> (steps, width): sines and cosines from fast to slow, so that a distance is one rotation everywhere (Vaswani et
    al. 2017); training goes on from there."""
    rates = 10_000.0 ** -(torch.arange(0, width, 2) / width)
    angles = at[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :width]


class Transformer(SequenceModel):
    Options = TransformerOptions
    plain = Recipe(
        epochs=6, sample_rate=0.05, batch_size=8, learning_rate=0.004, optimizer="adamw", betas=(0.9, 0.98), weight_decay=0.01,
        max_norm=1.0, average=0.99, warmup=0.05,
    )  # fmt: skip
    private = Recipe(epochs=20, sample_rate=0.05, learning_rate=0.002, betas=(0.9, 0.98), average=0.98, warmup=0.05)

    def __init__(self, space: TokenSpace, options: TransformerOptions) -> None:
        super().__init__(space, options, width=options.width)
        self.translator: Translator | None = None
        self.stack: Stack | None = None
        self.output = nn.Linear(options.width, self.vocabulary.size)
        with torch.no_grad():
            for embedding in (self.tokens, self.fields, *self.classes):
                if embedding is not None:
                    embedding.weight.mul_(LOUDNESS)
        if options.source:
            self._refuse_source(space, options.source)
            source = torch.tensor([name in options.source for name in space.names])
            read, written = source.nonzero()[:, 0], (~source).nonzero()[:, 0]
            self.translator = Translator(source, Stack(read, options), Stack(read, options), Stack(written, options, crossed=True))
        else:
            self.stack = Stack(torch.arange(space.length), options)

    @staticmethod
    def _refuse_source(space: TokenSpace, source: tuple[str, ...]) -> None:
        names = list(dict.fromkeys(space.names))
        if unknown := [name for name in source if name not in names]:
            raise SpecError(f"transformer: no field {unknown[0]!r} to read from; there are {', '.join(names)}")
        if set(source) == set(names):
            raise SpecError("transformer: source names every field, so nothing is left to write")
        if space.end is not None and names[0] not in source:
            raise SpecError(f"transformer: records may end early, and {names[0]!r} says where: name it among source")

    def hidden(self, inputs: Tensor) -> Tensor:
        if self.stack is None:
            raise SpecError("this transformer reads a source first; its states are the translator's")
        return torch.as_tensor(self.stack(inputs))

    def begin(self, n: int, device: torch.device) -> Any:
        return self.stack.begin() if self.stack is not None else None

    def advance(self, state: Any, inputs: Tensor, step: int) -> tuple[Tensor, Any]:
        if self.stack is None:
            raise SpecError("this transformer reads a source first; its states are the translator's")
        return self.stack.step(inputs, state, step), state

    def read_out(self, hidden: Tensor) -> Tensor:
        return torch.as_tensor(self.output(hidden))

    def logits_of(self, batch: Batch) -> Tensor:
        return super().logits_of(batch) if self.translator is None else self.translator.logits_of(self, batch)

    def _drawn(self, batch: Batch, known: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return super()._drawn(batch, known, rng) if self.translator is None else self.translator.drawn(self, batch, known, rng)

    @torch.no_grad()
    def complete(self, batch: Batch, known: Tensor, rng: torch.Generator) -> Tensor:
        if self.translator is not None and self.translator.reads_all(known):
            return self._drawn(batch, known, rng)[0]
        return super().complete(batch, known, rng)

    @torch.no_grad()
    def translate(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """The fields of `source` stay, the others are drawn given them."""
        if self.translator is None:
            raise SpecError(
                "this transformer was trained without a source, so there is nothing to translate from; "
                "train one with generator.options.source: [FIELD, …]"
            )
        return self._drawn(batch, self.translator.source.expand_as(batch.x), rng)[0]

    @torch.no_grad()
    def explain(self, batch: Batch) -> dict[str, Tensor]:
        """`attention of layer i`: (records, heads, steps, steps), how much each step looked at each before it."""
        inside = self.vocabulary.inside(batch.x)
        if self.translator is not None:
            maps = self.translator.maps(self, inside, batch.given)
        else:
            before = nn.functional.pad(inside[:, :-1], (1, 0), value=self.vocabulary.size)
            maps = self.stack.maps(self.inputs(before, batch.given)) if self.stack is not None else []
        return {f"attention of layer {i + 1}": value for i, value in enumerate(maps)}
