"""Client-level privacy: what whole clients can be told apart by. A central model: the server is trusted to clip and to add noise.

Every round the sum of the clients' clipped updates gets Gaussian noise, and what is released is what that leaves (DP-FedAvg, McMahan et
al. 2018, arXiv 1710.06963, with a fixed normaliser). Adding or removing one client, with all its records in all rounds, moves the sum by
at most the clip. Flower's strategies carry no accountant; this one is the project's. Amplification by sampling is claimed only where
every client takes part by a coin of its own that nobody outside the server sees: `federation.sample` below 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ...vocabulary.errors import Unsupported
from ...vocabulary.receipt import GaussianQuery, Mechanism, SampledGaussian
from ...vocabulary.spaces import TokenSpace
from ..accounting import calibrate
from ..contract import Generator
from ..noisy_counts import noisy_answer
from ..private_plan import shares_of_columns, small_noise
from ..secure import Stream, gaussian
from .counts import Answer
from .job import Job
from .learning import Arrays

UPDATES = "updates of clients"
GRID = 2.0**-20


def plan_for_clients(job: Job, generator: Generator, space: TokenSpace) -> list[Mechanism]:
    """Every mechanism of the training, for adding or removing one client; together they cost at most the epsilon asked for.

    Raises:
        Unsupported: The family learns from counts that no client's part of is bounded.
    """
    if not generator.players() or generator.asks():
        raise Unsupported(
            f"federation.level client: {job.generator.name} learns from counts of records, of which one client may hold any number; "
            "use level record, or a family that learns by gradients alone"
        )
    assert job.privacy is not None  # noqa: S101 - asked under privacy only
    epsilon, delta = job.privacy.epsilon, job.privacy.delta
    conditions = len(space.conditions) if generator.conditional else 0
    counts = shares_of_columns(len(space.sizes), conditions, small_noise(epsilon, delta))
    federation = job.federation

    def updates(noise: float) -> list[Mechanism]:
        expected = federation.sample * federation.clients
        return [
            *counts,
            SampledGaussian(
                what=UPDATES,
                noise_multiplier=noise,
                sample_rate=federation.sample,
                steps=federation.rounds,
                clip=federation.clip,
                normaliser=expected,
            ),
        ]

    return updates(calibrate(updates, epsilon=epsilon, delta=delta))


def noisy_shares(answer: Answer, plan: Sequence[Mechanism], source: Stream) -> Answer:
    """The sum of clients' shares with the noise that was charged."""
    queries = [query for query in plan if isinstance(query, GaussianQuery)]
    parts = [name for name in ("tokens", "classes") if len(answer[name])]
    noisy = {
        name: noisy_answer(torch.from_numpy(answer[name]), query, source=source, canaries=0)[0].numpy()
        for name, query in zip(parts, queries, strict=True)
    }
    return {**answer, **noisy}


def within_sensitivity(answer: Answer, space: TokenSpace) -> Answer:
    """A client's shares, whatever it sent: each column at most 1 in L2."""
    sizes = {"tokens": space.sizes, "classes": space.conditions}
    return {name: np.concatenate([np.zeros(0), *_bounded(value, sizes[name])]) for name, value in answer.items() if name in sizes}


def _bounded(values: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    parts = np.split(values, np.cumsum(sizes)[:-1]) if len(values) else []
    return [part / max(1.0, float(np.linalg.norm(part))) for part in parts]


def clipped(update: Arrays, before: Arrays, clip: float) -> tuple[Arrays, float]:
    """What a client changed, in float64, scaled to a norm of at most `clip`; and its norm before."""
    changed = {name: update[name].astype(np.float64) - before[name].astype(np.float64) for name in update}
    norm = math.sqrt(sum(float(np.square(part).sum()) for part in changed.values()))
    factor = min(1.0, clip / max(norm, 1e-12))
    return {name: part * factor for name, part in changed.items()}, norm


def released(total: Arrays, before: Arrays, mechanism: SampledGaussian, source: Stream) -> Arrays:
    """The next weights from the sum of clipped changes; `before` is public by now."""
    deviation, normaliser = mechanism.noise_multiplier * mechanism.clip, mechanism.normaliser or 1.0
    grid, after = deviation * GRID, {}
    for name, value in before.items():
        noise = gaussian(source, value.size).numpy().reshape(value.shape)
        noisy = np.rint((total.get(name, np.zeros(value.shape)) + deviation * noise) / grid) * grid
        after[name] = (value + noisy / normaliser).astype(value.dtype)
    return after
