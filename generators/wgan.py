"""WGAN-GP: Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028).

The critic estimates the Wasserstein distance between records and made ones, which it can only with a bounded slope. `lipschitz`
says how the slope is bounded: by a penalty on its gradient between a record and a made one; by clipping the weights (Arjovsky
et al. 2017, https://arxiv.org/abs/1701.07875); or by dividing every layer by its spectral norm where that is above 1 (Miyato
et al. 2018, https://arxiv.org/abs/1802.05957), here a proven bound, by the exact norm instead of an estimate.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from guardrail.training.contract import Batch, Recipe
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import ImageSpace

from .adversarial import Activation, Adversarial, ContinuousSpace, Critic, Maker, MlpCritic, MlpMaker
from .convolutions import SMALLEST, ConvCritic, ConvMaker

Lipschitz = Literal["gradient_penalty", "clipping", "spectral"]
DRIFT = 0.001
"""Weight of the squared score of records (Karras et al. 2018): the distance leaves the scores' zero open."""


class WganOptions(Frozen):
    latent: int = Field(default=32, gt=0, description="dimensions of the noise, but no more than a record has numbers")
    lipschitz: Lipschitz = Field(default="gradient_penalty", description="how the critic's slope is bounded")
    penalty: float = Field(default=0.1, gt=0, description="gradient_penalty: its weight")
    bound: float = Field(default=0.02, gt=0, description="clipping: the largest weight")
    turns: int | None = Field(
        default=None, gt=0, description="the critic's steps to one of the maker; by default 1 with convolutions, else 2"
    )
    width: int = Field(default=8, gt=0, description="on images: channels at half the image's size")
    hidden: tuple[int, ...] = Field(default=(128, 128, 128), description="elsewhere: widths of the hidden layers")
    activation: Activation = Field(default="relu", description="between the maker's layers")


class WassersteinCritic(Critic):
    """Raises its score on records and lowers it on made ones, with a bounded slope between them."""

    penalty: float = 0.0
    bound: float | None = None
    spectral: bool = False

    def penalise(self, weight: float) -> None:
        """Bounds the slope by a penalty, which makes a gradient of the network part of its losses."""
        self.penalty, self.second_order = weight, True

    def losses(self, batch: Batch) -> Tensor:
        scores = self.scores(batch)
        losses = DRIFT * scores.square() - scores
        return losses + self.penalty * self.excess(batch) if self.penalty else losses

    def free_loss(self, n: int) -> Tensor | None:
        scores: Tensor = self.network(*self.made(n, self._weight()))
        return scores.mean()

    def excess(self, batch: Batch) -> Tensor:
        """(records,): squared distance of the slope from 1, at a point between each record and a made one of its class."""
        labels = self._noise.one_hot(batch.given, len(batch), batch.x)
        made, _ = self.made(len(batch), batch.x, labels)
        share = torch.rand(len(batch), *[1] * (batch.x.dim() - 1), device=batch.x.device, dtype=batch.x.dtype)
        between = (share * batch.x + (1 - share) * made).requires_grad_(True)
        with torch.enable_grad():
            scores = self.network(between, labels)
            slopes = torch.autograd.grad(scores.sum(), between, create_graph=True)[0]  # no score depends on another's record
        norms = (slopes.flatten(1).square().sum(1) + 1e-12).sqrt()
        return (norms - 1).square()

    @torch.no_grad()
    def after_step(self) -> None:
        if self.bound is not None:
            for parameter in self.network.parameters():
                parameter.clamp_(-self.bound, self.bound)
        for layer in self.network.modules() if self.spectral else ():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                layer.weight.div_(layer_norm(layer).clamp(min=1.0))


def layer_norm(layer: nn.Linear | nn.Conv2d) -> Tensor:
    """A bound on how much the layer can stretch its input: exact for linear layers.

    A convolution applies one matrix to every window; a pixel lies in at most so many windows as the kernel is strides wide.
    """
    matrix = layer.weight.flatten(1)
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    windows = 1
    if isinstance(layer, nn.Conv2d):
        windows = math.prod(math.ceil(k / s) for k, s in zip(layer.kernel_size, layer.stride, strict=True))
    bound: Tensor = torch.linalg.eigvalsh(gram)[-1].clamp(min=0).sqrt() * math.sqrt(windows)
    return bound


class WassersteinMaker(Maker):
    def free_loss(self, n: int) -> Tensor | None:
        scores: Tensor = self._critic(*self.made(n))
        return -scores.mean()


class Wasserstein(Adversarial):
    """What `wgan` and `progan` share: the game about the Wasserstein distance."""

    critic: WassersteinCritic

    def critic_of(self, network: nn.Module, maker: nn.Module, turns: int, pace: float) -> WassersteinCritic:
        return WassersteinCritic(network, maker, self._output, self._noise, turns, pace)

    def maker_of(self, network: nn.Module, critic: nn.Module) -> Maker:
        return WassersteinMaker(network, critic, self._output, self._noise)

    def game_value(self, batch: Batch) -> Tensor:
        """Less the critic's penalty: without it the value has no highest point."""
        scores = self.critic.network(*self.maker.made(len(batch)))
        value: Tensor = -self.critic.losses(batch).mean() - scores.mean()
        return value


class Wgan(Wasserstein):
    spaces = ("vector", "image", "series")
    Options = WganOptions
    plain = Recipe(epochs=40, sample_rate=0.05, batch_size=128, learning_rate=0.003, betas=(0.0, 0.9), average=0.998, schedule="linear")
    private = Recipe(epochs=40, sample_rate=0.05, learning_rate=0.001, betas=(0.0, 0.9), average=0.99, schedule="linear")

    def __init__(self, space: ContinuousSpace, options: WganOptions) -> None:
        super().__init__(space, options)
        self.conditional = bool(space.conditions)
        networks = self._networks(space, options)
        # Points need a critic that keeps up with the maker (no mode of a grid is lost with two turns); images are learned with one.
        turns = options.turns or (1 if isinstance(networks[1], ConvCritic) else 2)
        if isinstance(space, ImageSpace):
            self.plain = self.plain.model_copy(update={"epochs": 16, "batch_size": 64})
        self.pair(space, options.latent, networks, turns=turns)
        if options.lipschitz == "gradient_penalty":
            self.critic.penalise(options.penalty)
        self.critic.bound = options.bound if options.lipschitz == "clipping" else None
        self.critic.spectral = options.lipschitz == "spectral"

    def _networks(self, space: ContinuousSpace, options: WganOptions) -> tuple[nn.Module, nn.Module]:
        classes = sum(self.classes(space))
        if isinstance(space, ImageSpace) and min(space.height, space.width) >= SMALLEST:
            maker = ConvMaker(space, options.latent, options.width, options.activation, classes)
            return maker, ConvCritic(space, options.width, classes, normalised=False)
        critic = MlpCritic(space, tuple(reversed(options.hidden)), "leaky_relu", classes)
        return MlpMaker(space, options.latent, options.hidden, options.activation, classes), critic
