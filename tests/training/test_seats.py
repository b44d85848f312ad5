"""Made-up gradients: of every kind of layer, in one entry of one weight and nowhere else worth mention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from guardrail.training.bookkeeping import rule_for
from guardrail.training.layer_rules import RULES, Use
from guardrail.training.layers import MaskedLinear
from guardrail.training.recurrent_rules import unrolled
from guardrail.training.seats import LOUD, Seat, seats_of

CLIP = 0.7
CASES: dict[str, tuple[nn.Module, Tensor]] = {
    "linear": (nn.Linear(5, 3), torch.randn(4, 5)),
    "linear on a sequence": (nn.Linear(5, 3), torch.randn(4, 6, 5)),
    "masked linear": (MaskedLinear(torch.tril(torch.ones(6, 5))), torch.randn(4, 5)),
    "embedding": (nn.Embedding(7, 3), torch.randint(0, 7, (4, 5))),
    "embedding of one token": (nn.Embedding(7, 3), torch.randint(0, 7, (4,))),
    "convolution": (nn.Conv2d(2, 3, 3, stride=2, padding=1), torch.randn(4, 2, 7, 6)),
    "dilated convolution": (nn.Conv2d(2, 3, (3, 2), dilation=2), torch.randn(4, 2, 9, 9)),
    "convolution over one dimension": (nn.Conv1d(2, 4, 3, stride=2, padding=2), torch.randn(4, 2, 9)),
    "transposed convolution": (nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1), torch.randn(4, 3, 4, 5)),
    "transposed convolution over one dimension": (nn.ConvTranspose1d(3, 2, 4, stride=2, padding=1), torch.randn(4, 3, 5)),
    "group norm": (nn.GroupNorm(2, 4), torch.randn(4, 4, 3, 5)),
    "layer norm": (nn.LayerNorm((3, 5)), torch.randn(4, 2, 3, 5)),
    "rms norm": (nn.RMSNorm(5), torch.randn(4, 6, 5)),
}


def checked(layer: nn.Module, seat: Seat, uses: list[object]) -> None:
    """Every entry in turn: what follows by the rule from the made-up use, clipped, is one clip there and next to nothing elsewhere."""
    rule, parameter = rule_for(layer), getattr(layer, seat.parameter)
    assert rule is not None
    at = torch.unravel_index(seat.entries, parameter.shape)
    use = seat.use(seat.like(uses), at, CLIP)
    owed = rule(layer, [use])
    norms = owed.squares.sqrt()
    assert torch.allclose(norms, torch.full_like(norms, LOUD * CLIP), rtol=1e-3)
    for row, entry in enumerate(seat.entries):
        factors = torch.zeros(len(norms))
        factors[row] = CLIP / norms[row]
        found = owed.weighted(factors)
        expected = torch.zeros(parameter.numel())
        expected[entry] = CLIP
        assert torch.allclose(found.pop(seat.parameter).flatten(), expected, atol=2e-3 * CLIP)
        assert all(float(rest.abs().max()) < 2e-3 * CLIP for rest in found.values())


@pytest.mark.parametrize("case", CASES)
def test_a_seat_puts_a_gradient_into_one_entry(case: str):
    layer, inputs = CASES[case]
    out = layer(inputs)
    seats = seats_of(layer)
    assert seats
    for seat in seats:
        checked(layer, seat, [Use(inputs, out, True), Use(inputs, torch.randn_like(out))])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_seat_in_a_recurrent_layer_knows_its_gates(kind: type[nn.RNNBase], depth: int):
    layer, inputs = kind(3, 4, num_layers=depth, batch_first=True), torch.randn(5, 6, 3)
    taps = unrolled(layer, inputs)[2]
    uses: list[object] = [tap.noted(torch.randn(tap.probe.shape)) for tap in taps]
    seats = seats_of(layer)
    assert [seat.parameter for seat in seats] == [f"weight_{side}_l{d}" for d in range(depth) for side in ("ih", "hh")]
    for seat in seats:
        checked(layer, seat, uses)


def test_every_layer_with_a_rule_has_a_seat():
    seated = {type(layer) for layer, _ in CASES.values()}
    assert seated == set(RULES)
    assert all(seats_of(layer) for layer, _ in CASES.values())


def test_what_a_kernel_never_meets_says_nothing():
    """Of a kernel of three on a plane of one, with padding, only the middle meets anything."""
    layer, inputs = nn.Conv1d(1, 1, 3, padding=1, bias=False), torch.ones(2, 1, 1)
    (seat,) = seats_of(layer)
    use = seat.use(Use(inputs, layer(inputs)), torch.unravel_index(seat.entries, layer.weight.shape), CLIP)
    assert use.inputs.flatten().tolist() == [0.0, LOUD, 0.0]


def test_a_frozen_weight_and_a_layer_without_a_rule_have_none():
    frozen = nn.Linear(5, 3, bias=False)
    frozen.weight.requires_grad_(False)
    assert not seats_of(frozen) and not seats_of(nn.BatchNorm1d(3)) and not seats_of(nn.ReLU())
