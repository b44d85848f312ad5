"""Clipping in one backward pass (book-keeping: Bu, Wang, Zha and Karypis 2023, arXiv 2210.00038).

What a layer's weights owe to a record follows from what the layer read and from the gradient at what it gave (`layer_rules`).
So one pass that stops at the layers' outputs is enough: the norms first, then the clipped sum, each by a few matrix products.
No gradient of a weight is computed twice, none is stored per record.

Only for players whose every trainable parameter belongs to one layer with a rule that runs once per loss, records first;
`supports` and `Notes` check that, and everything else takes Opacus' two passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .contract import Player
from .layer_rules import Rule, rule_of


def supports(player: Player) -> bool:
    """Every trainable parameter belongs to exactly one layer that has a rule."""
    owners = [parameter for module in _layers(player) for parameter in module.parameters(recurse=False)]
    trained = [parameter for parameter in player.parameters() if parameter.requires_grad]
    return len({id(p) for p in owners}) == len(owners) and {id(p) for p in owners} >= {id(p) for p in trained}


def _layers(player: Player) -> list[nn.Module]:
    return [module for module in player.modules() if rule_of(module) is not None and list(module.parameters(recurse=False))]


class Notes:
    """What every layer of a player read and gave in one forward pass."""

    def __init__(self, player: Player) -> None:
        self._rules: dict[nn.Module, Rule] = {layer: rule for layer in _layers(player) if (rule := rule_of(layer)) is not None}
        self._inputs: dict[nn.Module, Tensor] = {}
        self._outputs: dict[nn.Module, Tensor] = {}
        self._gradients: tuple[Tensor, ...] = ()
        self.complete = True
        """False once a layer ran twice, or on something that does not have the records first. One that did not run owes nothing."""

    @contextmanager
    def taken(self, records: int) -> Iterator[None]:
        self._inputs, self._outputs = {}, {}

        def note(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            self.complete &= layer not in self._outputs and arguments[0].shape[:1] == output.shape[:1] == (records,)
            self._inputs[layer], self._outputs[layer] = arguments[0].detach(), output

        handles = [layer.register_forward_hook(note) for layer in self._rules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def measure(self, losses: Tensor, *, keep_graph: bool = False) -> Tensor:
        """(records,): the norm of each record's whole gradient, from one backward pass that stops at the layers' outputs."""
        outputs = list(self._outputs.values())
        # A layer that ran and was not used (no number among the columns) has no gradient to contribute.
        self._gradients = torch.autograd.grad(losses.sum(), outputs, retain_graph=keep_graph, allow_unused=True, materialize_grads=True)
        squares = torch.zeros(len(losses), device=losses.device, dtype=losses.dtype)
        for layer, gradient in zip(self._outputs, self._gradients, strict=True):
            squares += self._rules[layer].squares(layer, self._inputs[layer], gradient)
        return squares.sqrt()

    def weighted_sum(self, factors: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """Per parameter the sum over records of factor x gradient, after `measure`."""
        sums: dict[int, Tensor] = {}
        for layer, gradient in zip(self._outputs, self._gradients, strict=True):
            for name, total in self._rules[layer].weighted(layer, self._inputs[layer], gradient, factors).items():
                sums[id(getattr(layer, name))] = total
        return [sums.get(id(parameter), torch.zeros_like(parameter)) for parameter in parameters]
