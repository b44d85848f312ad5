"""Training without privacy: shuffled batches, exact counts, one public seed. Same spec, same machine, same model.

Batch and draws of a player's step follow from the seed, the player and the number of the step, and from nothing that happened
before: so a training can go on from weights and moments alone, on as many processes as one likes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..vocabulary.errors import Unsupported
from ..vocabulary.seeds import entropy
from ..vocabulary.spaces import TokenSpace
from .conduct import PLAINLY, Conduct, Previews, reseed
from .contract import Batch, Generator, Player, Recipe
from .loop import Companion, Progress, train
from .monitor import Monitor
from .optimizers import optimizer_of
from .strategy import Dataset, Outcome, Spending, smoothed_shares

CHUNK = 512
"""Records whose statistics are in memory at once."""


class ExactCounts:
    noisy = False

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def one_way(self) -> tuple[np.ndarray, ...]:
        return tuple(smoothed_shares(count) for count in self.counted()[0])

    def conditions(self) -> tuple[np.ndarray, ...]:
        return tuple(smoothed_shares(count) for count in self.counted()[1])

    def counted(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """How often each token stands in each column, and each class in each condition."""
        space, given = self._dataset.space, self._dataset.records.given.cpu().numpy()
        return _counts_in(self._dataset.tokens, space.sizes), _counts_in(given, space.conditions if given.shape[1] else ())

    def ngrams(self, order: int, period: int = 1) -> tuple[np.ndarray, np.ndarray]:
        runs, counted = runs_of(self._dataset.tokens, self._dataset.space, order, period)
        return _distinct(runs[counted])

    def total(self, statistic: Callable[[Batch], Tensor]) -> Tensor:
        return torch.stack([statistic(part).sum(0) for part in self._dataset.records.split(CHUNK)]).sum(0)


def _counts_in(tokens: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
    return tuple(np.bincount(tokens[:, i], minlength=size) for i, size in enumerate(sizes))


def runs_of(tokens: np.ndarray, space: TokenSpace, order: int, period: int) -> tuple[np.ndarray, np.ndarray]:
    """Every run of `order + 1` tokens after its place, (records, positions, order + 2), and which of them count, (records, positions)."""
    if not space.shared and period != space.length:
        raise Unsupported("columns have vocabularies of their own: count runs of tokens with period = the number of columns")
    padded = np.concatenate([np.full((len(tokens), order), max(space.sizes)), tokens], axis=1)
    runs = np.lib.stride_tricks.sliding_window_view(padded, order + 1, axis=1)
    places = np.broadcast_to((np.arange(space.length) % period)[None, :, None], (*tokens.shape, 1))
    ends = tokens == (-1 if space.end is None else space.end)
    # The end once; what fills up the positions after it is nothing that happened.
    return np.concatenate([places, runs], axis=2), ends.cumsum(axis=1) - ends == 0


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that occur, in ascending order, and how often each does."""
    if not rows.size:
        return rows.astype(np.int64), np.zeros(0, np.int64)
    order = np.lexsort(rows.T[::-1])  # several times faster than unique(axis=0)
    rows = rows[order]
    first = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])
    return rows[first], np.diff(np.append(np.flatnonzero(first), len(rows)))


class Order:
    """Epoch after epoch, without end, each in an order of its own."""

    def __init__(self, records: int, batch_size: int, seed: int, name: str) -> None:
        self._records, self._size, self._seed, self._name = records, batch_size, seed, name
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        self.per_epoch = math.ceil(records / batch_size)

    def __call__(self, number: int) -> Tensor:
        """(records of the batch,) int64: which records the player's batch of this number holds, the first being 0."""
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            rng = torch.Generator().manual_seed(entropy(self._seed, f"batches of {self._name}, epoch {epoch}") % 2**63)
            self._epoch, self._order = epoch, torch.randperm(self._records, generator=rng)
        return self._order[place * self._size : (place + 1) * self._size]


