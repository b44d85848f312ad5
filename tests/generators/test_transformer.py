"""Attention three ways against the slow definition; the cache; reading a source and writing the rest."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from guardrail.generators.attention import FIRST_ROOM, Attention, Block, State
from guardrail.training.contract import Batch
from guardrail.vocabulary.errors import SpecError
from guardrail.vocabulary.plugins import resolve
from guardrail.vocabulary.spaces import TokenSpace

Transformer = resolve("generators", "transformer")
KINDS = ("full", "window", "linear")
LONG = TokenSpace(("token",) * 150, (5,) * 150, shared=True)
OPEN = TokenSpace(("high", "low", "bass") * 2, (2,) * 6, shared=True)
ENDING = TokenSpace(("high", "low") * 3, (3,) * 6, shared=True, end=2)
CLASSED = TokenSpace(("high", "low") * 3, (2,) * 6, shared=True, conditions=(2,))


def built(space: TokenSpace, **options: object):
    torch.manual_seed(0)
    model = Transformer(space, Transformer.Options(**{"width": 8, "heads": 2, **options}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return model.double().eval()


def every_record(space: TokenSpace) -> Tensor:
    x = torch.cartesian_prod(*(torch.arange(size) for size in space.sizes))
    if space.end is None:
        return x
    ends = (x == space.end).long()
    return x[((x == space.end) | (ends.cumsum(1) - ends == 0)).all(1)]


def attention(kind: str, window: int = 128) -> tuple[Attention, Tensor]:
    torch.manual_seed(1)
    return Attention(8, 2, kind, window).double(), torch.randn(2, 150, 8, dtype=torch.float64)


def slow_attention(layer: Attention, x: Tensor, window: int) -> Tensor:
    """The definition, step by step and head by head: a softmax over the last `window` steps."""
    q, k, v = (f(x).unflatten(2, (2, 4)) for f in (layer.query, layer.key, layer.value))
    rows = []
    for t in range(x.shape[1]):
        start = max(0, t + 1 - window)
        shares = torch.einsum("nhd,nshd->nhs", q[:, t], k[:, start : t + 1]).div(2.0).softmax(2)
        rows.append(torch.einsum("nhs,nshd->nhd", shares, v[:, start : t + 1]).flatten(1))
    return layer.output(torch.stack(rows, 1))


@pytest.mark.parametrize(("steps", "window"), [(1, 4), (3, 4), (8, 4), (10, 4), (13, 5), (7, 1), (9, 9), (9, 50), (150, 32)])
def test_window_attention_is_attention_over_the_last_steps(steps: int, window: int):
    layer, x = attention("window", window)
    assert torch.allclose(layer(x[:, :steps]), slow_attention(layer, x[:, :steps], window), atol=1e-9)


def test_full_attention_is_attention_over_all_steps_before():
    layer, x = attention("full")
    assert torch.allclose(layer(x), slow_attention(layer, x, 1000), atol=1e-9)


@pytest.mark.parametrize("steps", [1, 63, 64, 65, 150])
def test_linear_attention_is_its_quadratic_form(steps: int):
    layer, x = attention("linear")
    x = x[:, :steps]
    q, k, v = (f(x).unflatten(2, (2, 4)).transpose(1, 2) for f in (layer.query, layer.key, layer.value))
    shares = ((F.elu(q) + 1) @ (F.elu(k) + 1).mT).tril()
    slow = (shares / shares.sum(3, keepdim=True)) @ v
    assert torch.allclose(layer(x), layer.output(slow.transpose(1, 2).flatten(2)), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_shown_are_those_used(kind: str):
    layer, x = attention(kind, 20)
    v = layer.value(x).unflatten(2, (2, 4)).transpose(1, 2)
    shown = layer.weights(x)
    assert torch.allclose(shown.sum(3), torch.ones(2, 2, 150, dtype=torch.float64))
    assert torch.allclose(layer.output((shown @ v).transpose(1, 2).flatten(2)), layer(x), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_after_the_other_gives_the_logits_of_the_full_pass(kind: str):
    """150 steps: more than the cache has room for at first, several windows, several chunks."""
    model = built(LONG, attention=kind, window=20)
    x = torch.randint(0, 5, (3, 150), generator=torch.Generator().manual_seed(0))
    state, before, rows = model.begin(3, x.device), torch.full((3,), 5), []
    with torch.no_grad():
        for t in range(150):
            hidden, state = model.advance(state, model.inputs(before[:, None], torch.zeros(3, 0), t)[:, 0], t)
            rows.append(model.read_out(hidden))
            before = x[:, t]
        assert torch.allclose(torch.stack(rows, 1), model.logits_of(Batch.of(x)), atol=1e-9)


@pytest.mark.parametrize(("kind", "most"), [("full", 256), ("window", 100), ("linear", 0)])
def test_the_cache_grows_in_doublings_and_a_window_has_no_more_room_than_it_needs(kind: str, most: int):
    layer, x = attention(kind, 100)
    state, rooms = State(), []
    with torch.no_grad():
        for t in range(150):
            layer.step(x[:, t], state)
            rooms.append(0 if state.keys is None else state.keys.shape[2])
    assert rooms[-1] == most
    assert sorted(set(rooms)) == {"full": [FIRST_ROOM, 128, 256], "window": [FIRST_ROOM, 100], "linear": [0]}[kind]


def test_a_block_that_reads_another_sequence_does_so_step_by_step_too():
    torch.manual_seed(2)
    block = Block(8, 2, "full", 128, 0.0, crossed=True).double()
    x, memory = torch.randn(2, 9, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    state = State()
    with torch.no_grad():
        steps = torch.stack([block.step(x[:, t], state, memory) for t in range(9)], 1)
        assert torch.allclose(steps, block(x, memory=memory), atol=1e-9)
        assert not torch.allclose(steps, block(x, memory=memory.flip(1) + 1), atol=1e-2)


TRANSLATIONS = {
    "open": (OPEN, ("high",)),
    "two of three": (OPEN, ("high", "bass")),
    "last": (OPEN, ("bass",)),
    "ending": (ENDING, ("high",)),
    "classed": (CLASSED, ("low",)),
}


@pytest.mark.parametrize("attention", KINDS)
@pytest.mark.parametrize("case", TRANSLATIONS)
def test_probabilities_of_source_and_target_sum_to_one_over_all_records(case: str, attention: str):
    space, source = TRANSLATIONS[case]
    model, x = built(space, source=source, attention=attention, window=2), every_record(space)
    given = torch.ones(len(x), len(space.conditions), dtype=torch.int64)
    assert float(model.log_likelihood(Batch.of(x, given)).exp().sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("case", TRANSLATIONS)
def test_with_everything_known_drawing_weighs_a_record_by_its_likelihood(case: str):
    """The encoder's and decoder's cached steps against the full pass, over every record."""
    space, source = TRANSLATIONS[case]
    model, x = built(space, source=source), every_record(space)
    batch = Batch.of(x, torch.zeros(len(x), len(space.conditions), dtype=torch.int64))
    log = model.log_likelihood(batch)
    drawn, weights = model._drawn(batch, torch.ones_like(x, dtype=torch.bool), torch.Generator())
    assert torch.equal(drawn, x)
    possible = log > -1e6
    assert torch.allclose(weights[possible], log[possible], atol=1e-5)
    assert bool((weights[~possible] < -1e6).all())


@pytest.mark.parametrize("case", TRANSLATIONS)
def test_a_translation_keeps_its_source_and_is_drawn_as_the_conditional_probability_says(case: str):
    space, source = TRANSLATIONS[case]
    model, n = built(space, source=source), 8000
    read = torch.tensor([name in source for name in space.names])
    x = torch.where(torch.arange(6) < 4, 1, 0 if space.end is None else space.end)
    given = torch.ones(n, len(space.conditions), dtype=torch.int64)
    drawn = model.translate(Batch.of(x.repeat(n, 1), given), torch.Generator().manual_seed(1))
    assert bool((drawn[:, read] == x[read]).all())
    records = every_record(space)
    fits = (records[:, read] == x[read]).all(1)
    if space.end is not None:
        assert bool(((drawn == space.end) == (x == space.end)).all()), "it ends where the source ends, and nowhere else"
    expected = model.log_likelihood(Batch.of(records, given[:1].expand(len(records), -1))).masked_fill(~fits, float("-inf")).softmax(0)
    shares = (drawn[:, None] == records).all(2).double().mean(0)
    assert float((shares - expected).abs().max()) < 0.028


def test_a_written_token_depends_on_all_of_the_source_and_on_what_was_written_before():
    model = built(OPEN, source=("high",))
    x = torch.zeros(1, 6, dtype=torch.int64)
    base = model.logits_of(Batch.of(x))[0]
    for at, moved, still in [(3, (1, 2, 4, 5), (0, 3)), (1, (2, 4, 5), (0, 1, 3)), (5, (), (0, 1, 2, 3, 4, 5))]:
        changed = x.clone()
        changed[0, at] = 1
        logits = model.logits_of(Batch.of(changed))[0]
        assert all(not torch.allclose(logits[t], base[t], atol=1e-4) for t in moved)
        assert all(torch.equal(logits[t], base[t]) for t in still)


def test_a_record_drawn_from_nothing_is_whole():
    model = built(ENDING, source=("high",))
    drawn = model.sample(500, torch.Generator().manual_seed(0))
    ends = (drawn == 2).long()
    assert bool(((drawn == 2) | (ends.cumsum(1) == 0)).all())
    assert bool((ends[:, 1::2] <= ends[:, 0::2]).all()), "only the source can end a record"


@pytest.mark.parametrize(
    ("space", "source", "said"),
    [
        (OPEN, ("middle",), "no field 'middle'"),
        (OPEN, ("high", "low", "bass"), "nothing is left to write"),
        (ENDING, ("low",), "name it among source"),
    ],
)
def test_a_source_that_cannot_be_is_refused(space: TokenSpace, source: tuple[str, ...], said: str):
    with pytest.raises(SpecError, match=said):
        Transformer(space, Transformer.Options(source=source))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValidationError, match="3 heads do not divide the width 8"):
        Transformer.Options(width=8, heads=3)


def test_without_a_source_there_is_nothing_to_translate():
    with pytest.raises(SpecError, match=r"options\.source"):
        built(OPEN).translate(Batch.of(torch.zeros(1, 6, dtype=torch.int64)), torch.Generator())


@pytest.mark.parametrize("source", [(), ("high",)])
def test_it_shows_what_each_token_looked_at(source: tuple[str, ...]):
    maps = built(OPEN, source=source).explain(Batch.of(torch.zeros(2, 6, dtype=torch.int64)))
    steps = 4 if source else 6
    assert list(maps) == ["attention of layer 1", "attention of layer 2"]
    for shown in maps.values():
        assert shown.shape == (2, 2, steps, steps)
        assert torch.equal(shown, shown.tril())
