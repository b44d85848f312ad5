"""Clipping in one backward pass (book-keeping: Bu, Wang, Zha and Karypis 2023, arXiv 2210.00038).

For a linear layer the gradient of a record is an outer product g a^T of the gradient at its output and its input. So one
pass that stops at the layers' outputs is enough: the norms follow from g and a, and the clipped sum is one matrix product
(f g)^T a with each record's factor f. No gradient of a weight is computed twice, none is stored per record.

Only for players whose every trainable parameter belongs to one linear layer that runs once per loss, on one vector per
record; `supports` and `Notes` check that, and everything else takes Opacus' two passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleHooksFastGradientClipping
from torch import Tensor, nn

from .contract import Player
from .layers import MaskedLinear

LINEAR = (nn.Linear, MaskedLinear)


def supports(player: Player) -> bool:
    """Every trainable parameter belongs to exactly one linear layer."""
    owners = [parameter for module in player.modules() if type(module) in LINEAR for parameter in module.parameters(recurse=False)]
    trained = [parameter for parameter in player.parameters() if parameter.requires_grad]
    return len({id(p) for p in owners}) == len(owners) and {id(p) for p in owners} >= {id(p) for p in trained}


class Notes:
    """What every linear layer of a player read and gave in one forward pass."""

    def __init__(self, player: Player) -> None:
        self._layers = [module for module in player.modules() if type(module) in LINEAR]
        self._inputs: dict[nn.Module, Tensor] = {}
        self._outputs: dict[nn.Module, Tensor] = {}
        self._gradients: tuple[Tensor, ...] = ()
        self.complete = True
        """False once a layer ran twice, not at all, or on more than one vector per record."""

    @contextmanager
    def taken(self, records: int) -> Iterator[None]:
        self._inputs, self._outputs = {}, {}

        def note(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            self.complete &= layer not in self._outputs and arguments[0].shape[:-1] == (records,)
            self._inputs[layer], self._outputs[layer] = arguments[0].detach(), output

        handles = [layer.register_forward_hook(note) for layer in self._layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self.complete &= len(self._outputs) == len(self._layers)

    def measure(self, losses: Tensor, *, keep_graph: bool = False) -> Tensor:
        """(records,): the norm of each record's whole gradient, from one backward pass that stops at the layers' outputs."""
        outputs = [self._outputs[layer] for layer in self._layers]
        # A layer that ran and was not used (no number among the columns) has no gradient to contribute.
        self._gradients = torch.autograd.grad(losses.sum(), outputs, retain_graph=keep_graph, allow_unused=True, materialize_grads=True)
        squares = torch.zeros(len(losses), device=losses.device, dtype=losses.dtype)
        for layer, gradient in zip(self._layers, self._gradients, strict=True):
            norms = GradSampleHooksFastGradientClipping.NORM_SAMPLERS[type(layer)](layer, [self._inputs[layer]], gradient)
            squares += torch.stack([norm.square() for norm in norms.values()]).sum(0)
        return squares.sqrt()

    def weighted_sum(self, factors: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """Per parameter the sum over records of factor x gradient, after `measure`."""
        sums: dict[int, Tensor] = {}
        for layer, gradient in zip(self._layers, self._gradients, strict=True):
            weighted = gradient * factors[:, None]
            weight = weighted.T @ self._inputs[layer]
            sums[id(layer.weight)] = weight * layer.mask if isinstance(layer, MaskedLinear) else weight
            if layer.bias is not None:
                sums[id(layer.bias)] = weighted.sum(0)
        return [sums[id(parameter)] for parameter in parameters]
