"""The Markov chain against a slow one made of dictionaries; its probabilities sum to 1; what it draws has them."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from torch import Tensor

from guardrail.training.contract import Batch
from guardrail.training.plain import ExactCounts
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.errors import SpecError, Unsupported
from guardrail.vocabulary.plugins import resolve
from guardrail.vocabulary.spaces import TokenSpace

Markov = resolve("generators", "markov")
TEXT = TokenSpace(("token",) * 5, (3,) * 5, shared=True, end=2)
VOICES = TokenSpace(("high", "low") * 2, (3,) * 4, shared=True)
TABLE = TokenSpace(("a", "b", "c"), (2, 4, 3))
SPACES = {"text": TEXT, "voices": VOICES, "table": TABLE}
SMOOTHINGS = ("kneser-ney", "witten-bell")


def records(space: TokenSpace, n: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(0, size, n) for size in space.sizes], axis=1)
    x[:, 1:] = np.where(rng.random((n, x.shape[1] - 1)) < 0.6, x[:, :-1] % np.array(space.sizes[1:]), x[:, 1:])
    if space.end is not None:
        x[(x == space.end).cumsum(axis=1) > 0] = space.end
    return torch.from_numpy(x)


def fitted(space: TokenSpace, n: int = 30, **options: object):
    chain, x = Markov(space, Markov.Options(**options)), records(space, n)
    chain.initialise(ExactCounts(Dataset(Batch.of(x), x.numpy(), space)))
    return chain, x


def every_record(space: TokenSpace) -> Tensor:
    x = torch.tensor(list(itertools.product(*(range(size) for size in space.sizes))))
    if space.end is None:
        return x
    after = (x == space.end).long().cumsum(1) - (x == space.end).long() > 0
    return x[((x == space.end) | ~after).all(1)]


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [0, 1, 2, 4])
@pytest.mark.parametrize("kind", SPACES)
def test_probabilities_of_all_records_sum_to_one(kind: str, order: int, smoothing: str):
    chain, _ = fitted(SPACES[kind], order=order, smoothing=smoothing)
    log = chain.log_likelihood(Batch.of(every_record(SPACES[kind])))
    assert log.isfinite().all()
    assert float(log.exp().sum()) == pytest.approx(1, abs=1e-10)


def slow_witten_bell(x: Tensor, space: TokenSpace, order: int, period: int) -> list[float]:
    """The definition: (count of context and token + kinds after the context x the shorter one's probability) / (...)."""
    after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)

    def steps(row: list[int]):
        for i, token in enumerate(row):
            past = [-1] * order + row[:i]
            for length in range(order + 1):
                yield i, token, (i % period, *past[len(past) - length :])
            if token == space.end:
                return

    for row in x.tolist():
        for _, token, context in steps(row):
            after[context][token] += 1

    def log_probability(row: list[int]) -> float:
        total, p = 0.0, 1.0
        for i, token, context in steps(row):
            if len(context) == 1:
                p = 1 / space.sizes[i]
            seen = after[context]
            if seen:
                p = (seen[token] + len(seen) * p) / (seen.total() + len(seen))
            if len(context) == order + 1:
                total += math.log(p)
        return total

    return [log_probability(row) for row in every_record(space).tolist()]


@pytest.mark.parametrize(("kind", "period"), [("text", 1), ("voices", 2), ("table", 3)])
def test_it_equals_the_slow_definition(kind: str, period: int):
    chain, x = fitted(SPACES[kind], order=2, smoothing="witten-bell")
    assert chain.period == period
    fast = chain.log_likelihood(Batch.of(every_record(SPACES[kind])))
    assert torch.allclose(fast, torch.tensor(slow_witten_bell(x, SPACES[kind], 2, period), dtype=fast.dtype), atol=1e-12)


