"""The hidden Markov model against enumeration of all paths, against hmmlearn, and EM against its promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hmmlearn.hmm import CategoricalHMM, GaussianHMM
from torch import Tensor

from guardrail.training.contract import Batch
from guardrail.training.plain import ExactCounts
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.errors import SpecError
from guardrail.vocabulary.plugins import resolve
from guardrail.vocabulary.spaces import SeriesSpace, TokenSpace

Hmm = resolve("generators", "hmm")
TEXT = TokenSpace(("token",) * 4, (3,) * 4, shared=True, end=2)
GRID = TokenSpace(("token",) * 4, (3,) * 4, shared=True)
VOICES = TokenSpace(("high", "low") * 2, (3,) * 4, shared=True)
GAPPED = SeriesSpace(("x", "y"), 6, marked=True)
WHOLE = SeriesSpace(("x", "y"), 6)
UNUSED = TokenSpace(("x",), (2,))


def tokens(space: TokenSpace, n: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (n, space.length))
    x[:, 1:] = np.where(rng.random((n, space.length - 1)) < 0.7, x[:, :-1], x[:, 1:])
    x[rng.random(x.shape) < 0.2] = 2
    if space.end is not None:
        x[(x == space.end).cumsum(axis=1) > 0] = space.end
    return torch.from_numpy(x)


def series(space: SeriesSpace, n: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 2, (n, 1)) ^ (np.arange(space.steps)[None] % 2)
    values = np.clip(np.where(state, 0.5, -0.4)[..., None] * np.array([1, -1]) + 0.15 * rng.normal(size=(n, space.steps, 2)), -1, 1)
    if not space.marked:
        return torch.from_numpy(values).float()
    gone = rng.random(values.shape) < 0.2
    gone |= (np.arange(space.steps)[None] >= rng.integers(2, space.steps + 1, n)[:, None])[..., None]
    return torch.from_numpy(np.concatenate([np.where(gone, 0, values), np.where(gone, -1, 1)], axis=2)).float()


def records(space: TokenSpace | SeriesSpace, n: int, seed: int = 0) -> Tensor:
    return tokens(space, n, seed) if isinstance(space, TokenSpace) else series(space, n, seed)


def fitted(space: TokenSpace | SeriesSpace, n: int = 60, **options: object):
    torch.manual_seed(3)
    options = {"states": 3, "iterations": 15, "restarts": 2} | options
    model, x = Hmm(space, Hmm.Options(**options)), records(space, n)
    exact = Dataset(
        Batch.of(x),
        x.numpy() if isinstance(space, TokenSpace) else np.zeros((n, 1), np.int64),
        space if isinstance(space, TokenSpace) else UNUSED,
    )
    model.initialise(ExactCounts(exact))
    return model, x


def paths(model, x: Tensor) -> tuple[Tensor, Tensor]:
    """Every path (paths, steps) and the log of its joint density with one record's evidence: the slow truth."""
    now = model.parameters_now
    evidence, alive = model._evidence(x[None], now)
    steps = int(alive.sum())
    every = torch.tensor(list(itertools.product(range(len(now.start)), repeat=steps)))
    log = now.start.log()[every[:, 0]] + evidence[0, torch.arange(steps), every].sum(1)
    for t in range(1, steps):
        log = log + now.transition.log()[every[:, t - 1], every[:, t]]
    return every, log


@pytest.mark.parametrize("space", [TEXT, GRID, VOICES, GAPPED, WHOLE], ids=["text", "grid", "voices", "gaps", "whole"])
def test_likelihood_posterior_and_path_are_those_of_all_paths(space):
    model, x = fitted(space)
    x = x[:8]
    likelihood, explained = model.log_likelihood(Batch.of(x)), model.explain(Batch.of(x))
    for i, row in enumerate(x):
        every, log = paths(model, row)
        steps, total = every.shape[1], log.logsumexp(0)
        assert float(likelihood[i]) == pytest.approx(float(total), abs=1e-9)
        assert explained["path"][i, :steps].tolist() == every[log.argmax()].tolist()
        weights = (log - total).exp()
        for state in range(3):
            expected = (weights[:, None] * (every == state)).sum(0)
            assert torch.allclose(explained["posterior"][i, :steps, state], expected, atol=1e-9)


