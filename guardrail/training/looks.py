"""Looks at a model in training: dead units, clusters of the records found among samples, distance from a Nash equilibrium."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..vocabulary.spaces import TokenSpace
from .conduct import reseed
from .contract import Batch, Generator, Player

RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.Threshold)
CLUSTERS, PER_CLUSTER, WIDTH = 32, 50, 64
FOUND = 0.1
"""Of its expected share, and a cluster counts as found."""
EXPECTED = 8
"""Clusters expected fewer times among the samples are too small to be missed with confidence."""


def dead_units(generator: Generator, batch: Batch) -> float | None:
    """Share of the rectified units that give nothing on any record of the batch; None without such modules.

    Covered: modules (nn.ReLU and its kin), a unit being a channel of images, a feature elsewhere. Not: functional calls.
    """
    alive: dict[tuple[int, int], list[Tensor]] = {}

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        active = (output > 0).detach()
        # Of three dimensions either may hold the units (convolution, transformer): the other is dead only where all is.
        for dim in (1,) if output.dim() != 3 else (1, 2):
            alive.setdefault((id(module), dim), []).append(active.transpose(0, dim).flatten(1).any(1))

    handles = [module.register_forward_hook(note) for module in generator.modules() if isinstance(module, RECTIFIERS)]
    try:
        for player in generator.players().values() if handles else ():
            if player.sees_records:
                player.losses(batch)
            player.free_loss(len(batch))
    finally:
        for handle in handles:
            handle.remove()
    by_module: dict[int, list[float]] = {}
    sizes: dict[int, int] = {}
    for (module, _), calls in alive.items():
        same = [call for call in calls if call.shape == calls[0].shape]
        by_module.setdefault(module, []).append(1 - float(torch.stack(same).any(0).float().mean()))
        sizes[module] = max(sizes.get(module, 0), len(calls[0]))
    total = sum(sizes.values())
    return sum(max(shares) * sizes[module] for module, shares in by_module.items()) / total if total else None


@dataclass(frozen=True)
class Clusters:
    """k-means of the training records, flattened: what a model that covers the data finds all of."""

    centres: np.ndarray
    shares: np.ndarray
    projection: np.ndarray | None
    space: TokenSpace

    @classmethod
    def of(cls, records: Batch, space: TokenSpace, *, seed: int) -> Clusters | None:
        """None for fewer records than two clusters need."""
        from sklearn.cluster import KMeans

        k = min(CLUSTERS, len(records) // PER_CLUSTER)
        if k < 2:
            return None
        flat = flattened(records.x, space)
        rng = np.random.default_rng(seed)
        # Distances survive a random projection (Johnson and Lindenstrauss); k-means gets cheap.
        projection = rng.normal(size=(flat.shape[1], WIDTH)) / np.sqrt(WIDTH) if flat.shape[1] > WIDTH else None
        points = flat if projection is None else flat @ projection
        found = KMeans(min(k, len(np.unique(points, axis=0))), n_init=2, random_state=seed % 2**32).fit(points)
        shares = np.bincount(found.labels_, minlength=len(found.cluster_centers_)) / len(points)
        return cls(found.cluster_centers_, shares, projection, space)

    def found(self, samples: Tensor) -> tuple[int, int]:
        """How many clusters are among the samples, and how many of those should be."""
        flat = flattened(samples, self.space)
        points = flat if self.projection is None else flat @ self.projection
        distances = (points**2).sum(1)[:, None] - 2 * points @ self.centres.T + (self.centres**2).sum(1)
        got = np.bincount(distances.argmin(1), minlength=len(self.centres)) / len(points)
        asked = self.shares * len(points) >= EXPECTED
        return int((got[asked] >= FOUND * self.shares[asked]).sum()), int(asked.sum())


def flattened(x: Tensor, space: TokenSpace) -> np.ndarray:
    """(records, ...) -> (records, width): numbers as they are, tokens one-hot; of a shared vocabulary how often each occurs."""
    x = x.detach().cpu()
    if x.is_floating_point():
        return np.asarray(x.flatten(1).double().numpy())
    if space.shared:
        return np.stack([np.bincount(row, minlength=space.sizes[0]) for row in x.flatten(1).numpy()]).astype(float)
    return np.asarray(torch.cat([F.one_hot(x[:, i], size) for i, size in enumerate(space.sizes)], dim=1).double().numpy())


def plays_a_game(generator: Generator) -> bool:
    sides = {player.sees_records for player in generator.players().values()}
    return type(generator).game_value is not Generator.game_value and len(sides) == 2


def duality_gap(generator: Generator, practice: Batch, held_out: Batch, rates: Mapping[str, float], *, steps: int, seed: int) -> float:
    """The highest value that one side reaches against the present other, minus the lowest that the other reaches (Grnarova et
    al. 2019, https://arxiv.org/abs/1811.05512): >= 0, and 0 only where neither side can gain by moving alone.

    A lower bound: each side moves a copy for `steps` steps only, on `practice`, and is judged on `held_out`.
    """
    highest = _best(generator, practice, held_out, rates, steps=steps, seed=seed, readers=True)
    lowest = _best(generator, practice, held_out, rates, steps=steps, seed=seed, readers=False)
    return highest - lowest


def _best(
    generator: Generator, practice: Batch, held_out: Batch, rates: Mapping[str, float], *, steps: int, seed: int, readers: bool
) -> float:
    mover, sign = copy.deepcopy(generator), 1.0 if readers else -1.0
    players: dict[str, Player] = {name: player for name, player in mover.players().items() if player.sees_records == readers}
    groups = [{"params": [p for p in player.parameters() if p.requires_grad], "lr": rates[name]} for name, player in players.items()]
    optimizer = torch.optim.Adam(groups)
    values = [_value(mover, held_out, seed)]
    for step in range(steps):
        reseed(practice.x.device, seed + 1 + step)
        optimizer.zero_grad()
        (-sign * mover.game_value(practice)).backward()
        optimizer.step()
        for player in players.values():
            player.after_step()
        if (step + 1) % 5 == 0 or step + 1 == steps:
            values.append(_value(mover, held_out, seed))
    return sign * max(sign * value for value in values)


def _value(generator: Generator, batch: Batch, seed: int) -> float:
    reseed(batch.x.device, seed)  # the same draws for every weighing
    return float(generator.game_value(batch).detach())
