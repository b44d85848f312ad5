"""Clipping in one backward pass (book-keeping: Bu, Wang, Zha and Karypis 2023, arXiv 2210.00038).

What a layer's weights owe to a record follows from what the layer read and from the gradient at what it gave (`layer_rules`).
So one pass that stops at the layers' outputs is enough: the norms first, then the clipped sum, each by a few matrix products.
No gradient of a weight is computed twice, none is stored per record. A layer may be used several times by a loss.

Only for players whose every trainable parameter belongs to one layer with a rule that gets its records first; `supports` and
`Notes` check that, and everything else is clipped in another way (`clipping`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import recurrent_rules
from .canaries import Canaries, Guest
from .contract import Player
from .layer_rules import LINEAR_MAPS, Owed, Rule, Use, rule_of
from .second_order import told


def supports(player: Player) -> bool:
    """Every trainable parameter belongs to exactly one layer that has a rule."""
    owners = [parameter for module in _layers(player) for parameter in module.parameters(recurse=False)]
    trained = [parameter for parameter in player.parameters() if parameter.requires_grad]
    return len({id(p) for p in owners}) == len(owners) and {id(p) for p in owners} >= {id(p) for p in trained}


def _layers(player: Player) -> list[nn.Module]:
    return [module for module in player.modules() if rule_for(module) is not None and list(module.parameters(recurse=False))]


def rule_for(layer: nn.Module) -> Rule | None:
    """None where no rule covers the layer as it is set."""
    return recurrent_rules.owed if recurrent_rules.supported(layer) else rule_of(layer)


class _Noted(NamedTuple):
    """One use of a layer before its gradient is known."""

    layer: nn.Module
    out: Tensor
    """Where the gradient is to be taken."""
    use: Callable[[Tensor], Any]
    """From that gradient to what the layer's rule reads."""


class Notes:
    """What every layer of a player read and gave while its losses were computed."""

    def __init__(self, player: Player) -> None:
        self._rules: dict[nn.Module, Rule] = {layer: rule for layer in _layers(player) if (rule := rule_for(layer)) is not None}
        self._second_order = player.second_order
        self._noted: list[_Noted] = []
        self._each = 1
        self._owed: list[tuple[nn.Module, Owed]] = []
        self._guests: list[tuple[Guest, Owed]] = []
        self.canaries: Canaries | None = None
        """Those of them that wait join the batch that is measured next."""
        self.complete = not self._second_order or all(isinstance(layer, LINEAR_MAPS) for layer in self._rules)
        """False once a layer ran on something that does not have the records first. One that did not run owes nothing."""

    @contextmanager
    def taken(self, records: int, each: int = 1) -> Iterator[None]:
        """`each`: so many records that follow one another are measured and clipped as one."""
        self._noted, self._each = [], each

        def note(layer: nn.Module, kept: Tensor, out: Tensor, transposed: bool) -> None:
            self.complete &= kept.shape[:1] == out.shape[:1] == (records,)
            self._noted.append(_Noted(layer, out, lambda g: Use(g, kept, True) if transposed else Use(kept, g)))

        def hook(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            note(layer, arguments[0].detach(), output, False)

        with ExitStack() as stack:
            if self._second_order:
                stack.enter_context(told(list(self._rules), note))
            for layer in self._rules if not self._second_order else ():
                if isinstance(layer, nn.RNNBase):
                    stack.enter_context(self._unrolled(layer, records))
                else:
                    stack.callback(layer.register_forward_hook(hook).remove)
            yield

    @contextmanager
    def _unrolled(self, layer: Any, records: int) -> Iterator[None]:
        """The fused layer hides its gates: the same numbers step by step, for as long as it lasts."""

        def forward(inputs: Tensor, state: recurrent_rules.State | None = None) -> tuple[Tensor, recurrent_rules.State]:
            output, final, taps = recurrent_rules.unrolled(layer, inputs, state)
            self.complete &= inputs.shape[:1] == (records,)
            self._noted += [_Noted(layer, tap.probe, tap.noted) for tap in taps]
            return output, final

        layer.forward = forward
        try:
            yield
        finally:
            del layer.forward

    @property
    def any(self) -> bool:
        return bool(self._noted)

    def measure(self, losses: Tensor) -> Tensor:
        """(records,): the norm of each record's whole gradient, from one backward pass that stops at the layers' outputs; behind
        them those of the canaries that join."""
        outputs = [noted.out for noted in self._noted]
        # A layer that ran and was not used (no number among the columns) has no gradient to contribute.
        gradients = torch.autograd.grad(losses.sum(), outputs, allow_unused=True, materialize_grads=True)
        uses: dict[nn.Module, list[Any]] = {}
        for noted, gradient in zip(self._noted, gradients, strict=True):
            uses.setdefault(noted.layer, []).extend(_apart(noted.use(gradient), self._each))
        self._noted, outputs, gradients = [], [], ()
        guests = self.canaries.guests(uses) if self.canaries is not None else []
        self._guests = [(guest, self._rules[guest.layer](guest.layer, [guest.use])) for guest in guests]
        # One layer after the other gives back what it read, where its answer no longer needs it.
        self._owed = [(layer, self._rules[layer](layer, uses.pop(layer))) for layer in list(uses)]
        squares = sum((owed.squares for _, owed in self._owed), torch.zeros_like(losses))
        return torch.cat([squares, *(owed.squares for _, owed in self._guests)]).sqrt()

    def weighted_sum(self, factors: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """Per parameter the sum over records of factor x gradient, after `measure`; the canaries get theirs."""
        sizes = [len(guest.canaries) for guest, _ in self._guests]
        own, *others = factors.split([len(factors) - sum(sizes), *sizes])
        for (guest, owed), factor in zip(self._guests, others, strict=True):
            guest.take(owed.weighted(factor)[guest.parameter])
        sums = {id(getattr(layer, name)): total for layer, owed in self._owed for name, total in owed.weighted(own).items()}
        self._owed, self._guests = [], []  # what layers read and gave would else be there while the next step runs
        return [sums[id(parameter)] if id(parameter) in sums else torch.zeros_like(parameter) for parameter in parameters]


def _apart(use: Any, each: int) -> list[Any]:
    """Of records of which so many count as one, one use for the first of each, one for the second …: what they owe adds up."""
    if each == 1:
        return [use]
    return [type(use)(*(part[i::each] if isinstance(part, Tensor) else part for part in use)) for i in range(each)]