@pytest.mark.parametrize("space", [TEXT, GRID, VOICES, GAPPED, WHOLE], ids=["text", "grid", "voices", "gaps", "whole"])
def test_em_never_decreases_the_log_likelihood(space):
    for seed in range(3):
        model, _ = fitted(space, 40, restarts=1, iterations=40, states=2 + seed)
        gains = np.diff(model.history)
        assert len(gains) > 3 and gains[0] > 0
        assert (gains > -1e-9 * abs(model.history[-1])).all()


def test_restarts_leave_the_history_of_the_one_that_went_on():
    model, _ = fitted(GRID, restarts=3, iterations=20, smoothing=0)
    assert (np.diff(model.history) > -1e-9).all()
    total = float(model.log_likelihood(Batch.of(tokens(GRID, 60))).sum())
    assert total == pytest.approx(model.history[-1], abs=1e-3)  # weights are kept in single precision


def test_discrete_model_agrees_with_hmmlearn():
    model, x = fitted(GRID)
    now, theirs = model.parameters_now, CategoricalHMM(3, n_features=3)
    theirs.startprob_, theirs.transmat_, theirs.emissionprob_ = (
        value / value.sum(-1, keepdims=True) for value in (now.start.numpy(), now.transition.numpy(), now.emission.shares[:, 0].numpy())
    )
    likelihood, explained = model.log_likelihood(Batch.of(x)), model.explain(Batch.of(x))
    agree(theirs, [row[:, None].numpy() for row in x], likelihood, explained)


def test_gaussian_model_agrees_with_hmmlearn():
    model, x = fitted(WHOLE)
    now, theirs = model.parameters_now, GaussianHMM(3, covariance_type="diag")
    theirs.startprob_, theirs.transmat_ = (v / v.sum(-1, keepdims=True) for v in (now.start.numpy(), now.transition.numpy()))
    theirs.means_, theirs.covars_ = now.emission.means.numpy(), now.emission.variances.numpy()
    agree(theirs, [row.double().numpy() for row in x], model.log_likelihood(Batch.of(x)), model.explain(Batch.of(x)))


def agree(theirs, rows: list[np.ndarray], likelihood: Tensor, explained: dict[str, Tensor]) -> None:
    for i, row in enumerate(rows):
        score, posterior = theirs.score_samples(row)
        _, path = theirs.decode(row)
        assert float(likelihood[i]) == pytest.approx(score, abs=1e-6)
        assert np.allclose(explained["posterior"][i].numpy(), posterior, atol=1e-6)
        assert explained["path"][i].tolist() == path.tolist()


@pytest.mark.parametrize("space", [TEXT, GRID, VOICES], ids=["text", "grid", "voices"])
def test_probabilities_of_all_texts_sum_to_one(space):
    model, _ = fitted(space)
    x = every_text(space)
    assert float(model.log_likelihood(Batch.of(x)).exp().sum()) == pytest.approx(1, abs=1e-6)


def every_text(space: TokenSpace) -> Tensor:
    x = torch.tensor(list(itertools.product(range(3), repeat=space.length)))
    if space.end is None:
        return x
    after = (x == space.end).long().cumsum(1) - (x == space.end).long() > 0
    return x[((x == space.end) | ~after).all(1)]


