from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from guardrail.training.secure import SecureStream, SeededStream, gaussian, poisson_batch


def test_uniform_numbers_are_uniform_and_never_touch_the_ends():
    numbers = SecureStream().uniform(200_000)
    assert numbers.min() > 0 and numbers.max() < 1
    assert stats.kstest(numbers.numpy(), "uniform").pvalue > 1e-6


def test_noise_is_standard_normal_far_into_the_tails():
    noise = gaussian(SecureStream(), 400_000).numpy()
    assert stats.kstest(noise, "norm").pvalue > 1e-6
    beyond = (np.abs(noise) > 3.5).mean() / (2 * stats.norm.sf(3.5))
    assert 0.5 < beyond < 1.6


def test_the_four_normals_in_a_sum_are_independent_of_their_neighbours():
    noise = gaussian(SecureStream(), 200_000).numpy()
    for lag in (1, 2, 100_000):
        correlation = np.corrcoef(noise[:-lag], noise[lag:])[0, 1]
        assert abs(correlation) < 6 / math.sqrt(len(noise) - lag)


def test_two_streams_share_nothing_and_one_stream_never_repeats():
    one, other = SecureStream(), SecureStream()
    first = one.uniform(1000)
    assert not torch.equal(first, other.uniform(1000))
    assert not torch.equal(first, one.uniform(1000))


def test_a_secure_stream_ignores_every_seed():
    torch.manual_seed(0)
    first = SecureStream().uniform(8)
    torch.manual_seed(0)
    assert not torch.equal(first, SecureStream().uniform(8))


def test_a_secure_stream_keeps_no_key():
    held = [type(value).__name__ for value in vars(SecureStream()).values()]
    assert "bytes" not in held and len(held) == 1


@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
def test_poisson_batches_have_binomial_sizes(rate: float):
    stream = SecureStream()
    sizes = np.array([len(poisson_batch(stream, 500, rate)) for _ in range(2000)])
    deviation = math.sqrt(500 * rate * (1 - rate)) or 1e-9
    assert abs(sizes.mean() - 500 * rate) < 6 * deviation / math.sqrt(2000) + 1e-9
    assert rate == 1.0 or 0.85 < sizes.std() / deviation < 1.15


def test_poisson_batches_draw_each_record_alike_and_never_twice():
    stream = SecureStream()
    counts = np.zeros(50)
    for _ in range(4000):
        batch = poisson_batch(stream, 50, 0.2).numpy()
        assert len(set(batch)) == len(batch)
        counts[batch] += 1
    assert stats.chisquare(counts).pvalue > 1e-6


def test_seeded_noise_repeats():
    assert torch.equal(gaussian(SeededStream(np.random.default_rng(1)), 5), gaussian(SeededStream(np.random.default_rng(1)), 5))
