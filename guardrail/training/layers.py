"""Layers of ours whose per-record gradient norms are known in closed form (ghost clipping, Li et al. 2022, arXiv 2110.05679).

For a masked linear layer on one vector per record the gradient of the weight is (g a^T) * M, so its squared norm is
g^2 M a^2: a small product, where the gradient itself would be outputs x inputs numbers for every record.
"""

from __future__ import annotations

import torch
from opacus.grad_sample import register_grad_sampler, register_norm_sampler
from torch import Tensor, nn
from torch.nn import functional as F


class MaskedLinear(nn.Linear):
    """y = x (W * M)^T + b, with a fixed 0/1 mask M of shape (outputs, inputs)."""

    weight: nn.Parameter
    mask: Tensor
    kinds: Tensor
    of_kind: Tensor

    def __init__(self, mask: Tensor, *, bias: bool = True) -> None:
        super().__init__(mask.shape[1], mask.shape[0], bias=bias)
        self.register_buffer("mask", mask.to(torch.get_default_dtype()), persistent=False)
        # Units of one column read the same columns, so the mask has few different rows: norms need only those.
        kinds, kind_of = torch.unique(self.mask, dim=0, return_inverse=True)
        self.register_buffer("kinds", kinds, persistent=False)  # (kinds, inputs)
        self.register_buffer("of_kind", F.one_hot(kind_of, len(kinds)).T.to(self.mask), persistent=False)  # (kinds, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)

    def masked_products(self, given: Tensor, read: Tensor) -> Tensor:
        """(records,): given^T M read, of (records, outputs) and (records, inputs)."""
        return ((self.of_kind @ given.T) * (self.kinds @ read.T)).sum(0)


@register_norm_sampler(MaskedLinear)  # type: ignore[untyped-decorator]
def masked_linear_norms(layer: MaskedLinear, activations: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    """Per parameter the gradient norm of every record, (records,). One vector per record only."""
    inputs = activations[0].to(backprops.dtype)
    if backprops.dim() != 2:
        raise ValueError(f"MaskedLinear knows the norms of (records, width) inputs, not of {tuple(backprops.shape)}")
    squares = backprops.square()
    norms: dict[nn.Parameter, Tensor] = {layer.weight: layer.masked_products(squares, inputs.square()).sqrt()}
    if layer.bias is not None:
        norms[layer.bias] = squares.sum(1).sqrt()
    return norms


@register_grad_sampler(MaskedLinear)  # type: ignore[untyped-decorator]
def masked_linear_gradients(layer: MaskedLinear, activations: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    """Per parameter the gradient of every record, (records, ...): the slow truth."""
    gradients: dict[nn.Parameter, Tensor] = {layer.weight: torch.einsum("ni,nj->nij", backprops, activations[0]) * layer.mask}
    if layer.bias is not None:
        gradients[layer.bias] = backprops
    return gradients