def test_kneser_ney_by_hand():
    """One record, `0 1 0`, order 1: no run occurs twice, so each gives 0.9 of its count to the shorter context."""
    space = TokenSpace(("token",) * 3, (2,) * 3, shared=True)
    chain, x = Markov(space, Markov.Options(order=1, smoothing="kneser-ney")), torch.tensor([[0, 1, 0]])
    chain.initialise(ExactCounts(Dataset(Batch.of(x), x.numpy(), space)))
    # share = n1 / (n1 + 2 n2) with n2 counted as one: 3/5, and 1 - 2 x 3/5 x 1/3 = 3/5 is taken from runs seen once.
    # 0 was seen after two contexts (the beginning, 1), 1 after one; of those seen twice at most 0.9 x 2 may be taken.
    once = 1 - 2 * (1 / 3) * 1 / 1
    twice = min(max(2 - 3 * (1 / 3) * 1 / 1, 0.1), 1.8)
    zero = (2 - twice) / 3 + (twice + once) / 3 / 2
    first, second = 1 - 3 / 5 + 3 / 5 * zero, 1 - 3 / 5 + 3 / 5 * (1 - zero)
    assert float(chain.log_likelihood(Batch.of(x))) == pytest.approx(math.log(first * second * first), abs=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("kind", SPACES)
def test_records_are_drawn_with_their_probabilities(kind: str, smoothing: str):
    chain, _ = fitted(SPACES[kind], smoothing=smoothing, order=2)
    every = every_record(SPACES[kind])
    drawn = chain.sample(200_000, torch.Generator().manual_seed(0))
    places = {tuple(row): i for i, row in enumerate(every.tolist())}
    found, counts = drawn.unique(dim=0, return_counts=True)
    shares = torch.zeros(len(every), dtype=torch.float64)
    shares[[places[tuple(row)] for row in found.tolist()]] = counts.double() / len(drawn)
    expected = chain.log_likelihood(Batch.of(every)).exp()
    assert ((shares - expected).abs() < 5 * (expected / len(drawn)).sqrt() + 5 / len(drawn)).all()


def test_beginnings_of_any_length_stay_and_are_continued_by_the_chain():
    chain, x = fitted(TEXT, order=1)
    known = torch.arange(5)[None, :] < torch.arange(6).repeat(5)[:, None]
    filled = chain.complete(Batch.of(x), known, torch.Generator().manual_seed(0))
    assert torch.equal(filled[known], x[known])
    ends = (filled == 2).long()
    assert ((filled == 2) | (ends.cumsum(1) == 0)).all()


def test_it_does_not_pretend_to_look_ahead():
    chain, x = fitted(TEXT)
    with pytest.raises(Unsupported, match="do not fill in what lies before"):
        chain.complete(Batch.of(x), torch.tensor([False, True, True, True, True]).expand(30, 5), torch.Generator())


def test_an_untrained_chain_takes_runs_of_any_number():
    chain, x = fitted(TEXT)
    other = Markov(TEXT, Markov.Options())
    assert float(other.log_likelihood(Batch.of(torch.zeros(1, 5, dtype=torch.int64)))) == pytest.approx(5 * math.log(1 / 3))
    other.load_state_dict(chain.state_dict())
    assert torch.equal(other.log_likelihood(Batch.of(x)), chain.log_likelihood(Batch.of(x)))


@pytest.mark.parametrize("fault", ["order", "range", "length", "count"])
def test_runs_that_are_none_of_its_own_are_refused(fault: str):
    state = {name: tensor.clone() for name, tensor in fitted(TEXT)[0].state_dict().items()}
    if fault == "order":
        state["runs"] = state["runs"].flip(0)
    elif fault == "range":
        state["runs"][-1] = 4**4 + 1
    elif fault == "length":
        state["runs"] = state["runs"][1:]
    else:
        state["counts"][0] = 0
    with pytest.raises(RuntimeError, match="not those of a Markov chain"):
        Markov(TEXT, Markov.Options()).load_state_dict(state)


def test_an_order_that_cannot_be_numbered_is_refused_with_the_largest_that_can():
    space = TokenSpace(("token",) * 4, (8192,) * 4, shared=True)
    with pytest.raises(SpecError, match="at most 3 here"):
        Markov(space, Markov.Options(order=4))
    assert Markov(space, Markov.Options()).order == 3


def test_one_of_each_voice_is_remembered():
    four = TokenSpace(("soprano", "alto", "tenor", "bass") * 4, (50,) * 16, shared=True)
    assert (Markov(four, Markov.Options()).period, Markov(four, Markov.Options()).order) == (4, 4)


def test_ten_thousand_sequences_are_drawn_within_seconds():
    space = TokenSpace(("token",) * 128, (100,) * 128, shared=True, end=0)
    x = torch.randint(1, 100, (2000, 128), generator=torch.Generator().manual_seed(0))
    chain = Markov(space, Markov.Options())
    chain.initialise(ExactCounts(Dataset(Batch.of(x), x.numpy(), space)))
    start = time.perf_counter()
    assert chain.sample(10_000, torch.Generator().manual_seed(0)).shape == (10_000, 128)
    assert time.perf_counter() - start < 15
