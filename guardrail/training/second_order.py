"""Linear maps that tell when their weights are used on the way back, for losses that contain a gradient of their own network.

WGAN-GP penalises the slope of the critic at a point beside each record (Gulrajani et al. 2017, arXiv 1704.00028). The slope is
computed by a backward pass through the critic's weights, so the penalty owes to them there as well, and what a hook notes on
the way forward is not all. While `told` lasts, a layer computes the same as ever, by functions whose backward passes are noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv1d_input, conv2d_input

Told = Callable[[nn.Module, Tensor, Tensor, bool], None]
"""Layer, what its weights were applied to, what came out, and whether they were used transposed."""


@contextmanager
def told(layers: Sequence[nn.Module], tell: Told) -> Iterator[None]:
    """`layers`: of nn.Linear, nn.Conv1d, nn.Conv2d. Tells of every use within, on the way there and on the way back."""
    for layer in layers:
        layer.forward = _noted(layer, tell)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _noted(layer: Any, tell: Told) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        y: Tensor = _Forth.apply(x, layer.weight, layer, tell)  # type: ignore[no-untyped-call]
        tell(layer, x.detach(), y, False)
        return y

    return forward


def _there(layer: Any, x: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(x, layer.weight, layer.bias)
    convolve = nn.functional.conv1d if isinstance(layer, nn.Conv1d) else nn.functional.conv2d
    return convolve(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation)


def _without_bias(layer: Any, x: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(x, layer.weight)
    convolve = nn.functional.conv1d if isinstance(layer, nn.Conv1d) else nn.functional.conv2d
    return convolve(x, layer.weight, None, layer.stride, layer.padding, layer.dilation)


def _back(layer: Any, gradient: Tensor, shape: torch.Size) -> Tensor:
    """The transposed map: from the gradient at the output to the one at an input of this shape."""
    if isinstance(layer, nn.Linear):
        return gradient @ layer.weight
    transposed = conv1d_input if isinstance(layer, nn.Conv1d) else conv2d_input
    found: Tensor = transposed(shape, layer.weight, gradient, layer.stride, layer.padding, layer.dilation)  # type: ignore[no-untyped-call]
    return found


class _Forth(torch.autograd.Function):
    """y = W x + b. Owes W and b nothing: that is computed from what was told."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, layer: Any, tell: Told) -> Tensor:
        ctx.layer, ctx.tell, ctx.shape = layer, tell, x.shape
        return _there(layer, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        (gradient,) = gradients
        if not torch.is_grad_enabled():  # the last way back: no loss contains what comes out
            return _back(ctx.layer, gradient, ctx.shape), None, None, None
        found: Tensor = _Back.apply(gradient, ctx.layer.weight, ctx.layer, ctx.shape)  # type: ignore[no-untyped-call]
        ctx.tell(ctx.layer, gradient.detach(), found, True)
        return found, None, None, None


class _Back(torch.autograd.Function):
    """z = W^T g, and its own way back, W times the gradient at z. Owes W nothing either."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, layer: Any, shape: torch.Size) -> Tensor:
        ctx.layer = layer
        return _back(layer, gradient, shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None]:
        return (_without_bias(ctx.layer, gradients[0]) if ctx.needs_input_grad[0] else None), None, None, None
