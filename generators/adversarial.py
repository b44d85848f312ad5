"""What the adversarial families share: the two players, their objectives, the networks of fully connected layers, outputs by space.

A maker turns noise into records, a critic tells them from real ones (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661).
The critic's loss on real records is one number per record; its loss on made ones reads no record and is free. The maker
never sees a record: its loss passes through the critic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.training.contract import Batch, Counts, Generator, Player, Rival
from guardrail.vocabulary.spaces import ImageSpace, SeriesSpace, VectorSpace

from .blocks import mlp, one_hot

ContinuousSpace = VectorSpace | ImageSpace | SeriesSpace
Activation = Literal["relu", "leaky_relu", "elu", "silu", "tanh"]
ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
SOFTNESS = 0.3
"""Temperature of the choices in training: low enough to resemble the records' zeros and ones, high enough for a gradient."""


def shape_of(space: ContinuousSpace) -> tuple[int, ...]:
    """Of one record."""
    if isinstance(space, ImageSpace):
        return space.shape
    return (space.steps, space.width) if isinstance(space, SeriesSpace) else (space.width,)


def noise_of(space: ContinuousSpace, latent: int) -> int:
    """Noise of more dimensions than the record would have to be folded into it, which a maker learns slowly."""
    return min(latent, torch.Size(shape_of(space)).numel())


class Output:
    """From a network's raw outputs to records of the space: sigmoid or tanh for numbers, softmax for choices."""

    def __init__(self, space: ContinuousSpace) -> None:
        self._blocks = space.blocks if isinstance(space, VectorSpace) else None
        self._marks = len(space.channels) if isinstance(space, SeriesSpace) and space.marked else None

    def soft(self, raw: Tensor) -> Tensor:
        """With a gradient, for training; choices are nearly one-hot (Gumbel-softmax, Jang et al. 2017, arXiv 1611.01144)."""
        if self._blocks is None:
            return raw.tanh()
        parts = [raw[:, block.start : block.stop] for block in self._blocks]
        kinds = [block.kind for block in self._blocks]
        return torch.cat([self._choose(p) if kind == "choice" else p.sigmoid() for p, kind in zip(parts, kinds, strict=True)], dim=1)

    @staticmethod
    def _choose(logits: Tensor) -> Tensor:
        noise = -torch.empty_like(logits).exponential_().log()
        return ((logits + noise) / SOFTNESS).softmax(1)

    def hard(self, raw: Tensor, rng: torch.Generator | None) -> Tensor:
        """Records as they are released; choices by `rng`, or the likeliest where there is none."""
        if self._blocks is None:
            return self._unmarked(raw.tanh())
        record = raw.sigmoid()
        for block in self._blocks:
            if block.kind == "choice":
                logits = raw[:, block.start : block.stop]
                chosen = logits.argmax(1) if rng is None else torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
                record[:, block.start : block.stop] = F.one_hot(chosen, block.size).to(record.dtype)
        return record

    def _unmarked(self, record: Tensor) -> Tensor:
        """A value that was not observed is 0, its mark -1."""
        if self._marks is None:
            return record
        seen = record[..., self._marks :] > 0
        return torch.cat([record[..., : self._marks] * seen, torch.where(seen, 1.0, -1.0).to(record.dtype)], dim=-1)


class MlpMaker(nn.Module):
    """Codes and one-hot classes -> raw outputs in the space's shape."""

    def __init__(self, space: ContinuousSpace, latent: int, hidden: Sequence[int], activation: Activation, classes: int) -> None:
        super().__init__()
        self._shape = shape_of(space)
        self.layers = mlp([noise_of(space, latent) + classes, *hidden, torch.Size(self._shape).numel()], ACTIVATIONS[activation])

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        raw: Tensor = self.layers(torch.cat([codes, labels], dim=1))
        return raw.reshape(len(codes), *self._shape)


class MlpCritic(nn.Module):
    """Records and one-hot classes -> (records,): higher where they look real."""

    def __init__(self, space: ContinuousSpace, hidden: Sequence[int], activation: Activation, classes: int) -> None:
        super().__init__()
        self._scale = 2.0 if isinstance(space, VectorSpace) else 1.0  # entries in [0, 1] are centred first
        self.layers = mlp([torch.Size(shape_of(space)).numel() + classes, *hidden, 1], ACTIVATIONS[activation])

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        flat = self._scale * x.flatten(1) - (self._scale - 1)
        scores: Tensor = self.layers(torch.cat([flat, labels], dim=1))
        return scores[:, 0]


class Noise:
    """What training draws, from torch's generator: codes, and classes by their shares. No part of the model's state."""

    def __init__(self, latent: int, classes: Sequence[int]) -> None:
        self.latent, self.classes = latent, tuple(classes)
        self.shares = [torch.full((size,), 1.0 / size) for size in classes]

    def codes(self, n: int, like: Tensor) -> Tensor:
        return torch.randn(n, self.latent, device=like.device, dtype=like.dtype)

    def labels(self, n: int, like: Tensor) -> Tensor:
        """(n, sum of classes) one-hot."""
        drawn = [torch.multinomial(shares.to(like.device), n, replacement=True) for shares in self.shares]
        return self.one_hot(torch.stack(drawn, dim=1) if drawn else None, n, like)

    def one_hot(self, given: Tensor | None, n: int, like: Tensor) -> Tensor:
        if not self.classes or given is None:
            return torch.zeros(n, 0, device=like.device, dtype=like.dtype)
        return one_hot(given, self.classes).to(like.dtype)


