"""VAE: auto-encoding variational Bayes (Kingma and Welling 2014, https://arxiv.org/abs/1312.6114) on vectors, images and series.

`beta` weighs the Kullback-Leibler term (Higgins et al. 2017). The prior is a standard normal or a mixture of normals that is
learned with the rest, the simplest of those that Tomczak and Welling (2018, https://arxiv.org/abs/1705.07120) compare. `bound`
is the importance-weighted lower bound on the log-likelihood (Burda et al. 2016, https://arxiv.org/abs/1509.00519); because a
bound is not a normalised likelihood, it serves as anomaly score (on images there is better) and is not given out as `log_likelihood`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from guardrail.training.contract import Batch, Generator, Player, Recipe
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import ImageSpace, SeriesSpace, VectorSpace

from .adversarial import ACTIVATIONS, Activation, ContinuousSpace, shape_of
from .blocks import mlp, one_hot
from .convolutions import SMALLEST, ConvMaker, doublings, norm
from .likelihoods import ImageLikelihood, PixelLikelihood, likelihood_of
from .priors import Mixture, Normal, log_normal

SWEEPS = 20
"""Rounds of drawing code and unknown values from each other when a record is completed."""


HIDDEN: Mapping[type, tuple[int, ...]] = {VectorSpace: (256, 256), ImageSpace: (512, 256), SeriesSpace: (128, 128)}
SERIES = Recipe(epochs=200, sample_rate=0.1, batch_size=64, learning_rate=0.001, average=0.995)
IMAGES = Recipe(epochs=40, sample_rate=0.05, batch_size=128, learning_rate=0.001, average=0.995)


class VaeOptions(Frozen):
    latent: int = Field(default=16, gt=0, description="dimensions of the latent code")
    hidden: tuple[int, ...] | None = Field(default=None, description="widths of encoder and (reversed) decoder; None: by the space")
    beta: float | None = Field(default=None, gt=0, description="weight of the Kullback-Leibler term; None: 1/2 on tables, else 1")
    activation: Activation = Field(default="relu", description="between the layers")
    prior: Literal["normal", "mixture"] | None = Field(
        default=None, description="of the latent code; a mixture is learned; None: mixture on tables, else normal"
    )
    components: int = Field(default=64, gt=0, description="normals in the mixture")
    likelihood: PixelLikelihood = Field(default="bernoulli", description="of an image's values")
    network: Literal["mlp", "convolutional"] = Field(default="mlp", description="on images")
    width: int = Field(default=32, gt=0, description="convolutional: channels at half the image's size")
    draws: int = Field(default=16, gt=0, description="latent codes per record in the anomaly score's bound; images do without")


def total_variation(images: Tensor) -> Tensor:
    """(records, channels, height, width) -> (records,): the differences between neighbouring values, summed."""
    steps = (images.diff(dim=2), images.diff(dim=3))
    return torch.stack([step.abs().flatten(1).sum(1) for step in steps]).sum(0)


class ConvEncoder(nn.Module):
    """Images and one-hot classes -> (records, outputs)."""

    def __init__(self, space: ImageSpace, outputs: int, width: int, activation: Activation, classes: int) -> None:
        super().__init__()
        (inputs, height, wide), layers = space.shape, list[nn.Module]()
        for i in range(max(1, doublings(space))):
            channels = width * 2 ** min(i, 2)
            layers += [nn.Conv2d(inputs, channels, 4, 2, 1), norm(channels), ACTIVATIONS[activation]()]
            inputs, height, wide = channels, height // 2, wide // 2
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.last = nn.Linear(inputs * height * wide + classes, outputs)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.cat([self.layers(x), labels], dim=1))
        return outputs


class Vae(Generator, Player):
    spaces = ("vector", "image", "series")
    Options = VaeOptions
    plain = Recipe(epochs=60, sample_rate=0.05, batch_size=512, learning_rate=0.002, average=0.999)
    private = Recipe(epochs=40, sample_rate=0.1, learning_rate=0.01, clip=1.0, average=0.98)

    def __init__(self, space: ContinuousSpace, options: VaeOptions) -> None:
        super().__init__(space, options)
        self.options, self._classes, self._shape = options, space.conditions, shape_of(space)
        self.conditional = bool(space.conditions)
        latent, classes = options.latent, sum(space.conditions)
        self._maps = isinstance(space, ImageSpace) and options.network == "convolutional" and min(space.shape[1:]) >= SMALLEST
        if isinstance(space, ImageSpace) and self._maps:
            self.encoder: nn.Module = ConvEncoder(space, 2 * latent, options.width, options.activation, classes)
            self.decoder: nn.Module = ConvMaker(space, latent, options.width, options.activation, classes)
        else:
            size, activation = math.prod(self._shape), ACTIVATIONS[options.activation]
            hidden = options.hidden or HIDDEN[type(space)]
            self.encoder = mlp([size + classes, *hidden, 2 * latent], activation)
            self.decoder = mlp([latent + classes, *reversed(hidden), size], activation)
        if not isinstance(space, VectorSpace):
            self.plain = IMAGES if isinstance(space, ImageSpace) else SERIES
        self.likelihood = likelihood_of(space, options.likelihood)
        table = isinstance(space, VectorSpace)
        self.beta = options.beta or (0.5 if table else 1.0)
        self.prior = (
            Mixture(latent, options.components) if (options.prior or ("mixture" if table else "normal")) == "mixture" else Normal(latent)
        )

    def players(self) -> Mapping[str, Player]:
        return {"vae": self}

    def losses(self, batch: Batch) -> Tensor:
        """Negative evidence lower bound with one latent draw per record, in nats."""
        reconstruction, divergence = self.parts(batch)
        return reconstruction + self.beta * divergence

    def parts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(records,) each: -log p(record | code) for one drawn code, and the divergence of the code from the prior."""
        mean, log_variance = self.encode(batch)
        codes = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return self.likelihood.loss(batch.x, self.decode(codes, batch.given)), self.prior.divergence(codes, mean, log_variance)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the code, (records, latent) each."""
        labels = self._labels(batch.given, batch.x)
        outputs = self.encoder(batch.x, labels) if self._maps else self.encoder(torch.cat([batch.x.flatten(1), labels], dim=1))
        mean, log_variance = outputs.chunk(2, dim=1)
        return mean, log_variance

    def decode(self, codes: Tensor, given: Tensor | None) -> Tensor:
        """(records, latent) -> (records, outputs), raw."""
        labels = self._labels(given, codes)
        raw: Tensor = self.decoder(codes, labels) if self._maps else self.decoder(torch.cat([codes, labels], dim=1))
        return raw.flatten(1)

    def _labels(self, given: Tensor | None, like: Tensor) -> Tensor:
        """(records, classes) one-hot; no columns where nothing is known beside the content."""
        if given is None or not self._classes:
            return torch.zeros(len(like), 0, device=like.device, dtype=like.dtype)
        return one_hot(given, self._classes).to(like.dtype)

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        return self.likelihood.records(self.decode(self.draw_latent(n, rng), given), rng)

    @torch.no_grad()
    def bound(self, batch: Batch, draws: int) -> Tensor:
        """(records,): lower bound on the log-likelihood in nats, the tighter the more codes are drawn. For numbers a log-density."""
        mean, log_variance = self.encode(batch)
        weights = []
        for _ in range(draws):
            codes = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            likelihood = -self.likelihood.loss(batch.x, self.decode(codes, batch.given))
            weights.append(likelihood + self.prior.log_density(codes) - log_normal(codes, mean, log_variance))
        return torch.stack(weights).logsumexp(0) - math.log(draws)

    @torch.no_grad()
    def anomaly_score(self, batch: Batch) -> Tensor:
        """Minus the importance-weighted bound, whose draws come from torch's generator.

        Of images the squared error of the reconstruction to the image's complexity, its total variation: by likelihood alone a
        plain image of something never seen is more familiar than a busy one of something well known (Nalisnick et al. 2019,
        arXiv 1810.09136; corrected by complexity, though otherwise measured, in Serrà et al. 2020, arXiv 1909.11480).
        """
        if not isinstance(self.likelihood, ImageLikelihood):
            return -self.bound(batch, self.options.draws)
        again = self.likelihood.records(self.decode(self.encode(batch)[0], batch.given), None)
        return (again - batch.x).square().flatten(1).sum(1) / (total_variation(batch.x) + 1)  # 1: of an image of one colour

    @torch.no_grad()
    def complete(self, batch: Batch, known: Tensor, rng: torch.Generator) -> Tensor:
        """By drawing the code given the record and the unknown values given the code, in turns (Rezende et al. 2014, arXiv 1401.4082)."""
        record = torch.where(known, batch.x, self.sample(len(batch), rng, batch.given))
        for _ in range(SWEEPS):
            mean, log_variance = self.encode(Batch(record, batch.given))
            noise = torch.randn(mean.shape, generator=rng, device=mean.device, dtype=mean.dtype)
            raw = self.decode(mean + (0.5 * log_variance).exp() * noise, batch.given)
            record = torch.where(known, batch.x, self.likelihood.records(raw, rng))
        return record

    @torch.no_grad()
    def latent(self, batch: Batch) -> Tensor:
        return self.encode(batch)[0]

    @torch.no_grad()
    def draw_latent(self, n: int, rng: torch.Generator) -> Tensor:
        return self.prior.draw(n, rng, next(self.parameters()).device)

    @torch.no_grad()
    def from_latent(self, codes: Tensor, given: Tensor | None = None) -> Tensor:
        return self.likelihood.records(self.decode(codes, given), None)

    @torch.no_grad()
    def diagnose(self, batch: Batch) -> dict[str, float]:
        reconstruction, divergence = self.parts(batch)
        return {"reconstruction": float(reconstruction.mean()), "divergence": float(divergence.mean())}
