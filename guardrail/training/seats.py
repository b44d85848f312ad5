"""Where a layer can be handed a gradient of our making: one that lies in a single entry of a single weight.

What a layer's rule reads (`layer_rules.Use`) is made up so that the gradient that follows from it is known beforehand. A canary
so measured and clipped goes through the very arithmetic that measures and clips the records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import recurrent_rules
from .layer_rules import Use
from .layers import MaskedLinear
from .recurrent_rules import Gates
from .recurrent_steps import cell_of

LOUD = 1000.0
"""Norm of a gradient of our making, in clips: so much would come through where a clip is missing. What falls to a bias beside a
weight is one clip of it, a thousandth once it is clipped."""


class Seat(NamedTuple):
    parameter: str
    entries: Tensor
    """(entries,): flat indices of those that a gradient can reach."""
    like: Callable[[Sequence[Any]], Any | None]
    """From a layer's uses the one whose shapes the made-up use takes; None where none fits."""
    use: Callable[[Any, tuple[Tensor, ...], float], Any]
    """From that use, indices into the parameter, (rows,) each, and a clip: a use with one gradient a row."""


def seats_of(layer: nn.Module) -> list[Seat]:
    """None for a layer without a rule, and for entries that share every gradient with others (the biases of recurrent layers)."""
    if recurrent_rules.supported(layer):
        return _recurrent(layer)
    makers = next((makers for kind, makers in _MAKERS.items() if isinstance(layer, kind)), {})
    found = []
    for name, make in makers.items():
        weight = getattr(layer, name, None)
        if weight is not None and weight.requires_grad:
            reached = layer.mask.flatten().nonzero().squeeze(1) if isinstance(layer, MaskedLinear) and name == "weight" else None
            entries = torch.arange(weight.numel()) if reached is None else reached.cpu()
            found.append(Seat(name, entries, _forward_use, _bound(make, layer)))
    return found


def _bound(make: Callable[..., Use], layer: nn.Module) -> Callable[[Any, tuple[Tensor, ...], float], Use]:
    return lambda use, at, clip: make(layer, use, at, clip)


def _forward_use(uses: Sequence[Any]) -> Use | None:
    return next((use for use in uses if not use.transposed), None)


def _only(values: Tensor, to: Any, *index: Any) -> Tensor:
    """Shaped like `values`, a row for each of the index's entries, and nothing in it but `to` there."""
    rows = next(len(part) for part in (*index, to) if isinstance(part, Tensor))
    found = _blank(values, rows)
    found[(torch.arange(rows, device=values.device), *index)] = to
    return found


def _blank(values: Tensor, rows: int) -> Tensor:
    return values.new_zeros(rows, *values.shape[1:])


def _first(values: Tensor, width: int, to: Any, *index: Any) -> Tensor:
    """`to` at the first position, where the last `width` dimensions are one position's."""
    return _only(_short(values, width), to, *(0,) * (values.dim() - 1 - width), *index)


def _short(values: Tensor, width: int) -> Tensor:
    """Two positions are a sequence as well as many, and cost less."""
    return values[(slice(None), *(slice(2),) * (values.dim() - 1 - width))]


def _linear_weight(layer: nn.Linear, use: Use, at: tuple[Tensor, ...], clip: float) -> Use:
    outputs, inputs = at
    return Use(_first(use.inputs, 1, LOUD, inputs), _first(use.gradient, 1, clip, outputs))


def _last_bias(layer: nn.Module, use: Use, at: tuple[Tensor, ...], clip: float) -> Use:
    """Of layers whose bias lies along the last dimensions of what they give."""
    width = len(at)
    return Use(_blank(_short(use.inputs, width), len(at[0])), _first(use.gradient, width, LOUD * clip, *at))


def _channel_bias(layer: nn.Module, use: Use, at: tuple[Tensor, ...], clip: float) -> Use:
    """Of layers whose bias lies along the dimension behind the records."""
    return Use(_blank(use.inputs, len(at[0])), _only(use.gradient, LOUD * clip, at[0], *(0,) * (use.gradient.dim() - 2)))


def _embedding(layer: nn.Embedding, use: Use, at: tuple[Tensor, ...], clip: float) -> Use:
    tokens, width = at
    return Use(_first(use.inputs, 0, tokens), _first(use.gradient, 1, LOUD * clip, width))


