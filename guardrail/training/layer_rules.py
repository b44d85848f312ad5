"""What a layer's weights owe to each record, from what the layer read and the gradient at what it gave.

A rule has two answers for one kind of layer: the squared norm of every record's gradient, and the sum over records of factor
times gradient. Neither needs one gradient per record where a product of small matrices will do (Goodfellow 2015, arXiv
1510.01799; Li et al. 2022, arXiv 2110.05679; Bu et al. 2023, arXiv 2210.00038); per layer the cheaper of the Gram matrices over
positions and the gradients themselves is taken. For positions t, inputs a_t and gradients g_t the gradient of a weight is
sum_t g_t a_t^T, its squared norm sum_{t,u} (g_t . g_u)(a_t . a_u).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from .layers import MaskedLinear


@dataclass(frozen=True)
class Rule:
    """Both answers, given the layer, its input and the gradient at its output."""

    squares: Callable[[Any, Tensor, Tensor], Tensor]
    """(records,): squared norm of the gradient of all the layer's trained weights together."""
    weighted: Callable[[Any, Tensor, Tensor, Tensor], dict[str, Tensor]]
    """By parameter name the sum over records of factor x gradient; the last argument holds the factors, (records,)."""


def rule_of(layer: nn.Module) -> Rule | None:
    """None where only Opacus knows the layer."""
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)):
        return (
            RULES.get(type(layer)) if layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str) else None
        )
    if isinstance(layer, nn.Embedding):
        plain = layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse and layer.padding_idx is None
        return RULES.get(type(layer)) if plain else None
    return RULES.get(type(layer))


def _positions(values: Tensor) -> Tensor:
    """(records, ..., width) -> (records, positions, width)."""
    return values.reshape(len(values), -1, values.shape[-1])


def _outer_squares(inputs: Tensor, gradients: Tensor) -> Tensor:
    """(records,): squared norm of sum_t g_t a_t^T; (records, positions, width) each."""
    positions, read, given = inputs.shape[1], inputs.shape[2], gradients.shape[2]
    if positions == 1:
        return inputs[:, 0].square().sum(1) * gradients[:, 0].square().sum(1)
    if positions * (read + given) <= read * given:
        return (torch.bmm(inputs, inputs.mT) * torch.bmm(gradients, gradients.mT)).sum((1, 2))
    return torch.bmm(gradients.mT, inputs).square().sum((1, 2))


def _bias_squares(layer: Any, gradients: Tensor) -> Tensor | float:
    return gradients.sum(1).square().sum(1) if layer.bias is not None else 0.0


def _linear_squares(layer: nn.Linear, inputs: Tensor, gradients: Tensor) -> Tensor:
    inputs, gradients = _positions(inputs), _positions(gradients)
    return _outer_squares(inputs, gradients) + _bias_squares(layer, gradients)


def _linear_weighted(layer: nn.Linear, inputs: Tensor, gradients: Tensor, factors: Tensor) -> dict[str, Tensor]:
    scaled = _positions(gradients) * factors[:, None, None]
    flat = scaled.reshape(-1, scaled.shape[-1])
    found = {"weight": flat.T @ inputs.reshape(-1, inputs.shape[-1])}
    return found | ({"bias": flat.sum(0)} if layer.bias is not None else {})


def _masked_squares(layer: MaskedLinear, inputs: Tensor, gradients: Tensor) -> Tensor:
    """Of one vector per record: g^2 M a^2, by the few different rows of the mask; of several the gradient itself."""
    if inputs.dim() == 2:
        squares = gradients.square()
        by_kind = squares.new_zeros(len(squares), len(layer.kinds)).index_add_(1, layer.kind_of, squares)
        total = ((by_kind @ layer.kinds) * inputs.square()).sum(1)
        return total + squares.sum(1) if layer.bias is not None else total
    inputs, gradients = _positions(inputs), _positions(gradients)
    return (torch.bmm(gradients.mT, inputs) * layer.mask).square().sum((1, 2)) + _bias_squares(layer, gradients)


def _masked_weighted(layer: MaskedLinear, inputs: Tensor, gradients: Tensor, factors: Tensor) -> dict[str, Tensor]:
    found = _linear_weighted(layer, inputs, gradients, factors)
    return found | {"weight": found["weight"] * layer.mask}


def _embedding_squares(layer: nn.Embedding, indices: Tensor, gradients: Tensor) -> Tensor:
    """Rows add up where an index repeats: sum over pairs of positions with the same index of g_t . g_u."""
    indices, gradients = indices.reshape(len(indices), -1), _positions(gradients)
    same = (indices[:, :, None] == indices[:, None, :]).to(gradients)
    return (torch.bmm(gradients, gradients.mT) * same).sum((1, 2))


def _embedding_weighted(layer: nn.Embedding, indices: Tensor, gradients: Tensor, factors: Tensor) -> dict[str, Tensor]:
    scaled = (_positions(gradients) * factors[:, None, None]).reshape(-1, gradients.shape[-1])
    return {"weight": torch.zeros_like(layer.weight).index_add_(0, indices.reshape(-1), scaled.to(layer.weight))}


