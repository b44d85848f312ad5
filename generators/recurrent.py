"""Recurrent layers under a sequence model: the state after each token is all that the next ones see of it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from guardrail.training.contract import Recipe
from guardrail.vocabulary.spaces import TokenSpace

from .sequences import SequenceModel, SequenceOptions


class Recurrent(SequenceModel):
    """torch's fused layers; `cell` says which."""

    Options = SequenceOptions
    plain = Recipe(epochs=6, sample_rate=0.05, batch_size=16, learning_rate=0.004, max_norm=1.0, average=0.99, warmup=0.02)
    private = Recipe(epochs=20, sample_rate=0.05, learning_rate=0.005, average=0.98, warmup=0.02)
    cell: ClassVar[type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]]

    def __init__(self, space: TokenSpace, options: SequenceOptions) -> None:
        super().__init__(space, options, width=options.embedding)
        between = options.dropout if options.layers > 1 else 0.0
        self.layers = self._layers(options, between)
        self.dropped = nn.Dropout(options.dropout)
        self.output = nn.Linear(options.width, self.vocabulary.size)

    def _layers(self, options: SequenceOptions, dropout: float) -> nn.RNNBase:
        return self.cell(options.embedding, options.width, options.layers, batch_first=True, dropout=dropout)

    def hidden(self, inputs: Tensor) -> Tensor:
        states: Tensor = self.layers(inputs)[0]
        return states

    def begin(self, n: int, device: torch.device) -> Any:
        return None  # torch's layers begin at zero

    def advance(self, state: Any, inputs: Tensor, step: int) -> tuple[Tensor, Any]:
        states, after = self.layers(inputs[:, None], state)
        return states[:, 0], after

    def read_out(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.output(self.dropped(hidden))
        return logits
