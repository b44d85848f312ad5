"""VAE: auto-encoding variational Bayes (Kingma and Welling 2014, https://arxiv.org/abs/1312.6114) with one likelihood per column.

Choices (categories, special values of a number, missing) are categorical; the numbers between are Gaussian with a learned
scale per column. The prior is a standard normal; `beta` weighs the Kullback-Leibler term (Higgins et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.training.contract import Batch, Generator, Player, Recipe
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import VectorSpace

from .blocks import draw, mlp


class VaeOptions(Frozen):
    latent: int = Field(default=16, gt=0, description="dimensions of the latent code")
    hidden: tuple[int, ...] = Field(default=(128, 128), description="widths of encoder and (reversed) decoder")
    beta: float = Field(default=1.0, gt=0, description="weight of the Kullback-Leibler term")


class Vae(Generator, Player):
    spaces = ("vector",)
    Options = VaeOptions
    plain = Recipe(epochs=60, sample_rate=0.05, batch_size=512, learning_rate=0.002, average=0.999)
    private = Recipe(epochs=40, sample_rate=0.1, learning_rate=0.01, clip=1.0, average=0.98)

    def __init__(self, space: VectorSpace, options: VaeOptions) -> None:
        super().__init__(space, options)
        self.blocks = space.blocks
        self.options = options
        reals = [i for i, block in enumerate(space.blocks) if block.kind == "real"]
        self._real_index = {block: i for i, block in enumerate(reals)}
        self.encoder = mlp([space.width, *options.hidden, 2 * options.latent])
        # The last outputs are the log-scales of the real columns, the same for every record.
        self.decoder = mlp([options.latent, *reversed(options.hidden), space.width])
        self.scales = nn.Linear(1, max(1, len(reals)), bias=False)
        nn.init.constant_(self.scales.weight, -1.0)

    def players(self) -> Mapping[str, Player]:
        return {"vae": self}

    def losses(self, batch: Batch) -> Tensor:
        """Negative evidence lower bound with one latent draw per record, in nats."""
        mean, log_variance = self.encoder(batch.x).chunk(2, dim=1)  # (records, latent) each
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        loss: Tensor = self.reconstruction(batch.x, latent) + self.options.beta * divergence
        return loss

    def reconstruction(self, batch: Tensor, latent: Tensor) -> Tensor:
        """-log p(record | latent): (records, width), (records, latent) -> (records,)."""
        outputs = self.decoder(latent)
        log_scales = self._log_scales(latent)
        total = torch.zeros(len(batch), device=batch.device)
        for i, block in enumerate(self.blocks):
            part, target = outputs[:, block.start : block.start + block.size], batch[:, block.start : block.start + block.size]
            if block.kind == "choice":
                total = total - (target * F.log_softmax(part, dim=1)).sum(1)
            else:
                log_scale = log_scales[:, self._real_index[i]]
                error = (target[:, 0] - part[:, 0].sigmoid()) / log_scale.exp()
                total = total + 0.5 * error.square() + log_scale + 0.5 * math.log(2 * math.pi)
        return total

    def _log_scales(self, latent: Tensor) -> Tensor:
        """(records, reals): a linear layer on a constant, so that every record's gradient is its own and known."""
        scales: Tensor = self.scales(torch.ones(len(latent), 1, device=latent.device))
        return scales.clamp(-6.0, 1.0)

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        device = next(self.parameters()).device
        latent = torch.randn(n, self.options.latent, generator=rng, device=device)
        outputs, scales = self.decoder(latent), self._log_scales(latent).exp()
        for i, block in enumerate(self.blocks):
            part = outputs[:, block.start : block.start + block.size]
            if block.kind == "choice":
                part.copy_(F.one_hot(draw(part, rng), block.size))
            else:
                noise = torch.randn(n, generator=rng, device=device) * scales[:, self._real_index[i]]
                part.copy_((part[:, 0].sigmoid() + noise).clamp(0, 1)[:, None])
        return torch.as_tensor(outputs)  # (n, width)
