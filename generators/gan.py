"""GAN: generative adversarial network (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661), non-saturating, fully connected.

The original. It has no guard against mode collapse: the monitor watches for it, and `wgan` is the sturdier choice.
"""

from __future__ import annotations

from pydantic import Field

from guardrail.training.contract import Recipe
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import ImageSpace

from .adversarial import Activation, Adversarial, ContinuousSpace, MlpCritic, MlpMaker

IMAGES = Recipe(epochs=30, sample_rate=0.05, batch_size=64, learning_rate=0.002, betas=(0.5, 0.9), average=0.998, schedule="constant")
"""At the lower rate that points are learned at, the critic of images wins every time, and what is made collapses."""


class GanOptions(Frozen):
    latent: int = Field(default=32, gt=0, description="dimensions of the noise, but no more than a record has numbers")
    hidden: tuple[int, ...] = Field(default=(256, 256), description="widths of the maker's hidden layers, and (reversed) the critic's")
    activation: Activation | None = Field(default=None, description="between the maker's layers; None: leaky_relu on images, else relu")
    critic_activation: Activation = Field(default="leaky_relu", description="between the critic's layers")


class Gan(Adversarial):
    spaces = ("vector", "image", "series")
    Options = GanOptions
    plain = Recipe(epochs=100, sample_rate=0.05, batch_size=128, learning_rate=0.0003, betas=(0.5, 0.9), average=0.999, schedule="constant")
    private = Recipe(epochs=40, sample_rate=0.05, learning_rate=0.0005, betas=(0.5, 0.9), average=0.99, schedule="constant")

    def __init__(self, space: ContinuousSpace, options: GanOptions) -> None:
        super().__init__(space, options)
        images = isinstance(space, ImageSpace)
        if images:
            self.plain = IMAGES
        activation = options.activation or ("leaky_relu" if images else "relu")
        maker = MlpMaker(space, options.latent, options.hidden, activation, 0)
        critic = MlpCritic(space, tuple(reversed(options.hidden)), options.critic_activation, 0)
        self.pair(space, options.latent, (maker, critic))