def _convolution(layer: Any, use: Use, at: tuple[Tensor, ...], clip: float) -> Use:
    outputs, inputs, *kernel = at
    near, far, reached = _reach(layer, kernel, few=use.gradient.shape[2:], many=use.inputs.shape[2:])
    return Use(_only(use.inputs, LOUD * reached.to(use.inputs), inputs, *far), _only(use.gradient, clip, outputs, *near))


def _transposed_convolution(layer: Any, use: Use, at: tuple[Tensor, ...], clip: float) -> Use:
    inputs, outputs, *kernel = at
    near, far, reached = _reach(layer, kernel, few=use.inputs.shape[2:], many=use.gradient.shape[2:])
    return Use(_only(use.inputs, LOUD * reached.to(use.inputs), inputs, *near), _only(use.gradient, clip, outputs, *far))


def _reach(layer: Any, kernel: Sequence[Tensor], *, few: Sequence[int], many: Sequence[int]) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Per dimension a place of the kernel, p, and the place of the plane that its entry meets there, p stride - padding + k dilation;
    and whether both exist. A row without them stays without an input: a canary that says nothing, which is the careful side."""
    near, far = [], []
    reached = torch.ones_like(kernel[0], dtype=torch.bool)
    for k, stride, padding, dilation, fewer, more in zip(kernel, layer.stride, layer.padding, layer.dilation, few, many, strict=True):
        step = ((padding - k * dilation).clamp(min=0) + stride - 1) // stride
        place = step * stride - padding + k * dilation
        reached &= (step < fewer) & (place < more)
        near.append(step.clamp(max=fewer - 1))
        far.append(place.clamp(max=more - 1))
    return near, far, reached


def _rms_weight(layer: nn.RMSNorm, use: Use, at: tuple[Tensor, ...], clip: float) -> Use:
    """An input with one entry is normalised to the root of the number of entries."""
    size = LOUD * clip / math.sqrt(math.prod(layer.normalized_shape))
    return Use(_first(use.inputs, len(at), LOUD, *at), _first(use.gradient, len(at), size, *at))


_MAKERS: dict[Any, dict[str, Callable[..., Use]]] = {
    nn.Linear: {"weight": _linear_weight, "bias": _last_bias},
    nn.Embedding: {"weight": _embedding},
    (nn.Conv1d, nn.Conv2d): {"weight": _convolution, "bias": _channel_bias},
    (nn.ConvTranspose1d, nn.ConvTranspose2d): {"weight": _transposed_convolution, "bias": _channel_bias},
    nn.GroupNorm: {"bias": _channel_bias},
    nn.LayerNorm: {"bias": _last_bias},
    nn.RMSNorm: {"weight": _rms_weight},
}


def _recurrent(layer: Any) -> list[Seat]:
    cell, found = cell_of(layer), []
    for depth in range(layer.num_layers):
        for side_name, side in (("ih", cell.inputs), ("hh", cell.hidden)):
            weight = getattr(layer, f"weight_{side_name}_l{depth}")
            if weight.requires_grad:
                use = _gates(layer.hidden_size, side_name, side)
                found.append(Seat(f"weight_{side_name}_l{depth}", torch.arange(weight.numel()), _at_depth(depth), use))
    return found


def _at_depth(depth: int) -> Callable[[Sequence[Any]], Gates | None]:
    return lambda uses: next((use for use in uses if use.depth == depth), None)


def _gates(size: int, name: str, side: Any) -> Callable[[Any, tuple[Tensor, ...], float], Gates]:
    """`size`: of the hidden state. Rows of a weight are torch's gates, columns of the gradient the cell's own order of them."""

    def use(like: Gates, at: tuple[Tensor, ...], clip: float) -> Gates:
        outputs, read = at
        gates = torch.tensor([side.order.index(gate) for gate in range(len(side.order))], device=outputs.device)
        columns = (side.first + gates[outputs // size]) * size + outputs % size
        inputs, before = (
            _first(values, 1, LOUD, read) if own == name else _blank(_short(values, 1), len(read))
            for own, values in (("ih", like.inputs), ("hh", like.before))
        )
        return Gates(like.depth, inputs, before, _first(like.gradient, 1, clip, columns))

    return use
