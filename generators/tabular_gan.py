"""Tabular GAN of the CTGAN type (Xu et al. 2019, https://arxiv.org/abs/1907.00503): modes for numbers, conditions for rare categories.

A number becomes the choice of a mode of its column's mixture and an offset within it. The maker is told one category to make,
common and rare ones by the logarithm of their frequency; a record stands for a category of its own, and its loss is weighed so
that records stand for categories as often as the maker is asked for them. A released record is asked for by the true shares.
The paper's packing of several records (PacGAN) is left out: one record would move another's loss; so is its batch normalisation.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from guardrail.training.contract import Batch, Counts, Question, Recipe, Sums
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import VectorSpace

from .adversarial import Activation, Maker, MlpCritic, MlpMaker, Noise, Output, noise_of
from .modes import Modes
from .wgan import Wasserstein, WassersteinCritic

HEAVIEST = 30.0
"""How much more often the maker may be asked for a category than records have it: bounds the weight of a record's loss."""


class TabularGanOptions(Frozen):
    latent: int = Field(default=64, gt=0, description="dimensions of the noise, but no more than a record has numbers")
    modes: int = Field(default=10, gt=0, description="normals in the mixture of each number")
    penalty: float = Field(default=0.3, gt=0, description="weight of the bound on the critic's slope")
    turns: int = Field(default=2, gt=0, description="the critic's steps to one of the maker")
    hidden: tuple[int, ...] = Field(default=(256, 256), description="widths of the hidden layers")
    activation: Activation = Field(default="relu", description="between the maker's layers")


class ModeOutput(Output):
    def __init__(self, modes: Modes) -> None:
        super().__init__(modes.space)
        self.modes = modes

    def soft(self, raw: Tensor) -> Tensor:
        return self.modes.silenced(super().soft(raw))

    def hard(self, raw: Tensor, rng: torch.Generator | None) -> Tensor:
        return self.modes.narrowed(super().hard(raw, rng))


class Shares(nn.Module):
    """Of the categories of all choices, end to end, (categories,): true ones, and those the maker is asked for in training."""

    true: Tensor
    asked: Tensor

    def __init__(self, space: VectorSpace) -> None:
        super().__init__()
        blocks = [block for block in space.blocks if block.kind == "choice"]
        self.sizes = [block.size for block in blocks]
        self.places = [place for block in blocks for place in range(block.start, block.stop)]
        even = torch.cat([torch.full((size,), 1.0 / size) for size in self.sizes] or [torch.zeros(0)]).to(torch.get_default_dtype())
        self.register_buffer("true", even)
        self.register_buffer("asked", even.clone())

    def asks(self) -> tuple[Question, ...]:
        return (Sums("shares of every category", math.sqrt(len(self.sizes))),) if self.places else ()

    def count(self, counts: Counts) -> None:
        totals = counts.total(lambda batch: batch.x[:, self.places].double())
        for number, true, asked in zip(totals.split(self.sizes), self.true.split(self.sizes), self.asked.split(self.sizes), strict=True):
            number = number.clamp(min=0)  # noise can make a count negative
            share = number / number.sum().clamp(min=1e-9)
            wish = (1 + number).log()
            wish = torch.minimum(wish / wish.sum().clamp(min=1e-9), HEAVIEST * share)
            true.copy_(share)
            asked.copy_(wish / wish.sum().clamp(min=1e-9))


class Asked(Noise):
    """Noise whose `classes` are the categories of all choices: a condition is one of them, (n, 1), or nothing where there are none."""

    def __init__(self, latent: int, shares: Shares) -> None:
        super().__init__(latent, [len(shares.places)] if shares.places else [])
        self.categories = shares

    def labels(self, n: int, like: Tensor) -> Tensor:
        if not self.classes:
            return self.one_hot(None, n, like)
        return self.one_hot(torch.multinomial(self.categories.asked, n, replacement=True)[:, None], n, like)

    def of(self, x: Tensor) -> Tensor:
        """(records, 1): one of the record's own categories, of a choice drawn evenly from torch's generator."""
        if not self.classes:
            return torch.zeros(len(x), 0, dtype=torch.int64, device=x.device)
        sizes = self.categories.sizes
        owned = torch.stack([part.argmax(1) for part in x[:, self.categories.places].split(sizes, dim=1)], dim=1)
        starts = torch.tensor([0, *sizes[:-1]], device=x.device).cumsum(0)
        column = (torch.rand(len(x), 1, device=x.device, dtype=x.dtype) * len(sizes)).long().clamp(max=len(sizes) - 1)
        return (owned + starts).gather(1, column)

    def weights(self, asked: Tensor) -> Tensor:
        """(records,): how much more often the maker is asked for the category than records have it; 0 where none has it."""
        if not self.classes:
            return torch.ones(len(asked), device=asked.device)
        return (self.categories.asked / self.categories.true.clamp(min=1e-12))[asked[:, 0]]

    def by_true_shares(self, codes: Tensor) -> Tensor:
        """(n, classes) one-hot of the conditions that two standard normals each, (n, 2), stand for: a choice, and a category of it."""
        if not self.classes:
            return self.one_hot(None, len(codes), codes)
        sizes = self.categories.sizes
        even = 0.5 * (1 + torch.erf(codes / math.sqrt(2)))
        column = (even[:, 0] * len(sizes)).long().clamp(0, len(sizes) - 1)
        drawn = torch.stack([_inverse(part, even[:, 1]) for part in self.categories.true.split(sizes)], dim=1)
        starts = torch.tensor([0, *sizes[:-1]], device=codes.device).cumsum(0)
        return self.one_hot((drawn + starts).gather(1, column[:, None]), len(codes), codes)


