"""DCGAN: deep convolutional GAN (Radford et al. 2015, https://arxiv.org/abs/1511.06434), with GroupNorm in place of BatchNorm.

Where the images have a class, both networks are told it.
"""

from __future__ import annotations

from pydantic import Field

from guardrail.training.contract import Recipe
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import ImageSpace

from .adversarial import Activation, Adversarial
from .convolutions import ConvCritic, ConvMaker


class DcganOptions(Frozen):
    latent: int = Field(default=64, gt=0, description="dimensions of the noise, but no more than a record has numbers")
    width: int = Field(default=16, gt=0, description="channels at half the image's size; doubled where it halves again, up to fourfold")
    activation: Activation = Field(default="relu", description="between the maker's layers")


class Dcgan(Adversarial):
    spaces = ("image",)
    Options = DcganOptions
    plain = Recipe(epochs=12, sample_rate=0.05, batch_size=64, learning_rate=0.001, betas=(0.5, 0.9), average=0.998, schedule="linear")
    private = Recipe(epochs=40, sample_rate=0.05, learning_rate=0.001, betas=(0.5, 0.9), average=0.99, schedule="linear")

    def __init__(self, space: ImageSpace, options: DcganOptions) -> None:
        super().__init__(space, options)
        self.conditional = bool(space.conditions)
        classes = sum(self.classes(space))
        maker = ConvMaker(space, options.latent, options.width, options.activation, classes)
        critic = ConvCritic(space, options.width, classes, normalised=True)
        self.pair(space, options.latent, (maker, critic))
