"""How well a common model serves one client: its samples against that client's records, on that client's machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...vocabulary.receipt import ClientServed
from ...vocabulary.seeds import entropy
from ..contract import Generator
from ..model import space_of
from ..strategy import Dataset
from .job import Job

MOST, RESAMPLED = 2000, 50


def served(job: Job, generator: Generator, dataset: Dataset, number: int) -> ClientServed | None:
    """None for a client without records, and for families that draw no samples of their own.

    Shortfall: by how much the mean total variation distance, column by column, between the client's records and as many samples is
    above that between two sets of samples of this size. Its interval is over resampled records (percentiles).
    """
    n = min(MOST, len(dataset.tokens))
    if not n or not hasattr(type(generator), "sample"):
        return None
    rng = np.random.default_rng(entropy(job.seed, f"client {number} is served"))
    one, other = (_drawn(job, generator, n, int(rng.integers(2**62)), rng) for _ in range(2))
    own, sizes = dataset.tokens[rng.choice(len(dataset.tokens), n, replace=False)], dataset.space.sizes
    usual = _distance(one, other, sizes)
    again = [_distance(own[rng.integers(0, n, n)], one, sizes) - usual for _ in range(RESAMPLED)]
    low, high = np.quantile(again, [0.025, 0.975])
    value = _distance(own, one, sizes) - usual
    return ClientServed(client=number, shortfall=value, low=min(value, float(low)), high=max(value, float(high)))


def _drawn(job: Job, generator: Generator, n: int, seed: int, rng: np.random.Generator) -> np.ndarray:
    """(n, positions) tokens of samples; conditions drawn evenly."""
    codec = job.codec
    given = None
    if generator.conditional:
        given = torch.from_numpy(np.stack([rng.integers(0, size, n) for size in codec.condition_sizes], axis=1))
    with torch.no_grad():
        drawn = generator.sample(n, torch.Generator().manual_seed(seed), given).numpy()
    return codec.encode(codec.decode(drawn, space_of(generator, codec), rng), "tokens")


def _distance(one: np.ndarray, other: np.ndarray, sizes: Sequence[int]) -> float:
    """Mean over columns of the total variation distance."""
    shares = [[np.bincount(tokens[:, i], minlength=size) / len(tokens) for tokens in (one, other)] for i, size in enumerate(sizes)]
    return float(np.mean([np.abs(a - b).sum() / 2 for a, b in shares]))
