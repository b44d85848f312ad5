"""Training without privacy: shuffled batches, exact counts, one public seed. Same spec, same machine, same model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..vocabulary.seeds import entropy
from .contract import Generator, Player, Recipe
from .loop import Progress, train
from .strategy import Dataset, Outcome, Spending, adam, smoothed_shares


class ExactCounts:
    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def one_way(self) -> tuple[np.ndarray, ...]:
        tokens = self._dataset.tokens
        return tuple(smoothed_shares(np.bincount(tokens[:, i], minlength=size)) for i, size in enumerate(self._dataset.sizes))


class PlainTurn:
    def __init__(self, player: Player, optimizer: torch.optim.Optimizer, batches: Iterator[Tensor]) -> None:
        self.player, self.optimizer, self._batches = player, optimizer, batches

    def step(self) -> float | None:
        batch = next(self._batches)
        self.optimizer.zero_grad()
        loss = self.player.losses(batch).mean() if self.player.sees_records else None
        free = self.player.free_loss(len(batch))
        total = loss if free is None else free if loss is None else loss + free
        if total is None:
            return None
        total.backward()
        self.optimizer.step()
        self.player.after_step()
        return float(total.detach())


class Plain:
    def __init__(self, spending: Spending) -> None:
        self._spending = spending

    def recipe(self, generator: type[Generator]) -> Recipe:
        return generator.plain

    def fit(
        self, generator: Generator, dataset: Dataset, recipe: Recipe, *, seed: int, device: torch.device, report: Callable[[Progress], None]
    ) -> Outcome:
        self._spending.reserve(())
        torch.manual_seed(entropy(seed, "training") % 2**63)
        counts = ExactCounts(dataset)
        generator.initialise(counts)
        generator.to(device)
        rows = len(dataset.records)
        batch_size = min(math.ceil(recipe.sample_rate * rows), recipe.batch_size or rows)
        turns = [
            PlainTurn(player, adam(player, recipe), _shuffled(dataset.records.to(device), batch_size, entropy(seed, f"batches of {name}")))
            for name, player in generator.players().items()
        ]
        steps = recipe.epochs * math.ceil(rows / batch_size) if turns else 0
        if turns:
            train(generator, turns, steps=steps, average=recipe.average, epsilon_after=lambda _: None, report=report)
        return Outcome(counts, steps, batch_size, recipe.epochs if turns else 1, None, rows)


def _shuffled(records: Tensor, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Epoch after epoch, without end, each in a new order."""
    order = torch.Generator().manual_seed(seed % 2**63)
    while True:
        for indices in torch.randperm(len(records), generator=order).split(batch_size):
            yield records[indices.to(records.device)]
