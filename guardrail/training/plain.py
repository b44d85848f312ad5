"""Training without privacy: shuffled batches, exact counts, one public seed. Same spec, same machine, same model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..vocabulary.errors import Unsupported
from ..vocabulary.seeds import entropy
from .contract import Batch, Generator, Player, Recipe
from .loop import Progress, train
from .strategy import Dataset, Outcome, Spending, optimizer_of, smoothed_shares


CHUNK = 4096
"""Records whose statistics are in memory at once."""


class ExactCounts:
    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def one_way(self) -> tuple[np.ndarray, ...]:
        tokens, sizes = self._dataset.tokens, self._dataset.space.sizes
        return tuple(smoothed_shares(np.bincount(tokens[:, i], minlength=size)) for i, size in enumerate(sizes))

    def conditions(self) -> tuple[np.ndarray, ...]:
        given, sizes = self._dataset.records.given.cpu().numpy(), self._dataset.space.conditions
        return tuple(smoothed_shares(np.bincount(given[:, i], minlength=size)) for i, size in enumerate(sizes))

    def ngrams(self, order: int) -> tuple[np.ndarray, np.ndarray]:
        space = self._dataset.space
        if not space.shared:
            raise Unsupported("token runs are counted where all positions share one vocabulary; the columns of a table do not")
        tokens, start = self._dataset.tokens, space.sizes[0]
        padded = np.concatenate([np.full((len(tokens), order), start), tokens], axis=1)
        runs = np.lib.stride_tricks.sliding_window_view(padded, order + 1, axis=1)
        if space.end is not None:  # the end once; what fills up the positions after it is nothing that happened
            runs = runs[(tokens == space.end).cumsum(axis=1) - (tokens == space.end) == 0]
        found, counts = np.unique(runs.reshape(-1, order + 1), axis=0, return_counts=True)
        return found, counts

    def total(self, statistic: Callable[[Batch], Tensor]) -> Tensor:
        return torch.stack([statistic(part).sum(0) for part in self._dataset.records.split(CHUNK)]).sum(0)


class PlainTurn:
    def __init__(self, player: Player, optimizer: torch.optim.Optimizer, batches: Iterator[Batch], recipe: Recipe) -> None:
        self.player, self.optimizer, self._batches, self._recipe = player, optimizer, batches, recipe

    def step(self) -> float | None:
        batch = next(self._batches)
        self.optimizer.zero_grad()
        loss = self.player.losses(batch).mean() if self.player.sees_records else None
        free = self.player.free_loss(len(batch))
        total = loss if free is None else free if loss is None else loss + free
        if total is None:
            return None
        total.backward()
        if self._recipe.max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.player.parameters(), self._recipe.max_norm)
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
            PlainTurn(
                player, optimizer_of(player, recipe), _shuffled(dataset.records.to(device), batch_size, entropy(seed, f"batches of {name}")), recipe
            )
            for name, player in generator.players().items()
        ]
        steps = recipe.epochs * math.ceil(rows / batch_size) if turns else 0
        if turns:
            train(generator, turns, recipe, steps=steps, epsilon_after=lambda _: None, report=report)
        return Outcome(counts, steps, batch_size, recipe.epochs if turns else 1, None, rows)


def _shuffled(records: Batch, batch_size: int, seed: int) -> Iterator[Batch]:
    """Epoch after epoch, without end, each in a new order."""
    order = torch.Generator().manual_seed(seed % 2**63)
    while True:
        for indices in torch.randperm(len(records), generator=order).split(batch_size):
            yield records[indices.to(records.x.device)]
