"""What a layer's weights owe to each record, from what the layer read and the gradient at what it gave.

A rule has two answers for one kind of layer: the squared norm of every record's gradient, and the sum over records of factor
times gradient. Neither needs one gradient per record where a product of small matrices will do (Goodfellow 2015, arXiv
1510.01799; Li et al. 2022, arXiv 2110.05679; Bu et al. 2023, arXiv 2210.00038); per layer the cheaper of the Gram matrices over
positions and the gradients themselves is taken. For positions t, inputs a_t and gradients g_t the gradient of a weight is
sum_t g_t a_t^T, its squared norm sum_{t,u} (g_t . g_u)(a_t . a_u).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from .layers import MaskedLinear

ROUNDING = 16.0
"""Errors of a sum of products, in units of the last place of the sum of their sizes."""


class Use(NamedTuple):
    """One use of a layer's weights: what they were applied to, and the gradient of the losses at what came out.

    Where a loss contains a gradient of its own network (a slope that is penalised), a linear map's weights are used once more,
    transposed, on the way back. What they owe for that has the same form with the roles changed: `gradient` is what they were
    applied to, `inputs` the gradient at what came out. A bias has no part in it.
    """

    inputs: Tensor
    gradient: Tensor
    transposed: bool = False


@dataclass(frozen=True)
class Rule:
    """Both answers for one kind of layer, which may have been used several times by each record's loss."""

    squares: Callable[[Any, Sequence[Any]], Tensor]
    """(records,): squared norm of the gradient of all the layer's trained weights together, over all uses."""
    weighted: Callable[[Any, Any, Tensor], dict[str, Tensor]]
    """By parameter name the sum over records of factor x gradient, of one use; the last argument holds the factors, (records,)."""
    linear: bool = False
    """A linear map, whose transposed use the rule knows too."""


def rule_of(layer: nn.Module) -> Rule | None:
    """None where only Opacus knows the layer. A subclass that computes what its parent computes has its parent's rule."""
    kind = next((kind for kind in RULES if isinstance(layer, kind) and type(layer).forward is kind.forward), None)
    if kind is None or not _covered(layer):
        return None
    return RULES[kind]


def _covered(layer: Any) -> bool:
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)):
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.Embedding):
        return layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse and layer.padding_idx is None
    return True


def _positions(values: Tensor) -> Tensor:
    """(records, ..., width) -> (records, positions, width)."""
    return values.reshape(len(values), -1, values.shape[-1])


def _outer_squares(inputs: Tensor, gradients: Tensor) -> Tensor:
    """(records,): squared norm of sum_t g_t a_t^T; (records, positions, width) each."""
    positions, read, given = inputs.shape[1], inputs.shape[2], gradients.shape[2]
    if positions == 1:
        return inputs[:, 0].square().sum(1) * gradients[:, 0].square().sum(1)
    if positions * (read + given) <= read * given:
        squares = (torch.bmm(inputs, inputs.mT) * torch.bmm(gradients, gradients.mT)).sum((1, 2))
        return _not_below(squares, (inputs.norm(dim=2) * gradients.norm(dim=2)).sum(1))
    return torch.bmm(gradients.mT, inputs).square().sum((1, 2))


def _not_below(squares: Tensor, most: Tensor) -> Tensor:
    """Squared norms by Gram matrices, made too large rather than too small: where the parts of a record's gradient cancel, rounding
    errors as large as theirs remain, and a norm that came out too small would let the record past the clip. `most`: the parts' norms,
    summed."""
    return squares.clamp_min(0) + ROUNDING * torch.finfo(squares.dtype).eps * most.square()


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def _bias_squares(layer: Any, gradients: Sequence[Tensor]) -> Tensor | float:
    """`gradients`: (records, positions, outputs) of every use that had a bias."""
    if layer.bias is None or not gradients:
        return 0.0
    return sum((part.sum(1) for part in gradients[1:]), gradients[0].sum(1)).square().sum(1)


def _linear_squares(layer: nn.Linear, uses: Sequence[Use]) -> Tensor:
    inputs, gradients = _joined([_positions(use.inputs) for use in uses]), _joined([_positions(use.gradient) for use in uses])
    return _outer_squares(inputs, gradients) + _bias_squares(layer, [_positions(use.gradient) for use in uses if not use.transposed])


def _linear_weighted(layer: nn.Linear, use: Use, factors: Tensor) -> dict[str, Tensor]:
    scaled = _positions(use.gradient) * factors[:, None, None]
    flat = scaled.reshape(-1, scaled.shape[-1])
    found = {"weight": flat.T @ use.inputs.reshape(-1, use.inputs.shape[-1])}
    return found | ({"bias": flat.sum(0)} if layer.bias is not None and not use.transposed else {})


def _masked_squares(layer: MaskedLinear, uses: Sequence[Use]) -> Tensor:
    """Of one vector per record: g^2 M a^2, by the few different rows of the mask; of several the gradient itself."""
    if len(uses) == 1 and uses[0].inputs.dim() == 2:
        squares = uses[0].gradient.square()
        by_kind = squares.new_zeros(len(squares), len(layer.kinds)).index_add_(1, layer.kind_of, squares)
        total = ((by_kind @ layer.kinds) * uses[0].inputs.square()).sum(1)
        return total + squares.sum(1) if layer.bias is not None else total
    inputs, gradients = _joined([_positions(use.inputs) for use in uses]), _joined([_positions(use.gradient) for use in uses])
    return (torch.bmm(gradients.mT, inputs) * layer.mask).square().sum((1, 2)) + _bias_squares(layer, [gradients])


