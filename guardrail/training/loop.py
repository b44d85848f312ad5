"""The training loop: there is one. A strategy prepares what it gets, and the loop cannot tell which strategy that was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ..vocabulary.errors import SpecError
from .contract import Generator, Player, Recipe

PATIENCE = 20
"""Steps in a row without a finite loss, and the training is given up."""
READ_SECONDS = 0.2
"""How often losses that lie on a GPU are read: every read makes it wait."""


@dataclass(frozen=True)
class Progress:
    """What may be shown and kept after a step."""

    step: int
    steps: int
    seconds: float
    loss: float | None
    """Of the first player. None under privacy: a loss computed on private records that nobody paid for is not shown."""
    epsilon: float | None
    """Spent so far; None without privacy, or between the steps at which it is computed."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """By player; empty under privacy."""
    monitor: Mapping[str, float] = field(default_factory=dict)
    """What the monitor measured at this step, by name: empty at most steps, and always under privacy."""


class Turn(Protocol):
    """One player's turn: from a batch of its own to changed weights."""

    @property
    def player(self) -> Player: ...

    @property
    def optimizer(self) -> torch.optim.Optimizer: ...

    def step(self) -> Tensor | None:
        """The mean loss, a scalar, where it may be shown, else None."""
        ...


@dataclass
class Training:
    """A training as it stands between two steps: with the data, the seed and the plan all that decides how it goes on."""

    generator: Generator
    turns: Mapping[str, Turn]
    average: Average
    recipe: Recipe
    steps: int
    step: int = 0
    """Steps taken."""
    seconds: float = 0.0


class Companion(Protocol):
    """What goes along with a training and changes nothing in it: the monitor, sample pictures."""

    def begin(self, training: Training, notes: Any) -> None:
        """Before the first step; or, with its own `notes` of a checkpoint, before the next one."""
        ...

    def after_step(self, training: Training, losses: Mapping[str, Tensor | None]) -> Mapping[str, float]:
        """Returns what it measured, for the log."""
        ...

    def end(self, training: Training) -> None:
        """With the weights that are released."""
        ...

    def notes(self) -> Any:
        """What it needs to go on, as JSON."""
        ...


class Keeper(Protocol):
    """Saves a training so that it can go on after a kill."""

    def resume(self, training: Training) -> Mapping[str, Any]:
        """Puts the training where it was kept, and gives the companions' notes; nothing where nothing was kept."""
        ...

    def after_step(self, training: Training, companions: Mapping[str, Companion]) -> None: ...


def train(
    generator: Generator,
    turns: Mapping[str, Turn],
    recipe: Recipe,
    *,
    steps: int,
    epsilon_after: Callable[[int], float | None],
    report: Callable[[Progress], None],
    companions: Mapping[str, Companion] = {},
    keeper: Keeper | None = None,
    leg: tuple[int, int] | None = None,
) -> None:
    """`steps` times every player in turn; learning rate by the recipe's schedule; the released weights are the moving average.

    Args:
        turns: by player, in their order.
        leg: of the steps only those from the first of these two numbers to before the second: one round of a federation.

    Raises:
        SpecError: training diverged: losses or weights are no numbers any more.
    """
    first, end = leg or (0, steps)
    training = Training(generator, turns, Average(generator, recipe.average), recipe, steps, step=first)
    bases = {name: [group["lr"] for group in turn.optimizer.param_groups] for name, turn in training.turns.items()}
    generator.train()
    notes = keeper.resume(training) if keeper else {}
    for name, companion in companions.items():
        companion.begin(training, notes.get(name))
    told, clock = _Told(report), time.perf_counter() - training.seconds
    while training.step < end:
        losses = _one_step(training, bases)
        training.seconds = time.perf_counter() - clock
        seen = {key: value for companion in companions.values() for key, value in companion.after_step(training, losses).items()}
        told.add(training, losses, epsilon_after(training.step), seen)
        if keeper:
            keeper.after_step(training, companions)
    told.flush()
    training.average.release()
    generator.eval()
    if not sound(generator):
        raise _diverged(training.step)
    for companion in companions.values():
        companion.end(training)


