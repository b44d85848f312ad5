"""How well a common model serves one client: its samples against that client's records, on that client's machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from ...vocabulary.receipt import MOST_GROUPS, ClientServed, Shortfall
from ...vocabulary.seeds import entropy
from ..contract import Generator
from ..model import space_of
from ..strategy import Dataset
from .job import Job

MOST, LEAST, RESAMPLED = 2000, 30, 50
"""Records compared at most; of a group at least; and how often they are drawn anew for an interval."""


def served(job: Job, generator: Generator, dataset: Dataset, number: int) -> ClientServed | None:
    """None for a client without records, and for families that draw no samples of their own.

    Shortfall: by how much the mean total variation distance, column by column, between the client's records and as many samples is
    above that between two sets of samples of this size. Its interval is over resampled records and samples. Groups by sensitive
    attribute are compared with samples of the same group, where records and samples have enough of it.
    """
    n = min(MOST, len(dataset.tokens))
    if not n or not hasattr(type(generator), "sample"):
        return None
    rng = np.random.default_rng(entropy(job.seed, f"client {number} is served"))
    one, other = (_drawn(job, generator, n, int(rng.integers(2**62)), rng) for _ in range(2))
    own = dataset.tokens[rng.choice(len(dataset.tokens), n, replace=False)]
    whole = _shortfall(own, one, other, dataset.space.sizes, rng)
    groups = {name: found for name in _attributes(job) if len(found := _by_group(job, name, own, one, other, rng)) > 1}
    return ClientServed(client=number, shortfall=whole.value, low=whole.low, high=whole.high, groups=groups)


def _shortfall(own: np.ndarray, one: np.ndarray, other: np.ndarray, sizes: Sequence[int], rng: np.random.Generator) -> Shortfall:
    """Three sets of as many. Distances of resampled sets are larger than those of the sets themselves: the interval is put back by that."""
    value, n = _distance(own, one, sizes) - _distance(one, other, sizes), len(own)
    resampled = [[part[rng.integers(0, n, n)] for part in (own, one, other)] for _ in range(RESAMPLED)]
    again = np.array([_distance(a, b, sizes) - _distance(b, c, sizes) for a, b, c in resampled])
    low, high = np.quantile(again - (again.mean() - value), [0.025, 0.975])
    return Shortfall(value=value, low=min(value, float(low)), high=max(value, float(high)))


def _attributes(job: Job) -> list[str]:
    """Sensitive ones whose values are few words."""
    return [name for name in job.records.sensitive if job.records.columns[name].kind in ("categorical", "ordinal", "boolean")]


def _by_group(job: Job, name: str, own: np.ndarray, one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> dict[str, Shortfall]:
    codec, column = job.codec, list(job.records.columns).index(name)
    found = {}
    for token in np.unique(own[:, column]):
        mine, first, second = (tokens[tokens[:, column] == token] for tokens in (own, one, other))
        n = min(len(mine), len(first), len(second))
        if n >= LEAST:
            value = codec.decode(mine[:1], "tokens", rng)[name].iloc[0]
            label = "(missing)" if pd.isna(value) else str(value)
            found[label] = _shortfall(mine[:n], first[:n], second[:n], codec.tokens.sizes, rng)
    return dict(sorted(found.items(), key=lambda item: item[1].value)[-MOST_GROUPS:])


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