class PlainTurn:
    def __init__(
        self,
        name: str,
        player: Player,
        optimizer: torch.optim.Optimizer,
        records: Batch,
        order: Order,
        recipe: Recipe,
        *,
        seed: int,
        conduct: Conduct,
    ) -> None:
        self.player, self.optimizer = player, optimizer
        self._name, self._records, self._order, self._recipe, self._seed = name, records, order, recipe, seed
        self._conduct, self._device = conduct, records.x.device
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._losses, self._free_loss = player.losses, player.free_loss
        self._unproven = conduct.compile
        if conduct.compile:
            self._losses, self._free_loss = torch.compile(player.losses), torch.compile(player.free_loss)
        self.number = 0
        """Of the player's next batch."""
        self.gradient_norm: Tensor | None = None
        """Of the latest step before it was bounded; None where nothing bounds it."""

    def step(self) -> Tensor | None:
        indices, number = self._order(self.number), self.number
        self.number += 1
        self.optimizer.zero_grad()
        loss = self._backward(indices[self._conduct.world.share(len(indices))], len(indices), number)
        loss = self._conduct.world.sum_gradients(self._parameters, loss)
        if loss is None:
            return None
        if self._recipe.max_norm is not None:
            self.gradient_norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._recipe.max_norm)
        self.optimizer.step()
        self.player.after_step()
        return loss

    def _backward(self, indices: Tensor, n: int, number: int) -> Tensor | None:
        """Puts this process's part of the gradient into `.grad`: of its records, a few at a time where memory asks for it."""
        try:
            reseed(self._device, entropy(self._seed, f"draws of {self._name}, batch {number}, process {self._conduct.world.rank}"))
            total: Tensor | None = None
            for part in indices.split(self._conduct.micro_batch or n) if len(indices) else ():
                with self._conduct.precisely(self._device):
                    loss = self._mean_loss(part)
                if loss is None:
                    return None
                if len(part) != n:
                    loss = loss * (len(part) / n)
                loss.backward()
                total = loss.detach() if total is None else total + loss.detach()
        except Exception as fault:
            # Only compiled losses, only the first time: whatever else is wrong comes again without the compiler.
            if not self._unproven:
                raise
            return self._uncompiled(indices, n, number, fault)
        self._unproven = False
        return total

    def _mean_loss(self, indices: Tensor) -> Tensor | None:
        loss = None
        if self.player.sees_records:
            losses = self._losses(self._records[indices.to(self._device)])
            loss = (losses.float() if losses.dtype == torch.bfloat16 else losses).mean()
        free = self._free_loss(len(indices))
        return loss if free is None else free if loss is None else loss + free

    def _uncompiled(self, indices: Tensor, n: int, number: int, fault: Exception) -> Tensor | None:
        self._conduct.tell(
            f"training.compile: the losses of {self._name} could not be compiled here, and run as they are "
            f"({type(fault).__name__}: {str(fault).strip().splitlines()[0] if str(fault).strip() else 'no message'})"
        )
        self._unproven, self._losses, self._free_loss = False, self.player.losses, self.player.free_loss
        self.optimizer.zero_grad()
        return self._backward(indices, n, number)


class Plain:
    def __init__(self, spending: Spending) -> None:
        self._spending = spending

    def recipe(self, generator: Generator) -> Recipe:
        return generator.plain

    def fit(
        self,
        generator: Generator,
        dataset: Dataset,
        recipe: Recipe,
        *,
        seed: int,
        device: torch.device,
        report: Callable[[Progress], None],
        conduct: Conduct = PLAINLY,
    ) -> Outcome:
        self._spending.reserve(())
        torch.manual_seed(entropy(seed, "training") % 2**63)
        counts = ExactCounts(dataset)
        generator.initialise(counts)
        generator.to(device)
        conduct.world.spread(generator)
        turns = plain_turns(generator.players(), dataset, recipe, seed=seed, device=device, conduct=conduct)
        rows, batch_size = len(dataset.records), batch_of(recipe, len(dataset.records))
        if not turns:
            return Outcome(counts, 0, batch_size, 1, None, rows)
        steps = recipe.epochs * math.ceil(rows / batch_size)
        monitor = Monitor(dataset, seed=seed, device=device, tell=conduct.tell) if conduct.monitor and conduct.world.leads else None
        train(
            generator,
            turns,
            recipe,
            steps=steps,
            epsilon_after=lambda _: None,
            report=report if conduct.world.leads else lambda _: None,
            companions=companions(conduct, monitor),
            keeper=conduct.checkpoints,
        )
        return Outcome(counts, steps, batch_size, recipe.epochs, None, rows, monitor.record() if monitor else None)


def batch_of(recipe: Recipe, rows: int) -> int:
    return min(math.ceil(recipe.sample_rate * rows), recipe.batch_size or rows)


def plain_turns(
    players: Mapping[str, Player], dataset: Dataset, recipe: Recipe, *, seed: int, device: torch.device, conduct: Conduct
) -> dict[str, PlainTurn]:
    """Of each player on the records of this data set."""
    records, rows = dataset.records.to(device), len(dataset.records)
    orders = {name: Order(rows, batch_of(recipe, rows), seed, name) for name in players}
    return {
        name: PlainTurn(name, player, optimizer_of(player, recipe), records, orders[name], recipe, seed=seed, conduct=conduct)
        for name, player in players.items()
    }


def companions(conduct: Conduct, monitor: Monitor | None) -> dict[str, Companion]:
    found: dict[str, Companion] = {"monitor": monitor} if monitor else {}
    if conduct.preview is not None and conduct.world.leads:
        found["preview"] = Previews(conduct.preview, conduct.preview_every)
    return found
