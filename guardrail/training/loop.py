"""The training loop: there is one. A strategy prepares what it gets, and the loop cannot tell which strategy that was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .contract import Generator, Player, Recipe


@dataclass(frozen=True)
class Progress:
    """What may be shown and kept after a step."""

    step: int
    steps: int
    seconds: float
    loss: float | None
    """None under privacy: a loss computed on private records that nobody paid for is not shown."""
    epsilon: float | None
    """Spent so far; None without privacy, or between the steps at which it is computed."""


class Turn(Protocol):
    """One player's turn: from a batch of its own to changed weights."""

    @property
    def player(self) -> Player: ...

    @property
    def optimizer(self) -> torch.optim.Optimizer: ...

    def step(self) -> float | None:
        """The mean loss where it may be shown, else None."""
        ...


def train(
    generator: Generator,
    turns: Sequence[Turn],
    recipe: Recipe,
    *,
    steps: int,
    epsilon_after: Callable[[int], float | None],
    report: Callable[[Progress], None],
) -> None:
    """`steps` times every player in turn; learning rate by the recipe's schedule; the released weights are the moving average."""
    started = time.perf_counter()
    averaged = _Average(generator, recipe.average)
    bases = [[group["lr"] for group in turn.optimizer.param_groups] for turn in turns]
    generator.train()
    for step in range(1, steps + 1):
        progress = (step - 1) / steps
        height = rate_factor(recipe, progress)
        losses = []
        for turn, rates in zip(turns, bases, strict=True):
            for group, rate in zip(turn.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * height
            for _ in range(turn.player.turns):
                turn.player.before_step(progress)
                loss = turn.step()
            losses.append(loss)
        averaged.update()
        report(Progress(step, steps, time.perf_counter() - started, losses[0] if losses else None, epsilon_after(step)))
    averaged.release()
    generator.eval()


def rate_factor(recipe: Recipe, progress: float) -> float:
    """Of the full learning rate, after this share of the steps."""
    if progress < recipe.warmup:
        return (progress + 0.01) / (recipe.warmup + 0.01)
    rest = (progress - recipe.warmup) / (1 - recipe.warmup)
    return {"cosine": 0.5 * (1 + math.cos(math.pi * rest)), "linear": 1 - rest, "constant": 1.0}[recipe.schedule]


class _Average:
    """Exponential moving average of the weights, unbiased from the first step (as Adam's moments are)."""

    def __init__(self, generator: Generator, decay: float) -> None:
        self._weights: list[Tensor] = list(generator.parameters())
        self._means = [torch.zeros_like(weight) for weight in self._weights]
        self._decay = decay
        self._mass = 0.0

    @torch.no_grad()
    def update(self) -> None:
        self._mass = self._decay * self._mass + 1 - self._decay
        torch._foreach_lerp_(self._means, self._weights, 1 - self._decay)

    @torch.no_grad()
    def release(self) -> None:
        for weight, mean in zip(self._weights, self._means, strict=True) if self._mass else ():
            weight.copy_(mean / self._mass)
