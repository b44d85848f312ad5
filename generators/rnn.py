"""RNN: the simple recurrent network (Elman 1990, https://doi.org/10.1207/s15516709cog1402_1) over tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from .recurrent import Recurrent
from .sequences import SequenceOptions


class RnnOptions(SequenceOptions):
    activation: Literal["tanh", "relu"] = Field(default="tanh", description="of the hidden units")


class Rnn(Recurrent):
    Options = RnnOptions
    cell = nn.RNN
    plain = Recurrent.plain.model_copy(update={"learning_rate": 0.003, "batch_size": 8, "epochs": 10})

    def _layers(self, options: SequenceOptions, dropout: float) -> nn.RNNBase:
        kind = options.activation if isinstance(options, RnnOptions) else "tanh"
        return nn.RNN(options.embedding, options.width, options.layers, batch_first=True, dropout=dropout, nonlinearity=kind)
