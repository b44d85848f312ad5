"""GRU: gated recurrent units (Cho et al. 2014, https://arxiv.org/abs/1406.1078) over tokens; two gates where an LSTM has three."""

from __future__ import annotations

from torch import nn

from .recurrent import Recurrent


class Gru(Recurrent):
    cell = nn.GRU
