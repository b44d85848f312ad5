"""The block jackknife of the distance between tables against taking blocks out one by one, and its promise of coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.audits.quality import variation
from guardrail.audits.quality.variation import BLOCKS, similarities


def slow(a: np.ndarray, b: np.ndarray) -> float:
    return 1 - sum(abs((a == cell).mean() - (b == cell).mean()) for cell in np.union1d(a, b)) / 2


@settings(deadline=None, max_examples=40)
@given(st.integers(4, 90), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_fast_jackknife_equals_taking_the_blocks_out(n: int, size: int, seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, size, (2, n))
    found = similarities([(a, b, size)], n)
    blocks = np.arange(n) % min(BLOCKS, n)
    assert found.values[0] == pytest.approx(slow(a, b))
    assert found.without[:, 0] == pytest.approx([slow(a[blocks != g], b[blocks != g]) for g in range(blocks.max() + 1)])


def test_many_possible_cells_give_the_same_numbers_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(1).integers(0, 50, (2, 500))
    dense = similarities([(a, b, 50)], 500)
    sparse = similarities([(a * 10**9, b * 10**9, 50 * 10**9)], 500)
    assert dense.values == pytest.approx(sparse.values)
    assert dense.without == pytest.approx(sparse.without)
    monkeypatch.setattr(variation, "DENSE", 0)
    assert similarities([(a, b, 50)], 500).values == pytest.approx(dense.values)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_interval_covers_what_tables_of_this_size_reach_on_average(shift: float) -> None:
    rng, n = np.random.default_rng(2), 800
    p = np.full(8, 1 / 8)
    q = p + shift * np.array([1, -1, 1, -1, 0, 0, 0, 0]) / 8

    def draw() -> variation.Similarities:
        a, b = rng.choice(8, (3, n), p=p), rng.choice(8, (3, n), p=q)
        return similarities([(a[v], b[v], 8) for v in range(3)], n)

    truth = np.mean([draw().values.mean() for _ in range(600)])
    found = [draw().mean() for _ in range(300)]
    covered = np.mean([(e.low or 0) <= truth <= (e.high or 0) for e in found])
    assert covered >= 0.93


def test_the_mean_over_views_counts_what_they_share() -> None:
    a, b = np.random.default_rng(3).integers(0, 5, (2, 400))
    one, thrice = similarities([(a, b, 5)], 400).mean(), similarities([(a, b, 5)] * 3, 400).mean()
    assert (one.low, one.high) == pytest.approx((thrice.low, thrice.high))


def test_a_few_equal_rows_are_not_certain() -> None:
    found = similarities([(np.array([0, 1, 2, 3]), np.array([0, 1, 2, 3]), 4)], 4).mean()
    assert found.value == 1
    assert (found.low or 0) < 0.5
