"""CGAN: conditional GAN (Mirza and Osindero 2014, https://arxiv.org/abs/1411.1784): maker and critic are both told the class.

Convolutional on images, fully connected elsewhere. Without a class there is nothing to be told, and it is refused.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from guardrail.training.contract import Recipe
from guardrail.vocabulary.errors import SpecError
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import ImageSpace

from .adversarial import Activation, Adversarial, ContinuousSpace, MlpCritic, MlpMaker
from .convolutions import SMALLEST, ConvCritic, ConvMaker


class CganOptions(Frozen):
    latent: int = Field(default=64, gt=0, description="dimensions of the noise, but no more than a record has numbers")
    network: Literal["auto", "convolutional", "connected"] = Field(default="auto", description="auto: convolutional on images it fits")
    width: int = Field(default=16, gt=0, description="convolutional: channels at half the image's size")
    hidden: tuple[int, ...] = Field(default=(256, 256), description="fully connected: widths of the hidden layers")
    activation: Activation = Field(default="relu", description="between the maker's layers")


class Cgan(Adversarial):
    spaces = ("image", "series", "vector")
    Options = CganOptions
    plain = Recipe(epochs=12, sample_rate=0.05, batch_size=64, learning_rate=0.001, betas=(0.5, 0.9), average=0.998, schedule="linear")
    private = Recipe(epochs=40, sample_rate=0.05, learning_rate=0.001, betas=(0.5, 0.9), average=0.99, schedule="linear")

    def __init__(self, space: ContinuousSpace, options: CganOptions) -> None:
        super().__init__(space, options)
        if not space.conditions:
            raise SpecError(
                "cgan makes records of a class that is asked for, and these have none: "
                "set data.target to the column with the class (not of a table), or use gan, dcgan or wgan"
            )
        self.conditional = True
        self.pair(space, options.latent, self._networks(space, options))

    def _networks(self, space: ContinuousSpace, options: CganOptions) -> tuple[nn.Module, nn.Module]:
        classes = sum(space.conditions)
        fits = isinstance(space, ImageSpace) and min(space.height, space.width) >= SMALLEST
        if options.network == "convolutional" or (options.network == "auto" and fits):
            if not isinstance(space, ImageSpace):
                raise SpecError("generator.options.network: convolutional is for images; leave it out, or name connected")
            maker = ConvMaker(space, options.latent, options.width, options.activation, classes)
            return maker, ConvCritic(space, options.width, classes, normalised=True)
        critic = MlpCritic(space, tuple(reversed(options.hidden)), "leaky_relu", classes)
        return MlpMaker(space, options.latent, options.hidden, options.activation, classes), critic
