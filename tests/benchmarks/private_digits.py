"""Digits under privacy: what a classifier learns from labelled samples, and how far these are from real ones.

    python tests/benchmarks/private_digits.py [--families vae,wgan] [--epsilons 10,1] [--seeds 1] [--set epochs=80] [--option width=64]
        [--peer] [--pictures FOLDER]

mnist10k (10,000 digits), δ = 1e-5, everything charged. 10,000 samples with the labels they were asked for teach the small convolutional
classifier of `adversarial.py`, whose settings were never chosen here; accuracy is that on mnist_test10k, beside that of the
same classifier taught by the real digits. The Fréchet distance is in features of the latter. With --peer a DCGAN critic privatised by
Opacus' hooks (its example, with group norm for batch norm, the fake half of the loss unclipped and Poisson batches) trains for as
long as the first family did, at the same epsilon; it makes no labels, so only its distance is told.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from adversarial import digits_of, distance, paint, reader
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.data.builtin import load
from guardrail.data.material import prepare
from guardrail.registry.home import Home
from guardrail.training.accounting import calibrate
from guardrail.training.clipping import gradients, without_hook_warning
from guardrail.training.fit import Settings, train
from guardrail.vocabulary.receipt import SampledGaussian
from guardrail.vocabulary.spec import DataSpec, GeneratorSpec, PrivacySpec, TrainingSpec

RATE, DELTA = 0.05, 1e-5


def tensors(frame: pd.DataFrame, content: str, target: str) -> tuple[Tensor, Tensor]:
    images = np.stack([np.asarray(image).reshape(28, 28) for image in frame[content]])
    return torch.tensor(images, dtype=torch.float32)[:, None] / 127.5 - 1, torch.tensor(frame[target].astype(int).to_numpy())


@torch.no_grad()
def accuracy(network: nn.Sequential, x: Tensor, y: Tensor) -> float:
    return float((network(x).argmax(1) == y).double().mean())


def ours(
    family: str, epsilon: float, seed: int, learning: dict[str, float], options: dict[str, float]
) -> tuple[Tensor, Tensor, float, float]:
    """Samples, the labels they were asked for, seconds of training and epsilon spent."""
    frame, schema = load("mnist10k")
    home, privacy = Home.find(), PrivacySpec(epsilon=epsilon, delta=DELTA, records=len(frame))
    material = prepare(frame, schema, DataSpec(source="builtin:mnist10k", holdout=0.0), privacy=privacy, seed=seed, home=home)
    training = TrainingSpec.model_validate(learning)
    settings = Settings(GeneratorSpec(name=family, options=options), training, privacy, holdout=0.0, seed=seed, name="digits")
    model = train(material, settings, home=home, report=lambda _: None, tell=lambda _: None)
    assert schema.content is not None and schema.target is not None and model.receipt.privacy is not None
    x, y = tensors(model.sample(10_000, seed=seed), schema.content.column, schema.target)
    return x, y, model.receipt.seconds, model.receipt.privacy.epsilon


class Maker(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Linear(64, 64 * 49), nn.Unflatten(1, (64, 7, 7)), nn.GroupNorm(8, 64), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.GroupNorm(8, 32), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip


class Critic(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.GroupNorm(8, 64), nn.LeakyReLU(0.2),
            nn.Flatten(), nn.Linear(64 * 49, 1),
        )  # fmt: skip


class Peer:
    """DCGAN whose critic is privatised by Opacus' hooks."""

    def __init__(self, x: Tensor, noise: float) -> None:
        torch.manual_seed(0)
        self.x, self.maker, self.critic = x, Maker(), GradSampleModule(Critic(), loss_reduction="mean")
        self.learn = torch.optim.Adam(self.maker.parameters(), 2e-4, betas=(0.5, 0.999))
        self.optimizer = DPOptimizer(
            torch.optim.Adam(self.critic.parameters(), 2e-4, betas=(0.5, 0.999)),
            noise_multiplier=noise,
            max_grad_norm=1.0,
            expected_batch_size=round(RATE * len(x)),
        )

    def step(self) -> None:
        batch = self.x[torch.rand(len(self.x)) < RATE]
        size, parameters = round(RATE * len(self.x)), list(self.critic.parameters())
        self.optimizer.zero_grad()
        with without_hook_warning():
            F.softplus(-self.critic(batch)).mean().backward()
        self.critic.disable_hooks()
        fakes = self.maker(torch.randn(size, 64))
        free = gradients(F.softplus(self.critic(fakes.detach())).mean(), parameters)
        self.optimizer.pre_step()
        for parameter, gradient in zip(parameters, free, strict=True):
            parameter.grad += gradient
        self.optimizer.original_optimizer.step()
        for parameter, gradient in zip(
            self.maker.parameters(), gradients(F.softplus(-self.critic(fakes)).mean(), list(self.maker.parameters())), strict=True
        ):
            parameter.grad = gradient
        self.learn.step()
        self.critic.enable_hooks()


