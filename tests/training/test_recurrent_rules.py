"""Recurrent layers in the open: the same numbers as torch's fused layers, and per record what a loop of one gives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from guardrail.training.recurrent_rules import Gates, State, owed, supported, unrolled
from guardrail.vocabulary.errors import Unsupported

CASES = list(product(("lstm", "gru", "tanh", "relu"), (1, 2), (True, False)))
RECORDS, INPUTS, HIDDEN = 4, 5, 7


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def layer_of(kind: str, layers: int = 1, bias: bool = True, dropout: float = 0.0) -> nn.RNNBase:
    settings = {"num_layers": layers, "bias": bias, "dropout": dropout, "batch_first": True}
    if kind in ("lstm", "gru"):
        return {"lstm": nn.LSTM, "gru": nn.GRU}[kind](INPUTS, HIDDEN, **settings)
    return nn.RNN(INPUTS, HIDDEN, nonlinearity=kind, **settings)


def tensors(state: State) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else list(state)


def state_of(layer: nn.RNNBase) -> State:
    parts = [torch.randn(layer.num_layers, RECORDS, HIDDEN, requires_grad=True) for _ in range(1 + isinstance(layer, nn.LSTM))]
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])


class Losses:
    """(records,): curved, different for every record, moved by the output and by the final state."""

    def __init__(self, layer: nn.RNNBase, steps: int) -> None:
        self._of_output, self._of_state = torch.randn(RECORDS, steps, HIDDEN), torch.randn(layer.num_layers, RECORDS, HIDDEN)

    def __call__(self, output: Tensor, final: State) -> Tensor:
        total = (output.sin() * self._of_output).sum((1, 2))
        return sum(((part.sin() * self._of_state).sum((0, 2)) for part in tensors(final)), total)


def noted(layer: nn.RNNBase, runs: list[Tensor], losses: list[Losses]) -> list[Gates]:
    """What the rules learn when the layer runs over each of `runs` and the losses add up."""
    found = [unrolled(layer, inputs) for inputs in runs]
    total = sum(loss(output, final).sum() for loss, (output, final, _) in zip(losses, found, strict=True))
    taps = [tap for *_, taps in found for tap in taps]
    gradients = torch.autograd.grad(total, [tap.probe for tap in taps])
    return [tap.noted(gradient) for tap, gradient in zip(taps, gradients, strict=True)]


def loop_of_one(layer: nn.RNNBase, runs: list[Tensor], losses: list[Losses]) -> list[dict[str, Tensor]]:
    """Every record's gradient from torch's own layer."""
    each = sum(loss(*layer(inputs)) for loss, inputs in zip(losses, runs, strict=True))
    names = [name for name, _ in layer.named_parameters()]
    rows = (torch.autograd.grad(one, list(layer.parameters()), retain_graph=True) for one in each)
    return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.mark.parametrize(("kind", "layers", "bias"), CASES)
def test_output_and_final_state_are_those_of_the_fused_layer(kind: str, layers: int, bias: bool):
    layer, inputs = layer_of(kind, layers, bias), torch.randn(RECORDS, 9, INPUTS)
    for state in (None, state_of(layer)):
        output, final, taps = unrolled(layer, inputs, state)
        expected, last = layer(inputs, state)
        assert torch.allclose(output, expected, atol=1e-12, rtol=0)
        assert all(torch.allclose(a, b, atol=1e-12, rtol=0) for a, b in zip(tensors(final), tensors(last), strict=True))
        assert [tap.depth for tap in taps] == list(range(layers))


@pytest.mark.parametrize(("kind", "layers", "bias"), CASES)
def test_gradients_of_inputs_and_first_state_are_those_of_the_fused_layer(kind: str, layers: int, bias: bool):
    layer, inputs = layer_of(kind, layers, bias), torch.randn(RECORDS, 9, INPUTS, requires_grad=True)
    state, losses = state_of(layer), Losses(layer, 9)
    wanted = [inputs, *tensors(state)]
    found = torch.autograd.grad(losses(*unrolled(layer, inputs, state)[:2]).sum(), wanted)
    expected = torch.autograd.grad(losses(*layer(inputs, state)).sum(), wanted)
    assert all(torch.allclose(a, b, atol=1e-12, rtol=1e-12) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh", "relu"])
def test_gradients_agree_with_finite_differences_of_the_fused_layer(kind: str):
    """By finite differences, torch's own forward pass in between: a weight of every gate is moved up and down."""
    layer, steps = layer_of(kind), 6
    inputs = torch.randn(RECORDS, steps, INPUTS)
    with torch.no_grad():
        layer.weight_ih_l0[:, 0] = 0.0
    losses = Losses(layer, steps)
    (use,) = noted(layer, [inputs], [losses])
    ours, slope, step = owed(layer, [use]).weighted(torch.ones(RECORDS))["weight_ih_l0"][:, 0], torch.zeros(len(layer.weight_ih_l0)), 1e-6
    for i in range(len(slope)):
        for sign in (1, -1):
            with torch.no_grad():
                layer.weight_ih_l0[i, 0] = sign * step
                slope[i] += sign * losses(*layer(inputs)).sum() / (2 * step)
                layer.weight_ih_l0[i, 0] = 0.0
    assert torch.allclose(ours, slope, atol=1e-7)


