"""ProGAN: progressive growing of GANs (Karras et al. 2018, https://arxiv.org/abs/1710.10196), from 4x4 pixels to the image's size.

Maker and critic begin at 4x4 and double, each new stage faded in. The layers learn at one pace (equalised learning rate): their
weights start at unit size, and their inputs are scaled instead, so that the learning rate is a share of a weight's size: a few
thousand steps need a larger one than the paper's. An image that is no power of two is made at the next one and
resized. Classes are not conditioned on, as in the paper.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.training.contract import Recipe
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import ImageSpace

from .adversarial import Maker, noise_of
from .wgan import Wasserstein, WassersteinCritic, WassersteinMaker

GROWING = 0.5
"""Share of the training in which stages are added; the rest is for the whole."""


class ProganOptions(Frozen):
    latent: int = Field(default=64, gt=0, description="dimensions of the noise, but no more than a record has numbers")
    width: int = Field(default=8, gt=0, description="channels at the last stage; they double towards the first, up to four times")
    depth: int = Field(default=1, gt=0, description="convolutions of a stage; the paper has 2, which take about twice the time")
    penalty: float = Field(default=0.1, gt=0, description="weight of the gradient penalty")
    turns: int = Field(default=1, gt=0, description="the critic's steps to one of the maker")
    minibatch_stddev: bool = Field(
        default=False,
        description="show the critic how much the batch varies, as the paper does; it mixes records, so that none has a loss of its own: "
        "never for private training",
    )


class Equalised(nn.Module):
    """A layer whose weights have unit size and whose input is scaled to what He's initialisation would give."""

    def __init__(self, layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, gain: float = math.sqrt(2)) -> None:
        super().__init__()
        self.layer = layer
        nn.init.normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        inputs = layer.weight[0].numel()  # of one output
        if isinstance(layer, nn.ConvTranspose2d):
            inputs = layer.weight[:, 0].numel() // math.prod(layer.stride)
        self._scale = gain / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x * self._scale)
        return y