def _one_step(training: Training, bases: Mapping[str, list[float]]) -> dict[str, Tensor | None]:
    progress = training.step / training.steps
    height = rate_factor(training.recipe, progress)
    losses: dict[str, Tensor | None] = {}
    for name, turn in training.turns.items():
        for group, rate in zip(turn.optimizer.param_groups, bases[name], strict=True):
            group["lr"] = rate * height
        for _ in range(turn.player.turns):
            turn.player.before_step(progress)
            losses[name] = turn.step()
    training.average.update()
    training.step += 1
    return losses


def rate_factor(recipe: Recipe, progress: float) -> float:
    """Of the full learning rate, after this share of the steps."""
    if progress < recipe.warmup:
        return (progress + 0.01) / (recipe.warmup + 0.01)
    rest = (progress - recipe.warmup) / (1 - recipe.warmup)
    return {"cosine": 0.5 * (1 + math.cos(math.pi * rest)), "linear": 1 - rest, "constant": 1.0}[recipe.schedule]


class Average:
    """Exponential moving average of the weights, unbiased from the first step (as Adam's moments are)."""

    def __init__(self, generator: Generator, decay: float) -> None:
        self._weights: list[Tensor] = list(generator.parameters())
        self.means = [torch.zeros_like(weight) for weight in self._weights] if decay else []
        self._decay = decay
        self.mass = 0.0
        """How much of the mean is there: 1 after many steps."""

    @torch.no_grad()
    def update(self) -> None:
        if self.means:
            self.mass = self._decay * self.mass + 1 - self._decay
            torch._foreach_lerp_(self.means, self._weights, 1 - self._decay)

    @torch.no_grad()
    def release(self) -> None:
        for weight, mean in zip(self._weights, self.means, strict=True) if self.mass else ():
            weight.copy_(mean / self.mass)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The weights that would be released now, for as long as it lasts."""
        present = [weight.detach().clone() for weight in self._weights] if self.mass else []
        self.release()
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, value in zip(self._weights, present, strict=True) if self.mass else ():
                    weight.copy_(value)


class _Told:
    """Reports every step; steps whose losses lie on a GPU a few times a second, many at once."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self._report, self._read = report, time.perf_counter()
        self._waiting: list[tuple[Progress, dict[str, Tensor]]] = []
        self._lost = 0

    def add(self, training: Training, losses: Mapping[str, Tensor | None], epsilon: float | None, seen: Mapping[str, float]) -> None:
        shown = {name: loss for name, loss in losses.items() if loss is not None}
        self._waiting.append((Progress(training.step, training.steps, training.seconds, None, epsilon, {}, seen), shown))
        if not any(loss.is_cuda for loss in shown.values()) or time.perf_counter() - self._read > READ_SECONDS:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        values = iter(read([loss for _, losses in waiting for loss in losses.values()]))
        for progress, losses in waiting:
            by_player = {name: next(values) for name in losses}
            loss = next(iter(by_player.values()), None)
            self._report(Progress(progress.step, progress.steps, progress.seconds, loss, progress.epsilon, by_player, progress.monitor))
            self._lost = 0 if all(math.isfinite(value) for value in by_player.values()) else self._lost + 1
            if self._lost >= PATIENCE:
                raise _diverged(progress.step)
        self._read = time.perf_counter()


@torch.no_grad()
def sound(generator: Generator) -> bool:
    """Whether all weights are numbers."""
    weights: list[Tensor] = [weight for weight in generator.parameters() if weight.numel()]
    return not weights or bool(torch.stack(torch._foreach_norm(weights)).isfinite().all())


def _diverged(step: int) -> SpecError:
    return SpecError(
        f"training diverged: after step {step} losses or weights are not finite numbers, and nothing can be drawn from such a model; "
        "lower training.learning_rate, or bound the gradients by training.max_norm"
    )


def read(scalars: Sequence[Tensor]) -> list[float]:
    """Many numbers of a device in one go."""
    return [float(value) for value in torch.stack([scalar.detach().float() for scalar in scalars]).tolist()] if scalars else []
