"""What the weights of torch's recurrent layers owe to each record.

torch's fused layers hide the gates. `unrolled` computes the same numbers from the same weights (`recurrent_steps`) and leaves a
probe at each layer's gates: zeros added to what enters them, so that the gradient at the probe is the gradient at the gates. With
g_t that gradient, a_t the input and h_t the hidden state before step t, the weights owe sum_t g_t a_t^T and sum_t g_t h_t^T, the
biases sum_t g_t: the norm of every record and the clipped sum follow from one pass, as for a linear layer over positions
(`layer_rules`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..vocabulary.errors import Unsupported
from . import recurrent_steps as steps
from .layer_rules import Owed, outer

State = Tensor | tuple[Tensor, Tensor]
"""Hidden state, (layers, records, hidden); an LSTM's with that of the cells."""


class Gates(NamedTuple):
    """One use of one of the stacked layers, its backward pass done."""

    depth: int
    """Which of the stacked layers."""
    inputs: Tensor
    """(records, steps, inputs)"""
    before: Tensor
    """(records, steps, hidden): the hidden state before each step."""
    gradient: Tensor
    """(records, steps, columns x hidden), of the losses at the probe."""


class Tap(NamedTuple):
    """The same before the backward pass."""

    depth: int
    inputs: Tensor
    before: Tensor
    probe: Tensor
    """(records, steps, columns x hidden) of zeros, where the gradient is to be taken. The columns are the cell's own."""

    def noted(self, gradient: Tensor) -> Gates:
        return Gates(self.depth, self.inputs, self.before, gradient)


def supported(layer: nn.Module) -> bool:
    """A layer from the first step to the last over (records, steps, inputs)."""
    if type(layer) not in (nn.RNN, nn.LSTM, nn.GRU) or not isinstance(layer, nn.RNNBase):
        return False
    return layer.batch_first and not layer.bidirectional and not layer.proj_size


def unrolled(layer: nn.RNNBase, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State, list[Tap]]:
    """What `layer(inputs, state)` gives, and a tap per stacked layer. `inputs`: (records, steps, inputs).

    Gradients go to the inputs, the state and the probes, not to the weights. Raises Unsupported for what it does not compute: both
    directions, projections, packed or unbatched sequences.
    """
    if not supported(layer) or not isinstance(inputs, Tensor) or inputs.dim() != 3:
        raise Unsupported(
            f"{type(layer).__name__} cannot be followed step by step like this: it must run in one direction, without proj_size, with "
            "batch_first=True, on one tensor (records, steps, inputs) of sequences that are padded rather than packed"
        )
    cell, states = steps.cell_of(layer), _states(layer, inputs, state)
    values, ends, taps = inputs.transpose(0, 1).contiguous(), [], []
    for depth in range(layer.num_layers):
        if depth and layer.dropout:
            values = F.dropout(values, layer.dropout, layer.training)
        shape = (len(inputs), inputs.shape[1], cell.columns * layer.hidden_size)
        probe = inputs.new_zeros(()).expand(shape).requires_grad_()
        read, before = values.detach(), list[Tensor]()
        weights = steps.Weights.of(layer, depth, cell)
        values, *cells = steps.Sequence.apply(cell, weights, before, values, probe, *(part[depth] for part in states))  # type: ignore[no-untyped-call]
        ends.append((values[-1], *cells))
        taps.append(Tap(depth, read.transpose(0, 1), before[0].transpose(0, 1), probe))
    final = [torch.stack(parts) for parts in zip(*ends, strict=True)]
    return values.transpose(0, 1), final[0] if len(final) == 1 else (final[0], final[1]), taps


def _states(layer: nn.RNNBase, inputs: Tensor, state: State | None) -> tuple[Tensor, ...]:
    if state is None:
        zeros = inputs.new_zeros(layer.num_layers, len(inputs), layer.hidden_size)
        return (zeros, zeros) if isinstance(layer, nn.LSTM) else (zeros,)
    return (state,) if isinstance(state, Tensor) else state


def owed(layer: nn.RNNBase, uses: Sequence[Gates]) -> Owed:
    """Of all the layer's weights together; what a layer owes for several uses adds up."""
    total, sums = uses[0].gradient.new_zeros(len(uses[0].gradient)), list[tuple[_Part, int, Callable[[Tensor], Tensor]]]()
    for depth in sorted({use.depth for use in uses}):
        own = [use for use in uses if use.depth == depth]
        for part in _parts(layer):
            read = torch.cat([part.read(use) for use in own])
            gradient = torch.cat([part.gradient(use) for use in own]) if len(own) > 1 else part.gradient(own[0])
            squares, weighted = outer(read.transpose(0, 1), gradient.transpose(0, 1))
            total += squares
            sums.append((part, depth, weighted))

    def named(factors: Tensor) -> dict[str, Tensor]:
        return {f"{name}_l{depth}": value for part, depth, weighted in sums for name, value in part.named(weighted(factors))}

    return Owed(total, named)


class _Part(NamedTuple):
    """Weights that feed the same gates: of an LSTM both, of a GRU each by itself."""

    names: tuple[str, ...]
    side: steps.Side
    size: int
    bias: bool

    @property
    def one(self) -> float:
        """A bias is the weight of an input that is always 1; of two equal ones the squares add up."""
        return math.sqrt(len(self.names))

    def read(self, use: Gates) -> Tensor:
        """(steps, records, width): what the weights are applied to, the biases' `one` in the last column."""
        read = [(use.inputs if name == "ih" else use.before).transpose(0, 1) for name in self.names]
        return torch.cat([*read, read[0].new_full((1, 1, 1), self.one).expand(*read[0].shape[:2], 1)] if self.bias else read, 2)

    def gradient(self, use: Gates) -> Tensor:
        """(steps, records, columns x hidden)"""
        return use.gradient[:, :, self.side.columns(self.size)].transpose(0, 1)

    def named(self, total: Tensor) -> Iterator[tuple[str, Tensor]]:
        """From (columns x hidden, width) the parameters as torch has them."""
        total, start = self.side.given_back(total), 0
        width = total.shape[1] - self.bias
        for name in self.names:
            stop = width - self.size if name == "ih" and len(self.names) == 2 else width
            yield f"weight_{name}", total[:, start:stop]
            start = stop
            if self.bias:
                yield f"bias_{name}", total[:, -1] / self.one


def _parts(layer: nn.RNNBase) -> list[_Part]:
    cell = steps.cell_of(layer)
    if cell.inputs == cell.hidden:
        return [_Part(("ih", "hh"), cell.inputs, layer.hidden_size, layer.bias)]
    return [_Part((name,), side, layer.hidden_size, layer.bias) for name, side in (("ih", cell.inputs), ("hh", cell.hidden))]
