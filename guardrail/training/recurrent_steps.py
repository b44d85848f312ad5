"""A recurrent layer's whole sequence as one node of the graph, its gates in the open: LSTM, GRU and the simple network.

torch's fused layers hide the gates; these compute the same from the same weights. The products with the inputs are taken for all
steps at once, then come few operations per step, in place, forward and backward, with every derivative written out and no graph
per step. LSTM: Hochreiter and Schmidhuber 1997; GRU: Cho et al. 2014 in torch's form, where the reset gate multiplies the product
with the hidden state; the simple network: Elman 1990.

Gates stand in columns of one buffer, (steps, records, columns x hidden), in an order that suits the arithmetic; a `Side` says
which columns the inputs' weights and the hidden state's weights feed, and which of torch's gates those are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_sigmoid_backward: Any = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward: Any = torch.ops.aten.tanh_backward.grad_input
_relu_backward: Any = torch.ops.aten.threshold_backward.grad_input


class Side(NamedTuple):
    """The columns that one of a cell's two weights feeds."""

    first: int
    order: tuple[int, ...]
    """Of each column from `first` on: which of torch's gates it is."""

    def columns(self, size: int) -> slice:
        return slice(self.first * size, (self.first + len(self.order)) * size)

    def taken(self, weight: Tensor) -> Tensor:
        """(gates x hidden, ...) in torch's order -> in the columns' order."""
        return _gates_in(list(self.order), weight)

    def given_back(self, weight: Tensor) -> Tensor:
        """The other way round."""
        return _gates_in(sorted(range(len(self.order)), key=self.order.__getitem__), weight)


def _gates_in(order: list[int], weight: Tensor) -> Tensor:
    return torch.cat([weight.chunk(len(order))[gate] for gate in order])


