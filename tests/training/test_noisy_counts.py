"""Questions under privacy: what one record can change, what is paid for, and noise on all of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.training.contract import Batch, Question, Runs, Sums
from guardrail.training.noisy_counts import NoisyCounts, _add_runs, cells_of, longest, queries_for, run_norm
from guardrail.training.plain import ExactCounts
from guardrail.training.private_plan import Planner, fitting
from guardrail.training.secure import SecureStream
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.errors import Unsupported
from guardrail.vocabulary.receipt import GaussianQuery
from guardrail.vocabulary.spaces import TokenSpace
from guardrail.vocabulary.spec import PrivacySpec

TEXT = TokenSpace(("text",) * 12, (4,) * 12, shared=True, end=3)
TABLE = TokenSpace(("a", "b", "c"), (4, 3, 2))


def dataset(tokens: np.ndarray, space: TokenSpace) -> Dataset:
    return Dataset(Batch.of(torch.from_numpy(tokens)), tokens, space)


def text(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, (n, 12))


def asked(data: Dataset, *questions: Question, noise: float = 1.0) -> NoisyCounts:
    shares = GaussianQuery(what="counts", sensitivity=math.sqrt(data.space.length), noise_multiplier=noise)
    queries = [shares, *queries_for(questions, data.space, noise)]
    return NoisyCounts(data, queries=queries, source=SecureStream(), questions=questions)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=12), st.integers(0, 2))
def test_one_record_changes_the_counts_of_runs_by_at_most_what_is_charged(tokens: list[int], order: int):
    """The slow truth: the answers without noise, with the record and without it."""
    for question, space in ((Runs(order, 1), TEXT), (Runs(order, 12), TEXT)):
        counts = torch.zeros(cells_of(question, space), dtype=torch.float64)
        _add_runs(counts, np.array([tokens]), np.ones(1), question, space)
        assert float(counts.norm()) <= run_norm(question, space) * (1 + 1e-12)


def test_a_record_that_repeats_one_run_is_clipped_and_another_is_not():
    question = Runs(0, 1)
    even, same = np.array([[0, 1, 2] * 4]), np.zeros((1, 12), dtype=np.int64)
    for tokens, expected in ((same, run_norm(question, TEXT)), (even, min(run_norm(question, TEXT), math.sqrt(3 * 16)))):
        counts = torch.zeros(cells_of(question, TEXT), dtype=torch.float64)
        _add_runs(counts, tokens, np.ones(1), question, TEXT)
        assert float(counts.norm()) == pytest.approx(expected)


def test_a_statistic_is_clipped_whatever_the_family_says_of_it():
    data = dataset(text(50), TEXT)
    loud = asked(data, Sums("loud", 2.0), noise=1e-9).total(lambda batch: torch.full((len(batch), 4), 1e6))
    assert float(loud.norm()) == pytest.approx(50 * 2.0, rel=1e-6)


def test_a_record_without_a_finite_statistic_has_no_part_in_the_sum():
    data = dataset(text(10), TEXT)
    total = asked(data, Sums("odd", 1.0), noise=1e-9).total(lambda b: torch.where(torch.arange(len(b))[:, None] == 3, torch.nan, 1.0))
    assert float(total) == pytest.approx(9.0, abs=1e-6)


def test_what_was_not_announced_is_refused_and_so_is_asking_once_more():
    counts = asked(dataset(text(20), TEXT), Sums("twice", 1.0, 2))
    for _ in range(2):
        counts.total(lambda batch: torch.ones(len(batch), 1))
    with pytest.raises(Unsupported, match="not announced"):
        counts.total(lambda batch: torch.ones(len(batch), 1))
    with pytest.raises(Unsupported, match="not paid for"):
        counts.ngrams(1)


def test_sums_have_the_noise_that_was_charged():
    data = dataset(text(30), TEXT)
    errors = [asked(data, Sums("noise", 3.0), noise=2.0).total(lambda batch: torch.zeros(len(batch), 200)) for _ in range(40)]
    assert float(torch.stack(errors).std()) == pytest.approx(6.0, rel=0.05)


def test_runs_that_no_record_has_get_noise_too():
    """Were only the occurring cells noised, which cells come back would tell who is there."""
    nobody = dataset(np.zeros((0, 12), dtype=np.int64), TEXT)
    found = [asked(nobody, Runs(1, 1), noise=50.0) for _ in range(300)]
    answers = [counts.ngrams(1, 1)[1] for counts in found]
    assert sum(len(answer) for answer in answers) > 0  # a few of 300 x 25 empty cells pass the threshold
    assert all((answer > 50.0 * run_norm(Runs(1, 1), TEXT)).all() for answer in answers)


def test_without_noise_to_speak_of_the_runs_are_the_exact_ones():
    for space, tokens, period in ((TEXT, text(60), 1), (TABLE, np.random.default_rng(1).integers(0, 2, (60, 3)), 3)):
        rows, numbers = asked(dataset(tokens, space), Runs(1, period), noise=1e-9).ngrams(1, period)
        exact_rows, exact = ExactCounts(dataset(tokens, space)).ngrams(1, period)
        clipped = {tuple(row): number for row, number in zip(rows, numbers, strict=True)}
        if period > 1:  # each run once per record: nothing is clipped
            assert clipped == {tuple(row): number for row, number in zip(exact_rows, exact, strict=True)}
        assert set(clipped) <= {tuple(row) for row in exact_rows}


def test_runs_are_as_long_as_noise_on_all_of_their_domain_allows():
    assert longest(3, 1, TEXT) == 3
    wide = TokenSpace(("text",) * 8, (300,) * 8, shared=True)
    assert longest(3, 1, wide) == 1 and fitting(Runs(3, 1), wide) == Runs(1, 1)
    with pytest.raises(Unsupported, match="smaller vocabulary"):
        longest(1, 100_000, TokenSpace(("t",) * 100_000, (300,) * 100_000, shared=True))


def test_questions_are_paid_from_the_same_total():
    from guardrail.training.accounting import epsilon_prv

    spec = PrivacySpec.model_validate({"epsilon": 2.0})
    queries = queries_for([Runs(1, 1), Sums("sums", 2.0, 3)], TEXT, 1.0)
    plan = Planner(spec).of(12, {}, 1.0, 1.0, 0, asked=queries)
    assert [m.what for m in plan] == ["one-way counts of every column", *(query.what for query in queries)]
    assert [m.sensitivity for m in plan[1:] if isinstance(m, GaussianQuery)] == [query.sensitivity for query in queries]
    assert 1.98 <= epsilon_prv(plan, spec.delta) <= 2.0


@pytest.mark.parametrize("family", ["markov", "hmm"])
def test_a_family_of_counts_learns_as_much_as_its_noise_allows(family: str):
    """At noise that is nothing the private model is the exact one, up to clipping; at much noise it is worse."""
    from guardrail.training.model import build
    from guardrail.vocabulary.spec import GeneratorSpec
    from tests.contracts.worlds import WORLDS

    codec, frame = WORLDS["text"].codec, WORLDS["text"].records(600)
    tokens = codec.encode(frame, "tokens")
    data = Dataset(Batch.of(torch.from_numpy(tokens)), tokens, codec.tokens)
    fits = {}
    for noise in (1e-9, 1.0, 300.0):
        torch.manual_seed(0)
        model = build(GeneratorSpec(name=family), codec)
        questions = tuple(fitting(question, codec.tokens) for question in model.asks())
        model.initialise(asked(data, *questions, noise=noise))
        fits[noise] = float(model.log_likelihood(data.records).mean())
    assert fits[1e-9] >= fits[1.0] - 0.05 > fits[300.0] + 0.2
