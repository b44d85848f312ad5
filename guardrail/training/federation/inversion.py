"""What an update gives away: the record behind a client's step, drawn back from its gradient.

The attacker sees one update, knows the weights that it started from and the record's class, and does not know what the model drew. The
worst case: a client with a single record that takes a single step. Where a linear layer reads the record itself its gradient is the
record times a number (Phong et al. 2018, IEEE TIFS 13:5); elsewhere a record is looked for whose gradient points the same way (Geiping
et al. 2020, arXiv 2003.14053).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...vocabulary.receipt import SampledGaussian
from ...vocabulary.schema import Schema
from ...vocabulary.spec import Spec
from ..clipping import trained
from ..contract import Batch, Player
from ..model import encode
from .job import Job
from .server import plan_of

ITERATIONS = 150
EXACT = 40.0
"""Decibels from which on a layer is taken to read records."""
SMOOTH = 1e-2
"""Weight of the differences between neighbouring pixels in the search."""
PEAK = 2.0
"""Images lie in [-1, 1]."""


@dataclass(frozen=True)
class Inversion:
    """The attack on a job's clients, as their updates leave."""

    job: Job

    def psnr(self, records: Batch, means: Tensor, rng: np.random.Generator) -> np.ndarray:
        """(records, 2) decibels: of what the attack makes of each record's update, and of the mean of its class, which needs none.

        Args:
            means: (records, ...) the mean image of each record's class.
        """
        generator, _ = self.job.built()
        generator.train()
        player = next(one for one in generator.players().values() if one.sees_records)
        mechanism, reader, found = self._mechanism(), _reader(player, records[:1]), []
        for i in range(len(records)):
            torch.manual_seed(int(rng.integers(2**62)))
            record = records[i : i + 1]
            update = _update(player, record, mechanism)
            torch.manual_seed(int(rng.integers(2**62)))  # what the model drew is not the attacker's to know
            guess = reader(update, record.x) if reader else _searched(player, record.given, update, means[i : i + 1])
            found.append([_psnr(guess, record.x), _psnr(means[i : i + 1], record.x)])
        return np.array(found)

    def _mechanism(self) -> SampledGaussian | None:
        if not self.job.local_privacy:
            return None
        generator, _ = self.job.built()
        return next(one for one in plan_of(self.job, generator) if isinstance(one, SampledGaussian))


def _update(player: Player, record: Batch, mechanism: SampledGaussian | None) -> list[Tensor]:
    """The gradient as it leaves: under privacy clipped, with the noise of a step."""
    gradients = _gradients(player, record.x, record.given)
    if mechanism is None:
        return gradients
    norm = torch.stack([part.square().sum() for part in gradients]).sum().sqrt()
    factor, deviation = min(1.0, mechanism.clip / float(norm)), mechanism.noise_multiplier * mechanism.clip
    return [factor * part + deviation * torch.randn_like(part) for part in gradients]


def _gradients(player: Player, x: Tensor, given: Tensor, *, graph: bool = False) -> list[Tensor]:
    parameters = trained(player)
    found = torch.autograd.grad(player.losses(Batch(x, given)).sum(), parameters, create_graph=graph, allow_unused=True)
    return [torch.zeros_like(own) if part is None else part for own, part in zip(parameters, found, strict=True)]


Reader = Callable[[Sequence[Tensor], Tensor], Tensor]
"""The record behind an update; the second argument has its shape."""


def _readers(player: Player) -> list[Reader]:
    """Layers that may read records themselves, with values as they are or from 0 to 1."""
    places = {id(parameter): i for i, parameter in enumerate(trained(player))}
    found: list[Reader] = []
    for layer in player.modules():
        if isinstance(layer, nn.Linear) and layer.bias is not None and {id(layer.weight), id(layer.bias)} <= set(places):
            weight, bias = places[id(layer.weight)], places[id(layer.bias)]
            found += [partial(_read, weight=weight, bias=bias, scale=scale) for scale in (1.0, 2.0)]
    return found


def _read(update: Sequence[Tensor], like: Tensor, *, weight: int, bias: int, scale: float) -> Tensor:
    if update[weight].shape[1] < like.numel():
        return torch.zeros_like(like)
    found = update[bias] @ update[weight] / update[bias].square().sum().clamp_min(1e-30)
    return (scale * found[: like.numel()].view_as(like) - (scale - 1)).clamp(-1, 1)


def _reader(player: Player, like: Batch) -> Reader | None:
    """Of the readers the one that gets back a made-up record, if there is any: the attacker has the model to try on."""
    made_up = torch.rand_like(like.x) * 2 - 1
    update = _gradients(player, made_up, like.given)
    reader = max(_readers(player), key=lambda one: _psnr(one(update, like.x), made_up), default=None)
    return reader if reader is not None and _psnr(reader(update, like.x), made_up) > EXACT else None


def _searched(player: Player, given: Tensor, update: Sequence[Tensor], start: Tensor) -> Tensor:
    x = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=0.1)
    for _ in range(ITERATIONS):
        optimizer.zero_grad()
        rough = sum((x.diff(dim=d).abs().mean() for d in (2, 3)), torch.zeros(()))
        loss = _apart(_gradients(player, x, given, graph=True), update) + SMOOTH * rough
        (x.grad,) = torch.autograd.grad(loss, [x])
        optimizer.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
    return x.detach()


def _apart(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """1 minus the cosine between two gradients."""
    product = torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()
    norms = [torch.stack([part.square().sum() for part in parts]).sum().sqrt() for parts in (one, other)]
    return 1 - product / (norms[0] * norms[1]).clamp_min(1e-30)


def _psnr(guess: Tensor, truth: Tensor) -> float:
    error = float((guess - truth).square().mean())
    return 10 * float(np.log10(PEAK**2 / max(error, 1e-12)))


def attack_on(spec: Spec, frame: pd.DataFrame, schema: Schema) -> Callable[[int, np.random.Generator], np.ndarray] | None:
    """As audits take it: so many of the frame's records, drawn at random. None where no client sends updates that a record moves."""
    assert spec.federation is not None  # noqa: S101 - asked of federations only
    job = Job.of(spec.generator, spec.training, spec.privacy, spec.federation, schema, spec.seed)
    generator, _ = job.built()
    if not any(player.sees_records for player in generator.players().values()):
        return None

    def attack(n: int, rng: np.random.Generator) -> np.ndarray:
        records = encode(job.codec, frame, generator)
        classes = torch.from_numpy(job.codec.encode_conditions(frame)) if job.codec.condition_sizes else torch.zeros(len(frame), 1)
        chosen = torch.from_numpy(rng.choice(len(frame), n, replace=False))
        means = torch.stack([records.x[(classes == classes[i]).all(1)].mean(0) for i in chosen])
        return Inversion(job).psnr(records[chosen], means, rng)

    return attack
