"""Every rule against the slow truth: one backward pass per record, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from guardrail.training.layer_rules import RULES, Use, rule_of
from guardrail.training.layers import MaskedLinear

N = 7
CASES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(5, 3), (5,)),
    "linear without bias": (nn.Linear(5, 3, bias=False), (5,)),
    "linear on a short sequence of wide vectors": (nn.Linear(30, 40), (4, 30)),
    "linear on a long sequence of narrow vectors": (nn.Linear(2, 3), (50, 2)),
    "linear on a plane": (nn.Linear(4, 3), (3, 5, 4)),
    "masked linear": (MaskedLinear(torch.tril(torch.ones(6, 5))), (5,)),
    "masked linear on a sequence": (MaskedLinear(torch.tril(torch.ones(6, 5)), bias=False), (4, 5)),
    "convolution": (nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 7, 6)),
    "convolution of many channels on few places": (nn.Conv2d(8, 9, 3), (8, 3, 3)),
    "dilated convolution": (nn.Conv2d(2, 3, (3, 2), dilation=2, bias=False), (2, 9, 9)),
    "convolution over one dimension": (nn.Conv1d(2, 4, 3, stride=2, padding=2), (2, 9)),
    "transposed convolution": (nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1), (3, 4, 5)),
    "transposed convolution with output padding": (nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1), (3, 4, 4)),
    "transposed convolution over one dimension": (nn.ConvTranspose1d(3, 2, 4, stride=2, padding=1, bias=False), (3, 5)),
    "group norm": (nn.GroupNorm(2, 4), (4, 3, 5)),
    "group norm on vectors": (nn.GroupNorm(2, 4), (4,)),
    "layer norm": (nn.LayerNorm(5), (4, 5)),
    "layer norm over two dimensions": (nn.LayerNorm((3, 5)), (2, 3, 5)),
    "layer norm without bias": (nn.LayerNorm(5, bias=False), (5,)),
    "rms norm": (nn.RMSNorm(5), (4, 5)),
}


@pytest.fixture(autouse=True)
def doubles():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def agrees(layer: nn.Module, inputs: Tensor) -> None:
    """Squared norms and weighted sums of a loss that is not linear in the output."""
    rule = rule_of(layer)
    assert rule is not None
    weights = list(layer.parameters())
    outputs = layer(inputs)
    target = torch.randn_like(outputs)
    losses = ((outputs - target).tanh()).square().flatten(1).sum(1)
    truth = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in losses]
    (gradient,) = torch.autograd.grad(losses.sum(), outputs)
    squares = torch.stack([torch.stack([part.square().sum() for part in one]).sum() for one in truth])
    owed = rule(layer, [Use(inputs, gradient)])
    assert torch.allclose(owed.squares, squares, rtol=1e-10, atol=1e-12)
    factors = torch.rand(len(inputs))
    found = owed.weighted(factors)
    assert set(found) == {name for name, _ in layer.named_parameters()}
    for i, (name, weight) in enumerate(layer.named_parameters()):
        expected = sum(factor * one[i] for factor, one in zip(factors, truth, strict=True))
        assert found[name].shape == weight.shape and torch.allclose(found[name], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_a_rule_equals_the_loop_of_one(case: str):
    layer, shape = CASES[case]
    layer = layer.double()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    agrees(layer, torch.randn(N, *shape))


@pytest.mark.parametrize("shape", [(4,), (3, 2), ()])
def test_an_embedding_adds_up_where_an_index_repeats(shape: tuple[int, ...]):
    agrees(nn.Embedding(3, 5), torch.randint(0, 3, (N, *shape)))


def test_every_rule_is_tried_here():
    assert set(RULES) == {type(layer) for layer, _ in CASES.values()} | {nn.Embedding}


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"),
        nn.Embedding(3, 2, padding_idx=0),
        nn.Embedding(3, 2, max_norm=1.0),
        nn.LSTM(2, 2),
        nn.Bilinear(2, 2, 2),
    ],
    ids=str,
)
def test_what_no_rule_covers_has_none(layer: nn.Module):
    assert rule_of(layer) is None


class Renamed(nn.Linear):
    """Computes what its parent computes."""


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_subclass_has_its_parent_s_rule_only_where_it_computes_the_same():
    assert rule_of(Renamed(2, 2)) is rule_of(nn.Linear(2, 2)) and rule_of(Doubled(2, 2)) is None


@pytest.mark.parametrize("scale", [1e2, 1e3, 1e4, 1e5])
@pytest.mark.parametrize("kind", ["linear", "embedding"])
def test_parts_that_cancel_do_not_carry_a_record_past_the_clip(scale: float, kind: str):
    """In single precision the Gram matrices' rounding errors are larger than what is left: the norm must not come out too small."""
    torch.set_default_dtype(torch.float32)
    layer: nn.Module = nn.Linear(200, 300, bias=False) if kind == "linear" else nn.Embedding(5, 300)
    inputs = torch.randn(40, 1, 200).repeat(1, 4, 1) if kind == "linear" else torch.full((40, 4), 2)
    gradient = scale * torch.randn(40, 1, 300) * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    gradient[:, 0] += 0.02 * torch.randn(40, 300)
    rule, use = rule_of(layer), Use(inputs, gradient)
    assert rule is not None
    owed = rule(layer, [use])
    norms = owed.squares.sqrt()
    assert norms.isfinite().all()
    for i, norm in enumerate(norms):
        one = torch.zeros(40)
        one[i] = min(1.0, 0.5 / float(norm))  # the clip is far below what is left
        (contribution,) = owed.weighted(one).values()
        assert float(contribution.double().norm()) <= 0.5 * (1 + 1e-3)