def _two(values: Any) -> tuple[int, int]:
    """Settings of a convolution over one dimension as those of one over two, the first of size 1."""
    values = tuple(values)
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def _flat(values: Any) -> tuple[int, int]:
    """The same for paddings, whose absence is 0."""
    values = tuple(values)
    return (0, values[0]) if len(values) == 1 else (values[0], values[1])


def _plane(values: Tensor) -> Tensor:
    return values.unsqueeze(2) if values.dim() == 3 else values


def _patches(layer: Any, values: Tensor) -> Tensor:
    """(records, places, channels x kernel): what the kernel sees at each place of `values`."""
    kernel, stride, dilation = _two(layer.kernel_size), _two(layer.stride), _two(layer.dilation)
    return F.unfold(_plane(values), kernel, dilation, _flat(layer.padding), stride).mT


def _conv_squares(layer: Any, inputs: Tensor, gradients: Tensor) -> Tensor:
    given = gradients.flatten(2).mT  # (records, places, outputs)
    return _outer_squares(_patches(layer, inputs), given) + _bias_squares(layer, given)


def _conv_weighted(layer: Any, inputs: Tensor, gradients: Tensor, factors: Tensor) -> dict[str, Tensor]:
    scaled = gradients * factors.reshape(-1, *[1] * (gradients.dim() - 1))
    shape = (layer.weight.shape[0], layer.weight.shape[1], *_two(layer.kernel_size))
    stride, padding, dilation = _two(layer.stride), _flat(layer.padding), _two(layer.dilation)
    weight = conv2d_weight(_plane(inputs), shape, _plane(scaled), stride, padding, dilation)
    found = {"weight": weight.reshape(layer.weight.shape)}
    return found | ({"bias": scaled.flatten(2).sum((0, 2))} if layer.bias is not None else {})


def _transposed_squares(layer: Any, inputs: Tensor, gradients: Tensor) -> Tensor:
    """A transposed convolution is the backward pass of one that reads the gradients: the roles change places."""
    return _outer_squares(_patches(layer, gradients), inputs.flatten(2).mT) + _bias_squares(layer, gradients.flatten(2).mT)


def _transposed_weighted(layer: Any, inputs: Tensor, gradients: Tensor, factors: Tensor) -> dict[str, Tensor]:
    scaled = gradients * factors.reshape(-1, *[1] * (gradients.dim() - 1))
    shape = (layer.weight.shape[0], layer.weight.shape[1], *_two(layer.kernel_size))
    stride, padding, dilation = _two(layer.stride), _flat(layer.padding), _two(layer.dilation)
    weight = conv2d_weight(_plane(scaled), shape, _plane(inputs), stride, padding, dilation)
    found = {"weight": weight.reshape(layer.weight.shape)}
    return found | ({"bias": scaled.flatten(2).sum((0, 2))} if layer.bias is not None else {})


def _normalised(layer: Any, inputs: Tensor) -> Tensor:
    """What the layer's weights multiply."""
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(inputs, layer.num_groups, eps=layer.eps)
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    return F.rms_norm(inputs, layer.normalized_shape, eps=layer.eps)


def _affine_gradients(layer: Any, inputs: Tensor, gradients: Tensor) -> dict[str, Tensor]:
    """(records, weights): few numbers per record, so the gradients themselves."""
    products = gradients * _normalised(layer, inputs)
    if isinstance(layer, nn.GroupNorm):
        found = {name: value.reshape(*value.shape[:2], -1).sum(2) for name, value in (("weight", products), ("bias", gradients))}
    else:
        width = len(layer.normalized_shape)
        kept = gradients.shape[gradients.dim() - width :]
        found = {name: value.reshape(len(value), -1, *kept).sum(1) for name, value in (("weight", products), ("bias", gradients))}
    return {name: value for name, value in found.items() if getattr(layer, name, None) is not None}


def _affine_squares(layer: Any, inputs: Tensor, gradients: Tensor) -> Tensor:
    found = _affine_gradients(layer, inputs, gradients).values()
    return sum((value.flatten(1).square().sum(1) for value in found), gradients.new_zeros(len(gradients)))


def _affine_weighted(layer: Any, inputs: Tensor, gradients: Tensor, factors: Tensor) -> dict[str, Tensor]:
    return {name: torch.tensordot(factors, value, dims=1) for name, value in _affine_gradients(layer, inputs, gradients).items()}


_CONVOLUTION = Rule(_conv_squares, _conv_weighted)
_TRANSPOSED = Rule(_transposed_squares, _transposed_weighted)
_AFFINE = Rule(_affine_squares, _affine_weighted)
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: Rule(_linear_squares, _linear_weighted),
    MaskedLinear: Rule(_masked_squares, _masked_weighted),
    nn.Embedding: Rule(_embedding_squares, _embedding_weighted),
    nn.Conv1d: _CONVOLUTION,
    nn.Conv2d: _CONVOLUTION,
    nn.ConvTranspose1d: _TRANSPOSED,
    nn.ConvTranspose2d: _TRANSPOSED,
    nn.GroupNorm: _AFFINE,
    nn.LayerNorm: _AFFINE,
    nn.RMSNorm: _AFFINE,
}
