"""What a layer's weights owe to each record, from what the layer read and the gradient at what it gave.

A rule has two answers for one kind of layer: the squared norm of every record's gradient, and the sum over records of factor
times gradient. For positions t, inputs a_t and gradients g_t the gradient of a weight is sum_t g_t a_t^T, its squared norm
sum_{t,u} (g_t . g_u)(a_t . a_u). So neither answer needs one gradient per record (Goodfellow 2015, arXiv 1510.01799; Li et al.
2022, arXiv 2110.05679; Bu et al. 2023, arXiv 2210.00038); where the gradients are no more numbers than the inputs
and gradients they come from, they are the cheaper way to both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from .layers import MaskedLinear

BLOCK = 2**18
"""Numbers of patches that are made at once."""
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


class Owed(NamedTuple):
    """What all the layer's trained weights owe together, over all uses."""

    squares: Tensor
    """(records,): squared norm of each record's gradient."""
    weighted: Callable[[Tensor], dict[str, Tensor]]
    """From factors, (records,), by parameter name the sum over records of factor x gradient."""


Rule = Callable[[Any, Sequence[Any]], Owed]
"""From a layer and its uses, of which a record's loss may have several."""


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


Weight = tuple[Tensor, Callable[[Tensor], Tensor]]
"""Of one weight the squared norms, (records,), and from factors the weighted sum."""


def outer(inputs: Tensor, gradients: Tensor) -> Weight:
    """Of the weight with gradient sum_t g_t a_t^T, outputs x inputs; (records, positions, width) each."""
    if _instantiated(inputs.shape[1], inputs.shape[2], gradients.shape[2]):
        own = torch.bmm(gradients.mT, inputs)
        return _square_sum(own), lambda factors: torch.tensordot(factors, own, dims=1)
    single = inputs.shape[1] == 1
    squares = _square_sum(inputs) * _square_sum(gradients) if single else _gram_squares(inputs, gradients)
    return squares, lambda factors: _weighted(inputs, gradients, factors)


def _weighted(inputs: Tensor, gradients: Tensor, factors: Tensor) -> Tensor:
    """The sum over records and positions of factor x g_t a_t^T; the factors go into the narrower of the two."""
    scales, narrower = factors[:, None, None], inputs.shape[2] < gradients.shape[2]
    read, given = (inputs * scales, gradients) if narrower else (inputs, gradients * scales)
    return _flat(given, like=inputs).T @ _flat(read, like=inputs)


def _instantiated(positions: int, read: int, given: int) -> bool:
    """Whether a gradient per record is no more numbers than what it comes from."""
    return positions > 1 and read * given <= positions * (read + given)


def _flat(values: Tensor, like: Tensor) -> Tensor:
    """(records, positions, width) -> (records x positions, width), in the order in which those of `like` lie in memory."""
    return (values if like.stride(0) >= like.stride(1) else values.transpose(0, 1)).flatten(0, 1)


def _gram_squares(inputs: Tensor, gradients: Tensor) -> Tensor:
    return _pair_squares(torch.bmm(inputs, inputs.mT), gradients)


def _pair_squares(read: Tensor, gradients: Tensor) -> Tensor:
    """(records,): sum over pairs of positions of (g_t . g_u) x `read`; made too large rather than too small. Where the parts of a
    record's gradient cancel, rounding errors as large as theirs remain, and a norm that came out too small would let the record past
    the clip."""
    given = torch.bmm(gradients, gradients.mT)
    parts = (_diagonal(read) * _diagonal(given)).sqrt().sum(1)
    return (read * given).sum((1, 2)).clamp_min(0) + ROUNDING * torch.finfo(given.dtype).eps * parts.square()


def _diagonal(pairs: Tensor) -> Tensor:
    return pairs.diagonal(dim1=1, dim2=2)


def _square_sum(values: Tensor) -> Tensor:
    """(records, ...) -> (records,), without a copy of what is summed."""
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return norms.square()


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def _with_bias(layer: Any, weight: Weight, gradients: Sequence[Tensor]) -> Owed:
    """`gradients`: (records, positions, outputs) of every use that had a bias."""
    squares, weighted = weight
    if layer.bias is None or not gradients:
        return Owed(squares, lambda factors: {"weight": weighted(factors)})
    own = sum((_over_positions(part) for part in gradients[1:]), _over_positions(gradients[0]))
    return Owed(squares + _square_sum(own), lambda factors: {"weight": weighted(factors), "bias": factors @ own})