class Critic(Player):
    """Raises its score on records and lowers it on what the maker makes: log D(x) + log(1 - D(G(z))), D a sigmoid of the score."""

    def __init__(self, network: nn.Module, maker: nn.Module, output: Output, noise: Noise, turns: int = 1, pace: float = 1.0) -> None:
        super().__init__()
        self.network, self.turns, self.pace = network, turns, pace
        self._maker, self._output, self._noise = Rival(maker), output, noise

    def losses(self, batch: Batch) -> Tensor:
        return F.softplus(-self.scores(batch))

    def free_loss(self, n: int) -> Tensor | None:
        made, labels = self.made(n, self._weight())
        return F.softplus(self.network(made, labels)).mean()

    def scores(self, batch: Batch) -> Tensor:
        """(records,)"""
        scores: Tensor = self.network(batch.x, self._noise.one_hot(batch.given, len(batch), batch.x))
        return scores

    @torch.no_grad()
    def made(self, n: int, like: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Records and their one-hot classes, which are drawn where none are asked for."""
        labels = self._noise.labels(n, like) if labels is None else labels
        return self._output.soft(self._maker(self._noise.codes(n, like), labels)), labels

    def _weight(self) -> Tensor:
        return next(self.network.parameters())


class Maker(Player):
    """Makes records that the critic takes for real: -log D(G(z)), whose gradient does not vanish where the critic is sure."""

    sees_records: ClassVar[bool] = False

    def __init__(self, network: nn.Module, critic: nn.Module, output: Output, noise: Noise) -> None:
        super().__init__()
        self.network = network
        self._critic, self._output, self._noise = Rival(critic), output, noise

    def losses(self, batch: Batch) -> Tensor:
        """Nothing that depends on a record."""
        return torch.zeros(len(batch), device=batch.x.device)

    def free_loss(self, n: int) -> Tensor | None:
        made, labels = self.made(n)
        return F.softplus(-self._critic(made, labels)).mean()

    def made(self, n: int) -> tuple[Tensor, Tensor]:
        """With a gradient: records and their one-hot classes."""
        like = next(self.network.parameters())
        labels = self._noise.labels(n, like)
        return self._output.soft(self.network(self._noise.codes(n, like), labels)), labels


class Adversarial(Generator):
    """A maker, a critic, and what every such family offers. A family's `__init__` calls `pair`."""

    def pair(
        self, space: ContinuousSpace, latent: int, networks: tuple[nn.Module, nn.Module], *, turns: int = 1, pace: float = 1.0
    ) -> None:
        """Args: networks: maker and critic; turns, pace: of the critic."""
        self._latent = noise_of(space, latent)
        self._noise, self._output = Noise(self._latent, self.classes(space)), Output(space)
        maker, critic = networks
        self.critic = self.critic_of(critic, maker, turns, pace)
        self.maker = self.maker_of(maker, critic)

    def critic_of(self, network: nn.Module, maker: nn.Module, turns: int, pace: float) -> Critic:
        return Critic(network, maker, self._output, self._noise, turns, pace)

    def maker_of(self, network: nn.Module, critic: nn.Module) -> Maker:
        return Maker(network, critic, self._output, self._noise)

    def classes(self, space: ContinuousSpace) -> tuple[int, ...]:
        """Of the conditions that the model uses."""
        return space.conditions if self.conditional else ()

    def initialise(self, counts: Counts) -> None:
        if self.conditional:
            self._noise.shares = [torch.from_numpy(shares).to(torch.get_default_dtype()) for shares in counts.conditions()]

    def players(self) -> Mapping[str, Player]:
        return {"critic": self.critic, "maker": self.maker}

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        return self._output.hard(self._raw(self.draw_latent(n, rng), given), rng)

    def draw_latent(self, n: int, rng: torch.Generator) -> Tensor:
        like = next(self.maker.parameters())
        return torch.randn(n, self._latent, generator=rng, device=like.device, dtype=like.dtype)

    @torch.no_grad()
    def from_latent(self, codes: Tensor, given: Tensor | None = None) -> Tensor:
        return self._output.hard(self._raw(codes, given), None)

    def _raw(self, codes: Tensor, given: Tensor | None) -> Tensor:
        raw: Tensor = self.maker.network(codes, self._noise.one_hot(given, len(codes), codes))
        return raw

    @torch.no_grad()
    def diagnose(self, batch: Batch) -> dict[str, float]:
        """`win_rate`: how often the critic scores a record above a made one; one half where it cannot tell."""
        made, labels = self.critic.made(len(batch), batch.x)
        real, fake = self.critic.scores(batch), self.critic.network(made, labels)
        wins = (real[:, None] > fake).double() + 0.5 * (real[:, None] == fake).double()
        return {"win_rate": float(wins.mean())}

    def game_value(self, batch: Batch) -> Tensor:
        made, labels = self.maker.made(len(batch))
        return -self.critic.losses(batch).mean() - F.softplus(self.critic.network(made, labels)).mean()