def peer(x: Tensor, epsilon: float, seconds: float) -> tuple[Tensor, int]:
    """Samples, and the steps that there was time for."""
    trial, started = Peer(x, 1.0), time.perf_counter()
    for _ in range(5):
        trial.step()
    steps = max(1, int(5 * seconds / (time.perf_counter() - started)))

    def plan(noise: float) -> list[SampledGaussian]:
        return [SampledGaussian(what="critic", noise_multiplier=noise, sample_rate=RATE, steps=steps, clip=1.0)]

    trained = Peer(x, calibrate(plan, epsilon=epsilon, delta=DELTA))
    for _ in range(steps):
        trained.step()
    with torch.no_grad():
        return trained.maker(torch.randn(10_000, 64)), steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="vae")
    parser.add_argument("--epsilons", default="10,1")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="training setting, e.g. learning_rate=0.01")
    parser.add_argument("--option", action="append", default=[], help="of the family, e.g. latent=8")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--pictures", type=Path, help="an existing folder for grids of samples")
    given = parser.parse_args()
    learning, options = ({k: _number(v) for k, _, v in (pair.partition("=") for pair in pairs)} for pairs in (given.set, given.option))
    learn, look = digits_of("mnist10k"), digits_of("mnist_test10k")
    network = reader(learn.x, learn.given[:, 0], 10)
    real = accuracy(network, look.x, look.given[:, 0])
    print(f"real digits: accuracy={real:.4f} distance={distance(network, learn.x, look.x):.2f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GUARDRAIL_HOME"] = folder
        for epsilon in map(float, given.epsilons.split(",")):
            seconds = 0.0
            for family in given.families.split(","):
                rows = []
                for seed in range(given.seeds):
                    x, y, took, spent = ours(family, epsilon, seed, learning, options)
                    rows.append((accuracy(reader(x, y, 10), look.x, look.given[:, 0]), distance(network, x, look.x), took))
                    seconds = seconds or took
                    told = f"accuracy={rows[-1][0]:.4f} distance={rows[-1][1]:.1f} seconds={took:.0f} epsilon={spent:.3f}"
                    print(f"{family} epsilon {epsilon:g} seed {seed} {told}", flush=True)
                    if given.pictures:
                        paint(x[:96].clamp(-1, 1), given.pictures / f"{family}_{epsilon:g}_{seed}.png")
                means = np.mean(rows, axis=0)
                print(f"{family} epsilon {epsilon:g} x{given.seeds} accuracy={means[0]:.4f} distance={means[1]:.1f} seconds={means[2]:.0f}")
            if given.peer:
                x, steps = peer(learn.x, epsilon, seconds)
                print(f"DCGAN by Opacus' hooks, epsilon {epsilon:g}: distance={distance(network, x, look.x):.1f} steps={steps}", flush=True)
                if given.pictures:
                    paint(x[:96].clamp(-1, 1), given.pictures / f"peer_{epsilon:g}.png")


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value


if __name__ == "__main__":
    main()
