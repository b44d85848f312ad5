"""The training loop: there is one. A strategy prepares what it gets, and the loop cannot tell which strategy that was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .contract import Generator


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
    def optimizer(self) -> torch.optim.Optimizer: ...

    def step(self) -> float | None:
        """The mean loss where it may be shown, else None."""
        ...


def train(
    generator: Generator,
    turns: Sequence[Turn],
    *,
    steps: int,
    average: float,
    epsilon_after: Callable[[int], float | None],
    report: Callable[[Progress], None],
) -> None:
    """`steps` times every player in turn; learning rate by cosine decay; the released weights are the moving average."""
    started = time.perf_counter()
    averaged = _Average(generator, average)
    bases = [[group["lr"] for group in turn.optimizer.param_groups] for turn in turns]
    generator.train()
    for step in range(1, steps + 1):
        decay = 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
        losses = []
        for turn, rates in zip(turns, bases, strict=True):
            for group, rate in zip(turn.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * decay
            losses.append(turn.step())
        averaged.update()
        report(Progress(step, steps, time.perf_counter() - started, losses[0] if losses else None, epsilon_after(step)))
    averaged.release()
    generator.eval()


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