@pytest.mark.parametrize("steps", [3, 40], ids=["Gram matrices", "gradients themselves"])
@pytest.mark.parametrize(("kind", "layers", "bias"), CASES)
def test_norms_and_weighted_sums_equal_the_loop_of_one(kind: str, layers: int, bias: bool, steps: int):
    layer, inputs = layer_of(kind, layers, bias), torch.randn(RECORDS, steps, INPUTS)
    losses, factors = [Losses(layer, steps)], torch.rand(RECORDS)
    uses, each = noted(layer, [inputs], losses), loop_of_one(layer, [inputs], losses)
    truth = torch.stack([sum(g.square().sum() for g in own.values()) for own in each])
    assert torch.allclose(owed(layer, uses).squares, truth, rtol=1e-10, atol=1e-10)
    for name, value in owed(layer, uses).weighted(factors).items():
        slow = sum(factor * own[name] for factor, own in zip(factors, each, strict=True))
        assert value.shape == slow.shape and torch.allclose(value, slow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_what_a_layer_owes_for_two_runs_adds_up_before_it_is_squared(kind: str):
    layer = layer_of(kind, layers=2)
    runs, losses, factors = (
        [torch.randn(RECORDS, steps, INPUTS) for steps in (4, 6)],
        [Losses(layer, 4), Losses(layer, 6)],
        torch.rand(RECORDS),
    )
    uses, each = noted(layer, runs, losses), loop_of_one(layer, runs, losses)
    truth = torch.stack([sum(g.square().sum() for g in own.values()) for own in each])
    assert torch.allclose(owed(layer, uses).squares, truth, rtol=1e-10)
    for name, value in owed(layer, uses).weighted(factors).items():
        assert torch.allclose(value, sum(factor * own[name] for factor, own in zip(factors, each, strict=True)), atol=1e-10)


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_dropout_between_layers_draws_what_the_fused_layer_draws(kind: str):
    layer, inputs = layer_of(kind, layers=3, dropout=0.4), torch.randn(RECORDS, 6, INPUTS)
    torch.manual_seed(3)
    ours = unrolled(layer, inputs)[0]
    torch.manual_seed(3)
    assert torch.allclose(ours, layer(inputs)[0], atol=1e-12)
    layer.eval()
    assert torch.allclose(unrolled(layer, inputs)[0], layer(inputs)[0], atol=1e-12)


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh", "relu"])
def test_a_second_pass_over_the_same_graph_gives_the_same(kind: str):
    layer, inputs = layer_of(kind, layers=2), torch.randn(RECORDS, 5, INPUTS, requires_grad=True)
    output, _, taps = unrolled(layer, inputs)
    wanted, loss = [inputs, *(tap.probe for tap in taps)], output.sin().sum()
    once = torch.autograd.grad(loss, wanted, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(once, torch.autograd.grad(loss, wanted), strict=True))


def test_single_precision_stays_close_to_the_fused_layer():
    for kind in ("lstm", "gru", "tanh"):
        layer, inputs = layer_of(kind).float(), 3 * torch.randn(RECORDS, 30, INPUTS, dtype=torch.float32)
        assert torch.allclose(unrolled(layer, inputs)[0], layer(inputs)[0], atol=1e-5)


def test_weights_get_no_gradient_of_the_batch():
    layer, inputs = layer_of("lstm"), torch.randn(RECORDS, 5, INPUTS, requires_grad=True)
    unrolled(layer, inputs)[0].sum().backward()
    assert all(parameter.grad is None for parameter in layer.parameters()) and inputs.grad is not None


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(INPUTS, HIDDEN),
        nn.GRU(INPUTS, HIDDEN, batch_first=True, bidirectional=True),
        nn.LSTM(INPUTS, HIDDEN, batch_first=True, proj_size=3),
        nn.LSTMCell(INPUTS, HIDDEN),
    ],
    ids=["steps first", "both directions", "projected", "cell"],
)
def test_what_is_not_computed_is_refused(layer: nn.Module):
    assert not supported(layer)
    with pytest.raises(Unsupported, match="batch_first=True"):
        unrolled(layer, torch.randn(RECORDS, 5, INPUTS))


def test_packed_and_unbatched_sequences_are_refused():
    layer = layer_of("gru")
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(2, 5, INPUTS), [5, 3], batch_first=True)
    for inputs in (packed, torch.randn(5, INPUTS)):
        with pytest.raises(Unsupported, match="padded rather than packed"):
            unrolled(layer, inputs)