@pytest.mark.parametrize("known", [(), (0,), (3,), (0, 2), (1, 3)], ids=str)
@pytest.mark.parametrize("space", [TEXT, GRID, VOICES], ids=["text", "grid", "voices"])
def test_gaps_are_filled_with_their_exact_probabilities(space: TokenSpace, known: tuple[int, ...]):
    """The slow truth: all records that agree with what is known, by their likelihood."""
    model, _ = fitted(space)
    every = every_text(space)
    log = model.log_likelihood(Batch.of(every))
    row = torch.tensor([1, 0, 1, 1])
    mask = torch.zeros(4, dtype=torch.bool)
    mask[list(known)] = True
    fits = (every[:, mask] == row[mask]).all(1)
    expected = torch.where(fits, (log - log[fits].logsumexp(0)).exp(), 0.0)
    n = 60_000
    drawn = model.complete(Batch.of(row.expand(n, 4)), mask.expand(n, 4), torch.Generator().manual_seed(0))
    place = {tuple(text): i for i, text in enumerate(every.tolist())}
    found, counts = drawn.unique(dim=0, return_counts=True)
    shares = torch.zeros(len(every), dtype=torch.float64)
    shares[[place[tuple(text)] for text in found.tolist()]] = counts.double() / n
    assert ((shares - expected).abs() < 5 * (expected / n).sqrt() + 5 / n).all()


def test_a_gap_in_a_series_is_filled_from_both_sides():
    """The states alternate: what stands before and behind the gap tells which is in it."""
    model, x = fitted(WHOLE, 200, states=2, iterations=30, restarts=4)
    known = torch.ones_like(x, dtype=torch.bool)
    known[:, 2:4] = False
    filled = model.complete(Batch.of(x), known, torch.Generator().manual_seed(0))
    assert torch.equal(filled[known], x[known])
    assert float(((filled[:, 2:4] > 0) == (x[:, 2:4] > 0)).float().mean()) > 0.97


def test_what_nobody_measured_moves_no_likelihood():
    model, x = fitted(GAPPED)
    other = x.clone()
    other[..., :2] = torch.where(x[..., 2:] > 0, x[..., :2], 0.7)
    assert torch.equal(model.log_likelihood(Batch.of(other)), model.log_likelihood(Batch.of(x)))


def test_drawn_series_end_and_have_gaps_as_often_as_the_records():
    model, x = fitted(GAPPED, 400)
    drawn = model.sample(4000, torch.Generator().manual_seed(1))
    seen, expected = (drawn[..., 2:] > 0), (x[..., 2:] > 0)
    assert torch.allclose(seen.double().mean((0, 2)), expected.double().mean((0, 2)), atol=0.06)
    assert set(drawn[..., 2:].unique().tolist()) == {-1.0, 1.0} and float(drawn.abs().max()) <= 1
    assert (drawn[..., :2][~seen] == 0).all()


def test_a_state_far_from_everything_loses_no_record():
    """Each value lies hundreds of standard deviations from every mean but one: nothing underflows to nothing."""
    model, x = fitted(WHOLE)
    with torch.no_grad():
        model.variances.fill_(1e-7)
    assert model.log_likelihood(Batch.of(x)).isfinite().all()
    posterior = model.explain(Batch.of(x))["posterior"]
    assert torch.allclose(posterior.sum(2), torch.ones(()).double(), atol=1e-9)


def test_starts_follow_from_torchs_generator_alone():
    one, other = fitted(GRID)[0], fitted(GRID)[0]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_columns_of_a_table_are_refused_by_name():
    with pytest.raises(SpecError, match="use markov or made"):
        Hmm(TokenSpace(("a", "b"), (2, 3)), Hmm.Options())


@pytest.mark.parametrize("space", [TEXT, GAPPED], ids=["text", "gaps"])
def test_expected_moves_are_those_of_all_paths(space):
    model, x = fitted(space)
    x, now = x[:6], model.parameters_now
    moves = model.statistic(Batch.of(x), now)[:, 4:13].view(-1, 3, 3)
    for i, row in enumerate(x):
        every, log = paths(model, row)
        weights = (log - log.logsumexp(0)).exp()
        for a, b in itertools.product(range(3), repeat=2):
            expected = (weights * ((every[:, :-1] == a) & (every[:, 1:] == b)).sum(1)).sum()
            assert float(moves[i, a, b]) == pytest.approx(float(expected), abs=1e-9)