class PixelNorm(nn.Module):
    """Unit mean square over the channels, pixel by pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def conv(inputs: int, outputs: int) -> Equalised:
    return Equalised(nn.Conv2d(inputs, outputs, 3, 1, 1))


def halving(inputs: int, outputs: int) -> Equalised:
    """A convolution and the mean over 2x2 pixels in one, which takes a quarter of the time; `doubling` likewise."""
    return Equalised(nn.Conv2d(inputs, outputs, 4, 2, 1))


def doubling(inputs: int, outputs: int) -> Equalised:
    return Equalised(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1))


def pixelwise(inputs: int, outputs: int, gain: float) -> Equalised:
    return Equalised(nn.Conv2d(inputs, outputs, 1), gain)


class Growing(nn.Module):
    """A network that knows its stage: `level` 1.25 is stage 0 and 1 whole, stage 2 faded in by a quarter."""

    level: Tensor

    def __init__(self, space: ImageSpace, width: int) -> None:
        super().__init__()
        self.stages = 1 + max(0, math.ceil(math.log2(max(space.height, space.width) / 4)))
        self.channels = [width * 2 ** min(self.stages - 1 - i, 2) for i in range(self.stages)]
        self.register_buffer("level", torch.tensor(float(self.stages - 1)))

    def grow(self, progress: float) -> None:
        """In the growing part every stage after the first fades in for half of its time and stands for the other half."""
        place = min(progress / GROWING, 1.0) * self.stages  # stage 0 stands alone in [0, 1)
        whole = math.floor(place)
        self.level.fill_(min(self.stages - 1.0, max(0.0, whole - 1 + min(1.0, 2 * (place - whole)))))

    def reached(self) -> tuple[int, float]:
        """The last stage that is seen, and how far it has faded in: 0 < share <= 1."""
        level = float(self.level)
        stage = math.ceil(level)
        return stage, 1.0 - (stage - level)


class GrowingMaker(Growing):
    """Codes and one-hot classes -> raw images; a stage not yet reached is an enlargement of the one before."""

    def __init__(self, space: ImageSpace, latent: int, width: int, depth: int, classes: int) -> None:
        super().__init__(space, width)
        self._size = (space.height, space.width)
        first = self.channels[0]
        self.start = Equalised(nn.Linear(noise_of(space, latent) + classes, first * 16), math.sqrt(2) / 4)
        self.blocks = nn.ModuleList([nn.Sequential(nn.LeakyReLU(0.2), PixelNorm(), conv(first, first), nn.LeakyReLU(0.2), PixelNorm())])
        for inputs, outputs in pairwise(self.channels):
            layers: list[nn.Module] = []
            for i in range(depth):
                layers += [conv(outputs, outputs) if i else doubling(inputs, outputs), nn.LeakyReLU(0.2), PixelNorm()]
            self.blocks.append(nn.Sequential(*layers))
        self.colours = nn.ModuleList([pixelwise(channels, space.channels, 1.0) for channels in self.channels])

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        stage, share = self.reached()
        codes = codes * (codes.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        maps = self.start(torch.cat([codes, labels], dim=1)).reshape(len(codes), -1, 4, 4)
        before = maps
        for block in self.blocks[: stage + 1]:
            before, maps = maps, block(maps)
        image: Tensor = self.colours[stage](maps)
        if share < 1:
            earlier = F.interpolate(self.colours[stage - 1](before), scale_factor=2)
            image = share * image + (1 - share) * earlier
        image = F.interpolate(image, scale_factor=2 ** (self.stages - 1 - stage)) if stage < self.stages - 1 else image
        fits = self._size == tuple(image.shape[2:])
        return image if fits else F.interpolate(image, self._size, mode="bilinear", align_corners=False)


class GrowingCritic(Growing):
    """Images and one-hot classes -> (records,), of what can be seen at the present stage."""

    def __init__(self, space: ImageSpace, width: int, depth: int, classes: int, *, stddev: bool) -> None:
        super().__init__(space, width)
        self._stddev, self._size = stddev, (space.height, space.width)
        self.label = nn.Linear(classes, space.height * space.width) if classes else None
        self.colours = nn.ModuleList([pixelwise(space.channels + bool(classes), channels, math.sqrt(2)) for channels in self.channels])
        first = self.channels[0]
        self.blocks = nn.ModuleList([nn.Sequential(conv(first + stddev, first), nn.LeakyReLU(0.2))])
        for outputs, inputs in pairwise(self.channels):
            layers: list[nn.Module] = []
            for i in range(depth):
                layers += [halving(inputs, outputs) if i == depth - 1 else conv(inputs, inputs), nn.LeakyReLU(0.2)]
            self.blocks.append(nn.Sequential(*layers))
        self.score = nn.Sequential(
            nn.Flatten(), Equalised(nn.Linear(first * 16, first)), nn.LeakyReLU(0.2), Equalised(nn.Linear(first, 1), 1.0)
        )

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        if self.label is not None:
            x = torch.cat([x, self.label(labels).reshape(len(x), 1, *self._size)], dim=1)
        stage, share = self.reached()
        image = _resized(x, 4 * 2**stage)
        maps = F.leaky_relu(self.colours[stage](image), 0.2)
        for i in range(stage, 0, -1):
            maps = self.blocks[i](maps)
            if i == stage and share < 1:
                earlier = F.leaky_relu(self.colours[stage - 1](F.avg_pool2d(image, 2)), 0.2)
                maps = share * maps + (1 - share) * earlier
        if self._stddev:
            spread = (maps.var(0, unbiased=False) + 1e-8).sqrt().mean()
            maps = torch.cat([maps, spread.expand(len(maps), 1, *maps.shape[2:])], dim=1)
        scores: Tensor = self.score(self.blocks[0](maps))
        return scores[:, 0]


def _resized(images: Tensor, side: int) -> Tensor:
    """Means over areas where it shrinks, interpolated where it grows."""
    height, width = images.shape[2:]
    if height > side or width > side:
        images = F.adaptive_avg_pool2d(images, (min(side, height), min(side, width)))
    same = tuple(images.shape[2:]) == (side, side)
    return images if same else F.interpolate(images, (side, side), mode="bilinear", align_corners=False)


class ProganCritic(WassersteinCritic):
    network: GrowingCritic

    def before_step(self, progress: float) -> None:
        self.network.grow(progress)


class ProganMaker(WassersteinMaker):
    network: GrowingMaker

    def before_step(self, progress: float) -> None:
        self.network.grow(progress)


class Progan(Wasserstein):
    spaces = ("image",)
    Options = ProganOptions
    plain = Recipe(epochs=16, sample_rate=0.05, batch_size=32, learning_rate=0.01, betas=(0.0, 0.99), average=0.998, schedule="constant")
    private = Recipe(epochs=40, sample_rate=0.05, learning_rate=0.001, betas=(0.0, 0.99), average=0.99, schedule="constant")

    def __init__(self, space: ImageSpace, options: ProganOptions) -> None:
        super().__init__(space, options)
        classes = sum(self.classes(space))
        maker = GrowingMaker(space, options.latent, options.width, options.depth, classes)
        critic = GrowingCritic(space, options.width, options.depth, classes, stddev=options.minibatch_stddev)
        self.pair(space, options.latent, (maker, critic), turns=options.turns)
        self.critic.penalise(options.penalty)
        if options.minibatch_stddev:
            self.critic.mixes_records = "minibatch_stddev shows the critic how much the batch varies; leave the option off"

    def critic_of(self, network: nn.Module, maker: nn.Module, turns: int, pace: float) -> ProganCritic:
        return ProganCritic(network, maker, self._output, self._noise, turns, pace)

    def maker_of(self, network: nn.Module, critic: nn.Module) -> Maker:
        return ProganMaker(network, critic, self._output, self._noise)
