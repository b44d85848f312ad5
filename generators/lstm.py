"""LSTM: long short-term memory (Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735) over tokens.

A gated cell carries what was read over long distances. The forget gates start open, so that nothing is lost before training
says what to lose (Jozefowicz et al. 2015).
"""

from __future__ import annotations

import torch
from torch import nn

from .recurrent import Recurrent
from .sequences import SequenceOptions


class Lstm(Recurrent):
    cell = nn.LSTM
    plain = Recurrent.plain.model_copy(update={"batch_size": 8, "learning_rate": 0.006})

    def _layers(self, options: SequenceOptions, dropout: float) -> nn.RNNBase:
        layers = super()._layers(options, dropout)
        with torch.no_grad():
            for name, parameter in layers.named_parameters():
                if name.startswith("bias_ih"):
                    parameter[options.width : 2 * options.width] = 1.0
        return layers
