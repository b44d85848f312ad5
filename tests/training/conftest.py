"""Two small models, and what a strategy needs to train them: a noisy autoencoder, and a game of generator and critic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.training.conduct import Conduct
from guardrail.training.contract import Batch, Generator, Player, Recipe, Rival
from guardrail.training.plain import Plain
from guardrail.training.private import Private
from guardrail.training.strategy import Dataset, Outcome
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import TokenSpace
from guardrail.vocabulary.spec import PrivacySpec


class Noisy(Generator, Player):
    """Reconstructs records that noise was added to: its loss draws."""

    spaces = ("vector",)
    Options = Frozen
    plain = Recipe(epochs=2, sample_rate=1.0, batch_size=16, learning_rate=0.01)
    private = None
    noise = 0.3

    def __init__(self, space: Any = None, options: Any = None) -> None:
        super().__init__(space, options)
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        self.register_buffer("asked", torch.zeros(()))

    def players(self) -> Mapping[str, Player]:
        return {"noisy": self}

    def losses(self, batch: Batch) -> Tensor:
        self.asked += 1  # a buffer that every look would change
        noisy = batch.x + self.noise * torch.randn_like(batch.x)
        return (self.layers(noisy) - batch.x).square().sum(1)

    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        return self.layers(torch.randn(n, 2, generator=rng))


class Quiet(Noisy):
    noise = 0.0


class Calm(Noisy):
    """The same without noise, and without a memory of having been asked."""

    def losses(self, batch: Batch) -> Tensor:
        return (self.layers(batch.x) - batch.x).square().sum(1)


class Forger(Player):
    sees_records = False

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
        self._critic = Rival(critic)

    def free_loss(self, n: int) -> Tensor:
        return F.softplus(-self._critic(self.network(torch.randn(n, 4)))).mean()


class Critic(Player):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))
        self.forger: Rival

    def losses(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            fakes = self.forger(torch.randn(len(batch), 4))
        return (F.softplus(-self.network(batch.x)) + F.softplus(self.network(fakes))).squeeze(1)


class Game(Generator):
    spaces = ("vector",)
    Options = Frozen
    plain = Recipe(epochs=40, sample_rate=1.0, batch_size=64, learning_rate=0.002, average=0.0, schedule="constant", betas=(0.5, 0.9))
    private = None

    def __init__(self, space: Any = None, options: Any = None) -> None:
        super().__init__(space, options)
        self.critic = Critic()
        self.forger = Forger(self.critic.network)
        self.critic.forger = Rival(self.forger.network)

    def players(self) -> Mapping[str, Player]:
        return {"critic": self.critic, "forger": self.forger}

    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        return self.forger.network(torch.randn(n, 4, generator=rng))

    def diagnose(self, batch: Batch) -> dict[str, float]:
        fakes = self.forger.network(torch.randn(len(batch), 4))
        wins = self.critic.network(batch.x) > self.critic.network(fakes)
        return {"win_rate": float(wins.float().mean()), "spread": float(fakes.std())}

    def game_value(self, batch: Batch) -> Tensor:
        fakes = self.forger.network(torch.randn(len(batch), 4))
        return F.logsigmoid(self.critic.network(batch.x)).mean() + F.logsigmoid(-self.critic.network(fakes)).mean()


UNWATCHED = Conduct(monitor=False)


class Free:
    """A ledger that lets everybody."""

    def reserve(self, mechanisms: tuple[Any, ...]) -> None:
        pass


def ring(n: int = 96, modes: int = 8, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * rng.integers(0, modes, n) / modes
    points = np.stack([np.cos(angles), np.sin(angles)], 1) + 0.05 * rng.normal(size=(n, 2))
    return torch.from_numpy(points.astype(np.float32))


@dataclass(frozen=True)
class Trained:
    model: Generator
    outcome: Outcome
    history: list[Any]

    @property
    def weights(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])


class Studio:
    """What the tests train with."""

    Noisy, Quiet, Calm, Game, Critic, Forger = Noisy, Quiet, Calm, Game, Critic, Forger
    ring = staticmethod(ring)

    @staticmethod
    def fit(kind: Any = Noisy, *, records: Tensor | None = None, conduct: Conduct = UNWATCHED, seed: int = 0, **changes: Any):
        torch.manual_seed(5)
        model = kind() if isinstance(kind, type) else kind
        x = ring() if records is None else records
        dataset = Dataset(Batch.of(x), np.zeros((len(x), 1), dtype=np.int64), TokenSpace(("x",), (1,)))
        history: list[Any] = []
        recipe = model.plain.model_copy(update=changes)
        device = torch.device("cpu")
        outcome = Plain(Free()).fit(model, dataset, recipe, seed=seed, device=device, report=history.append, conduct=conduct)
        return Trained(model, outcome, history)

    @staticmethod
    def fit_privately(kind: Any, *, conduct: Conduct = UNWATCHED, noise: str = "seeded"):
        torch.manual_seed(5)
        model, x = kind(), ring()
        dataset = Dataset(Batch.of(x), np.zeros((len(x), 1), dtype=np.int64), TokenSpace(("x",), (1,)), units=np.arange(len(x)) // 2)
        privacy = PrivacySpec.model_validate({"epsilon": 2.0, "noise": noise})
        strategy = Private(privacy, holdout=0.0, schema_sources={}, unit="who", records=None, spending=Free())
        history: list[Any] = []
        recipe = model.plain.model_copy(update={"epochs": 4, "sample_rate": 0.2, "batch_size": None})
        device = torch.device("cpu")
        outcome = strategy.fit(model, dataset, recipe, seed=0, device=device, report=history.append, conduct=conduct)
        return Trained(model, outcome, history)


@pytest.fixture
def studio() -> type[Studio]:
    return Studio