def _over_positions(values: Tensor) -> Tensor:
    """(records, positions, width) -> (records, width); a sum over one position would be a copy."""
    return values[:, 0] if values.shape[1] == 1 else values.sum(1)


def _linear(layer: nn.Linear, uses: Sequence[Use]) -> Owed:
    gradients = [_positions(use.gradient) for use in uses]
    weight = outer(_joined([_positions(use.inputs) for use in uses]), _joined(gradients))
    return _with_bias(layer, weight, [part for part, use in zip(gradients, uses, strict=True) if not use.transposed])


def _masked(layer: MaskedLinear, uses: Sequence[Use]) -> Owed:
    """Of one vector per record: g^2 M a^2, by the few different rows of the mask; of several the gradient itself."""
    gradients = [_positions(use.gradient) for use in uses]
    inputs, given = _joined([_positions(use.inputs) for use in uses]), _joined(gradients)
    if inputs.shape[1] > 1:
        own = torch.bmm(given.mT, inputs).mul_(layer.mask)
        return _with_bias(layer, (_square_sum(own), lambda factors: torch.tensordot(factors, own, dims=1)), gradients)
    squares = layer.masked_products(given[:, 0].square(), inputs[:, 0].square())
    return _with_bias(layer, (squares, lambda factors: _weighted(inputs, given, factors).mul_(layer.mask)), gradients)


def _embedding(layer: nn.Embedding, uses: Sequence[Use]) -> Owed:
    """Rows add up where an index repeats: sum over pairs of positions with the same index of g_t . g_u."""
    indices = _joined([use.inputs.reshape(len(use.inputs), -1) for use in uses])
    gradients = _joined([_positions(use.gradient) for use in uses])
    same = (indices[:, :, None] == indices[:, None, :]).to(gradients)

    def weighted(factors: Tensor) -> dict[str, Tensor]:
        scaled = (gradients * factors[:, None, None]).flatten(0, 1)
        return {"weight": torch.zeros_like(layer.weight).index_add_(0, indices.flatten(), scaled.to(layer.weight))}

    return Owed(_pair_squares(same, gradients), weighted)


def _two(values: Any, absent: int = 1) -> tuple[int, int]:
    """Settings of a convolution over one dimension as those of one over two, the first of size 1."""
    values = tuple(values)
    return (absent, values[0]) if len(values) == 1 else (values[0], values[1])


def _plane(values: Tensor) -> Tensor:
    return values.unsqueeze(2) if values.dim() == 3 else values