def _inverse(shares: Tensor, even: Tensor) -> Tensor:
    """(n,): the category at which the running sum of shares passes a number in [0, 1]; never one without a share."""
    totals = shares.cumsum(0)
    last = int(shares.nonzero().max()) if bool((shares > 0).any()) else 0
    return torch.searchsorted(totals, even.to(totals.dtype) * totals[-1], right=True).clamp(max=last)


class TabularCritic(WassersteinCritic):
    _noise: Asked
    _output: ModeOutput

    def losses(self, batch: Batch) -> Tensor:
        told = self.told(batch)
        return self._noise.weights(told.given).to(batch.x.dtype) * super().losses(told)

    def told(self, batch: Batch) -> Batch:
        """Records with modes, each with a category it stands for."""
        return Batch(self._output.modes.widen(batch.x), self._noise.of(batch.x))


class TabularMaker(Maker):
    """Makes records that the critic scores high and that have the category asked for."""

    _noise: Asked
    _output: ModeOutput

    def free_loss(self, n: int) -> Tensor | None:
        like = next(self.network.parameters())
        labels = self._noise.labels(n, like)
        raw = self.network(self._noise.codes(n, like), labels)
        scores: Tensor = self._critic(self._output.soft(raw), labels)
        return self.disobedience(raw, labels).mean() - scores.mean()

    def disobedience(self, raw: Tensor, labels: Tensor) -> Tensor:
        """(n,): cross-entropy of the category asked for, in nats."""
        if not self._noise.classes:
            return raw.new_zeros(len(raw))
        choices = self._output.modes.split(raw)[0][:, self._noise.categories.places]
        logs = torch.cat([part.log_softmax(1) for part in choices.split(self._noise.categories.sizes, dim=1)], dim=1)
        return -(labels * logs).sum(1)


class TabularGan(Wasserstein):
    spaces = ("vector",)
    Options = TabularGanOptions
    plain = Recipe(epochs=100, sample_rate=0.05, batch_size=500, learning_rate=0.002, betas=(0.0, 0.9), average=0.998, schedule="linear")
    private = Recipe(epochs=40, sample_rate=0.05, learning_rate=0.001, betas=(0.0, 0.9), average=0.99, schedule="linear")
    critic: TabularCritic
    maker: TabularMaker

    def __init__(self, space: VectorSpace, options: TabularGanOptions) -> None:
        super().__init__(space, options)
        self.modes, self.shares = Modes(space, options.modes), Shares(space)
        wide, classes = self.modes.space, len(self.shares.places)
        maker = MlpMaker(wide, options.latent, options.hidden, options.activation, classes)
        critic = MlpCritic(wide, options.hidden, "leaky_relu", classes)
        self._asked, self._shown = Asked(noise_of(wide, options.latent), self.shares), ModeOutput(self.modes)
        self.pair(wide, options.latent, (maker, critic), turns=options.turns)
        self._noise, self._output = self._asked, self._shown
        self.critic.penalise(options.penalty)

    def critic_of(self, network: nn.Module, maker: nn.Module, turns: int, pace: float) -> TabularCritic:
        return TabularCritic(network, maker, self._shown, self._asked, turns, pace)

    def maker_of(self, network: nn.Module, critic: nn.Module) -> TabularMaker:
        return TabularMaker(network, critic, self._shown, self._asked)

    def asks(self) -> tuple[Question, ...]:
        return (*self.modes.asks(), *self.shares.asks())

    @torch.no_grad()
    def initialise(self, counts: Counts) -> None:
        self.modes.fit(counts)
        if self.shares.places:
            self.shares.count(counts)

    def draw_latent(self, n: int, rng: torch.Generator) -> Tensor:
        """Noise, and two numbers more that say which category is asked for."""
        like = next(self.maker.parameters())
        return torch.randn(n, self._latent + 2, generator=rng, device=like.device, dtype=like.dtype)

    def _raw(self, codes: Tensor, given: Tensor | None) -> Tensor:
        raw: Tensor = self.maker.network(codes[:, :-2], self._asked.by_true_shares(codes[:, -2:]))
        return raw

    @torch.no_grad()
    def diagnose(self, batch: Batch) -> dict[str, float]:
        """`win_rate`: how often the critic scores a record above one made for the same category."""
        told = self.critic.told(batch)
        labels = self._asked.one_hot(told.given, len(told), told.x)
        made, _ = self.critic.made(len(told), told.x, labels)
        real, fake = self.critic.scores(told), self.critic.network(made, labels)
        return {"win_rate": float((real > fake).double().mean() + 0.5 * (real == fake).double().mean())}