def _masked_weighted(layer: MaskedLinear, use: Use, factors: Tensor) -> dict[str, Tensor]:
    found = _linear_weighted(layer, use, factors)
    return found | {"weight": found["weight"] * layer.mask}


def _embedding_squares(layer: nn.Embedding, uses: Sequence[Use]) -> Tensor:
    """Rows add up where an index repeats: sum over pairs of positions with the same index of g_t . g_u."""
    indices = _joined([use.inputs.reshape(len(use.inputs), -1) for use in uses])
    gradients = _joined([_positions(use.gradient) for use in uses])
    same = (indices[:, :, None] == indices[:, None, :]).to(gradients)
    return _not_below((torch.bmm(gradients, gradients.mT) * same).sum((1, 2)), gradients.norm(dim=2).sum(1))


def _embedding_weighted(layer: nn.Embedding, use: Use, factors: Tensor) -> dict[str, Tensor]:
    scaled = (_positions(use.gradient) * factors[:, None, None]).reshape(-1, use.gradient.shape[-1])
    return {"weight": torch.zeros_like(layer.weight).index_add_(0, use.inputs.reshape(-1), scaled.to(layer.weight))}


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


def _places(values: Tensor) -> Tensor:
    """(records, channels, ...) -> (records, places, channels)."""
    return values.flatten(2).mT


def _conv_squares(layer: Any, uses: Sequence[Use]) -> Tensor:
    gradients = [_places(use.gradient) for use in uses]
    total = _outer_squares(_joined([_patches(layer, use.inputs) for use in uses]), _joined(gradients))
    return total + _bias_squares(layer, [part for part, use in zip(gradients, uses, strict=True) if not use.transposed])


def _conv_weighted(layer: Any, use: Use, factors: Tensor) -> dict[str, Tensor]:
    scaled = _scaled(use.gradient, factors)
    found = {"weight": _kernel(layer, use.inputs, scaled)}
    return found | ({"bias": scaled.flatten(2).sum((0, 2))} if layer.bias is not None and not use.transposed else {})


def _transposed_squares(layer: Any, uses: Sequence[Use]) -> Tensor:
    """A transposed convolution is the backward pass of one that reads the gradients: the roles change places."""
    total = _outer_squares(_joined([_patches(layer, use.gradient) for use in uses]), _joined([_places(use.inputs) for use in uses]))
    return total + _bias_squares(layer, [_places(use.gradient) for use in uses])


def _transposed_weighted(layer: Any, use: Use, factors: Tensor) -> dict[str, Tensor]:
    scaled = _scaled(use.gradient, factors)
    found = {"weight": _kernel(layer, scaled, use.inputs)}
    return found | ({"bias": scaled.flatten(2).sum((0, 2))} if layer.bias is not None else {})


def _scaled(gradient: Tensor, factors: Tensor) -> Tensor:
    return gradient * factors.reshape(-1, *[1] * (gradient.dim() - 1))


def _kernel(layer: Any, read: Tensor, given: Tensor) -> Tensor:
    """The gradient of a convolution's kernel, summed over records, from what it read and the gradient at what it gave."""
    shape = (layer.weight.shape[0], layer.weight.shape[1], *_two(layer.kernel_size))
    stride, padding, dilation = _two(layer.stride), _flat(layer.padding), _two(layer.dilation)
    weight: Tensor = conv2d_weight(_plane(read), shape, _plane(given), stride, padding, dilation)
    return weight.reshape(layer.weight.shape)


def _normalised(layer: Any, inputs: Tensor) -> Tensor:
    """What the layer's weights multiply."""
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(inputs, layer.num_groups, eps=layer.eps)
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    return F.rms_norm(inputs, layer.normalized_shape, eps=layer.eps)


def _affine_gradients(layer: Any, use: Use) -> dict[str, Tensor]:
    """(records, weights): few numbers per record, so the gradients themselves."""
    gradients, products = use.gradient, use.gradient * _normalised(layer, use.inputs)
    if isinstance(layer, nn.GroupNorm):
        found = {name: value.reshape(*value.shape[:2], -1).sum(2) for name, value in (("weight", products), ("bias", gradients))}
    else:
        width = len(layer.normalized_shape)
        kept = gradients.shape[gradients.dim() - width :]
        found = {name: value.reshape(len(value), -1, *kept).sum(1) for name, value in (("weight", products), ("bias", gradients))}
    return {name: value for name, value in found.items() if getattr(layer, name, None) is not None}


def _affine_squares(layer: Any, uses: Sequence[Use]) -> Tensor:
    found = [_affine_gradients(layer, use) for use in uses]
    totals = (sum((one[name] for one in found[1:]), first) for name, first in found[0].items())
    return sum((total.flatten(1).square().sum(1) for total in totals), uses[0].gradient.new_zeros(len(uses[0].gradient)))


def _affine_weighted(layer: Any, use: Use, factors: Tensor) -> dict[str, Tensor]:
    return {name: torch.tensordot(factors, value, dims=1) for name, value in _affine_gradients(layer, use).items()}


_CONVOLUTION = Rule(_conv_squares, _conv_weighted, linear=True)
_TRANSPOSED = Rule(_transposed_squares, _transposed_weighted)
_AFFINE = Rule(_affine_squares, _affine_weighted)
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: Rule(_linear_squares, _linear_weighted, linear=True),
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