def _patches(layer: Any, values: Tensor) -> Tensor:
    """(records, places, kernel x channels): what the kernel sees at each place of `values`, (records, channels, ...)."""
    kernel, stride, dilation = _two(layer.kernel_size), _two(layer.stride), _two(layer.dilation)
    above, beside = _two(layer.padding, 0)
    padded = F.pad(_plane(values).permute(0, 2, 3, 1), (0, 0, beside, beside, above, above)).contiguous()
    places = [(size - d * (k - 1) - 1) // s + 1 for size, k, s, d in zip(padded.shape[1:3], kernel, stride, dilation, strict=True)]
    record, row, column, channel = padded.stride()
    steps = (record, row * stride[0], column * stride[1], row * dilation[0], column * dilation[1], channel)
    seen = padded.as_strided((len(values), *places, *kernel, padded.shape[3]), steps)
    return seen.reshape(len(values), places[0] * places[1], -1)


def _places(values: Tensor) -> Tensor:
    """(records, channels, ...) -> (records, places, channels)."""
    return values.flatten(2).mT


def _kernel(layer: Any, pairs: Sequence[tuple[Tensor, Tensor]]) -> Weight:
    """`pairs`: of every use what the kernel slides over, and what stands at its places.

    A few records at a time: patches are many numbers, and asking for memory costs more than filling it.
    """
    width, channels = math.prod(layer.kernel_size) * pairs[0][0].shape[1], pairs[0][1].shape[1]
    places = sum(math.prod(at.shape[2:]) for _, at in pairs)
    few = max(1, BLOCK // (places * width))
    blocks = zip(*(zip(over.split(few), at.split(few), strict=True) for over, at in pairs), strict=True)
    seen = ((_joined([_patches(layer, over) for over, _ in part]), _joined([_places(at) for _, at in part])) for part in blocks)
    if _instantiated(places, width, channels):
        own = torch.cat([torch.bmm(at.mT, patches) for patches, at in seen])
        return _square_sum(own), lambda factors: _as_kernel(layer, torch.tensordot(factors, own, dims=1))
    squares = torch.cat([_gram_squares(patches, at) for patches, at in seen])
    return squares, lambda factors: torch.stack([_correlated(layer, over, _scaled(at, factors)) for over, at in pairs]).sum(0)


def _as_kernel(layer: Any, weight: Tensor) -> Tensor:
    """(channels at the places, kernel x channels slid over) -> as the layer has it."""
    kernel = weight.reshape(len(weight), *_two(layer.kernel_size), -1)
    return kernel.permute(0, 3, 1, 2).reshape(layer.weight.shape)


def _correlated(layer: Any, over: Tensor, at: Tensor) -> Tensor:
    """The gradient of a convolution's kernel, summed over records."""
    shape = (layer.weight.shape[0], layer.weight.shape[1], *_two(layer.kernel_size))
    stride, padding, dilation = _two(layer.stride), _two(layer.padding, 0), _two(layer.dilation)
    weight: Tensor = conv2d_weight(_plane(over), shape, _plane(at), stride, padding, dilation)
    return weight.reshape(layer.weight.shape)


def _scaled(values: Tensor, factors: Tensor) -> Tensor:
    return values * factors.reshape(-1, *[1] * (values.dim() - 1))


def _convolution(layer: Any, uses: Sequence[Use]) -> Owed:
    weight = _kernel(layer, [(use.inputs, use.gradient) for use in uses])
    return _with_bias(layer, weight, [_places(use.gradient) for use in uses if not use.transposed])


def _transposed(layer: Any, uses: Sequence[Use]) -> Owed:
    """A transposed convolution is the backward pass of one that reads the gradients: the roles change places."""
    weight = _kernel(layer, [(use.gradient, use.inputs) for use in uses])
    return _with_bias(layer, weight, [_places(use.gradient) for use in uses])


def _affine(layer: Any, uses: Sequence[Use]) -> Owed:
    """(records, weights) are few numbers: the gradients themselves."""
    found = [_affine_gradients(layer, use) for use in uses]
    own = {name: sum((one[name] for one in found[1:]), first) for name, first in found[0].items()}
    squares = sum((_square_sum(gradient) for gradient in own.values()), uses[0].gradient.new_zeros(len(uses[0].gradient)))
    return Owed(squares, lambda factors: {name: torch.tensordot(factors, gradient, dims=1) for name, gradient in own.items()})


def _affine_gradients(layer: Any, use: Use) -> dict[str, Tensor]:
    gradients, products = use.gradient, use.gradient * _normalised(layer, use.inputs)
    if isinstance(layer, nn.GroupNorm):
        found = {name: value.reshape(*value.shape[:2], -1).sum(2) for name, value in (("weight", products), ("bias", gradients))}
    else:
        width = len(layer.normalized_shape)
        kept = gradients.shape[gradients.dim() - width :]
        found = {name: value.reshape(len(value), -1, *kept).sum(1) for name, value in (("weight", products), ("bias", gradients))}
    return {name: value for name, value in found.items() if getattr(layer, name, None) is not None}


def _normalised(layer: Any, inputs: Tensor) -> Tensor:
    """What the layer's weights multiply."""
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(inputs, layer.num_groups, eps=layer.eps)
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    return F.rms_norm(inputs, layer.normalized_shape, eps=layer.eps)


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    MaskedLinear: _masked,
    nn.Embedding: _embedding,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.ConvTranspose1d: _transposed,
    nn.ConvTranspose2d: _transposed,
    nn.GroupNorm: _affine,
    nn.LayerNorm: _affine,
    nn.RMSNorm: _affine,
}
LINEAR_MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Their rules know a transposed use too."""