class Cell(ABC):
    columns: ClassVar[int]
    inputs: ClassVar[Side]
    hidden: ClassVar[Side]

    @abstractmethod
    def forward(self, gates: Tensor, hidden: Tensor, weight: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Fills `gates`, which hold what the inputs and biases give, and `hidden`, (steps + 1, records, hidden), from its row 1 on.

        Gives what `backward` needs beside these two; an LSTM's cells, (steps + 1, records, hidden), first.
        """

    @abstractmethod
    def backward(self, kept: tuple[Tensor, ...], weight: Tensor, out: Tensor, end: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Gradients at the gates and at the first state, from those at the hidden states, `out`, and at the last cells, `end`."""


class Lstm(Cell):
    """Columns: output, input and forget gate, candidate."""

    columns = 4
    inputs = hidden = Side(0, (3, 0, 1, 2))

    def forward(self, gates: Tensor, hidden: Tensor, weight: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        size, across = hidden.shape[2], weight.T
        cells, squashed = torch.empty_like(hidden), torch.empty_like(hidden[1:])
        cells[0] = state[1]
        for t, gate in enumerate(gates):
            gate.addmm_(hidden[t], across)[:, : 3 * size].sigmoid_()
            output, write, keep, new = gate.chunk(4, 1)
            _tanh_(new)
            torch.mul(keep, cells[t], out=cells[t + 1]).addcmul_(write, new)
            squashed[t] = cells[t + 1]
            torch.mul(output, _tanh_(squashed[t]), out=hidden[t + 1])
        return cells, squashed

    def backward(self, kept: tuple[Tensor, ...], weight: Tensor, out: Tensor, end: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        gates, hidden, cells, squashed = kept
        size, found = hidden.shape[2], torch.empty_like(gates)
        at_hidden, at_cell = torch.zeros_like(hidden[0]), end[0].clone()
        through = torch.empty_like(at_cell)
        for t in range(len(gates) - 1, -1, -1):
            output, write, keep, new = gates[t].chunk(4, 1)
            at_output, at_write, at_keep, at_new = found[t].chunk(4, 1)
            at_hidden += out[t]
            torch.mul(at_hidden, output, out=through)
            at_cell += _tanh_backward(through, squashed[t], grad_input=through)
            torch.mul(at_hidden, squashed[t], out=at_output)
            torch.mul(at_cell, new, out=at_write)
            torch.mul(at_cell, cells[t], out=at_keep)
            torch.mul(at_cell, write, out=at_new)
            three = found[t, :, : 3 * size]
            _sigmoid_backward(three, gates[t, :, : 3 * size], grad_input=three)
            _tanh_backward(at_new, new, grad_input=at_new)
            at_cell *= keep
            torch.mm(found[t], weight, out=at_hidden)
        return found, at_hidden, at_cell


class Gru(Cell):
    """Columns: candidate as the inputs feed it, reset and update gate, candidate as the hidden state feeds it."""

    columns = 4
    inputs, hidden = Side(0, (2, 0, 1)), Side(1, (0, 1, 2))

    def forward(self, gates: Tensor, hidden: Tensor, weight: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        size, across = hidden.shape[2], weight.T
        for t, gate in enumerate(gates):
            gate[:, size:].addmm_(hidden[t], across)
            gate[:, size : 3 * size].sigmoid_()
            new, reset, update, recalled = gate.chunk(4, 1)
            _tanh_(new.addcmul_(reset, recalled))
            torch.lerp(new, hidden[t], update, out=hidden[t + 1])
        return ()

    def backward(self, kept: tuple[Tensor, ...], weight: Tensor, out: Tensor, end: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        gates, hidden = kept
        size, found = hidden.shape[2], torch.empty_like(gates)
        at_hidden, carried = torch.zeros_like(hidden[0]), torch.empty_like(hidden[0])
        for t in range(len(gates) - 1, -1, -1):
            new, reset, update, recalled = gates[t].chunk(4, 1)
            at_new, at_reset, at_update, at_recalled = found[t].chunk(4, 1)
            at_hidden += out[t]
            torch.mul(at_hidden, update, out=carried)
            torch.sub(hidden[t], new, out=at_update).mul_(at_hidden)
            torch.sub(at_hidden, carried, out=at_new)
            _tanh_backward(at_new, new, grad_input=at_new)
            torch.mul(at_new, recalled, out=at_reset)
            torch.mul(at_new, reset, out=at_recalled)
            two = found[t, :, size : 3 * size]
            _sigmoid_backward(two, gates[t, :, size : 3 * size], grad_input=two)
            torch.addmm(carried, found[t, :, size:], weight, out=at_hidden)
        return found, at_hidden


class Simple(Cell):
    """One column: the hidden state itself, in whose memory the gates stand."""

    columns = 1
    inputs = hidden = Side(0, (0,))

    def __init__(self, activation: str) -> None:
        self._relu = activation == "relu"

    def forward(self, gates: Tensor, hidden: Tensor, weight: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        across = weight.T
        for t, gate in enumerate(gates):
            gate.addmm_(hidden[t], across)
            gate.relu_() if self._relu else _tanh_(gate)
        return ()

    def backward(self, kept: tuple[Tensor, ...], weight: Tensor, out: Tensor, end: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        gates, hidden = kept
        found, at_hidden = torch.empty_like(gates), torch.zeros_like(hidden[0])
        for t in range(len(gates) - 1, -1, -1):
            at_hidden += out[t]
            if self._relu:
                _relu_backward(at_hidden, gates[t], 0, grad_input=found[t])
            else:
                _tanh_backward(at_hidden, gates[t], grad_input=found[t])
            torch.mm(found[t], weight, out=at_hidden)
        return found, at_hidden


def _tanh_(values: Tensor) -> Tensor:
    """In place, by way of the sigmoid: on a CPU several times faster than torch's tanh, right to the precision's last digit beside 1."""
    return values.mul_(2).sigmoid_().mul_(2).sub_(1)


def cell_of(layer: nn.RNNBase) -> Cell:
    if isinstance(layer, nn.LSTM):
        return Lstm()
    return Gru() if isinstance(layer, nn.GRU) else Simple(str(layer.nonlinearity))


class Weights(NamedTuple):
    """Of one of the stacked layers, in the order of the cell's columns, without gradient."""

    inputs: Tensor
    hidden: Tensor
    bias: Tensor
    """(columns x hidden,): zeros where the layer has none."""

    @classmethod
    def of(cls, layer: nn.RNNBase, depth: int, cell: Cell) -> Weights:
        own = {name: getattr(layer, f"{name}_l{depth}").detach() for name in ("weight_ih", "weight_hh")}
        size = layer.hidden_size
        bias = own["weight_hh"].new_zeros(cell.columns * size)
        for name, side in (("bias_ih", cell.inputs), ("bias_hh", cell.hidden)) if layer.bias else ():
            bias[side.columns(size)] += side.taken(getattr(layer, f"{name}_l{depth}").detach())
        return cls(cell.inputs.taken(own["weight_ih"]), cell.hidden.taken(own["weight_hh"]), bias)


class Sequence(torch.autograd.Function):
    """One of the stacked layers over all steps: hidden states and, of an LSTM, the last cells."""

    @staticmethod
    def forward(
        ctx: Any, cell: Cell, weights: Weights, before: list[Tensor], values: Tensor, probe: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """`values`: (steps, records, inputs), contiguous; `state`: (records, hidden) each; `before` takes up the hidden state before
        each step, (steps, records, hidden). `probe`: (records, steps, columns x hidden), zeros, which need no adding."""
        steps, records, _ = values.shape
        size = state[0].shape[1]
        hidden = values.new_empty(steps + 1, records, size)
        hidden[0] = state[0]
        gates = hidden[1:] if cell.columns == 1 else values.new_empty(steps, records, cell.columns * size)
        read = cell.inputs.columns(size)
        gates[:, :, read.stop :] = weights.bias[read.stop :]
        torch.addmm(weights.bias[read], values.flatten(0, 1), weights.inputs.T, out=gates.flatten(0, 1)[:, read])
        beside = cell.forward(gates, hidden, weights.hidden, state)
        before.append(hidden[:-1])
        ctx.cell, ctx.read = cell, read
        ctx.save_for_backward(weights.inputs, weights.hidden, gates, hidden, *beside)
        return (hidden[1:], *(cells[-1] for cells in beside[:1]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out: Tensor, *end: Tensor) -> tuple[Tensor | None, ...]:
        across, weight, *kept = ctx.saved_tensors
        found, *state = ctx.cell.backward(tuple(kept), weight, out, end)
        values = None
        if ctx.needs_input_grad[3]:
            values = (found.flatten(0, 1)[:, ctx.read] @ across).unflatten(0, found.shape[:2])
        return None, None, None, values, found.transpose(0, 1), *state
