"""gan, wgan on a ring of 8 and a grid of 25 Gaussians: modes found; dcgan, cgan, wgan, progan on digits: Frechet distance.

    python tests/benchmarks/adversarial.py [--only modes,digits] [--families dcgan,wgan] [--epochs 2]

The distance is between Gaussians fitted to the features of a small digit classifier trained here (seed 0), on test digits; beside
it that of independent pixels (the floor) and of other real digits (the best that can be had). Every family runs in a process of
its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from typing import Any

import numpy as np
import torch
from rows import show
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.data.builtin import load
from guardrail.training.conduct import Conduct
from guardrail.training.contract import Batch, Generator, parameter_count
from guardrail.training.plain import Plain
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.plugins import resolve
from guardrail.vocabulary.spaces import Block, ImageSpace, Space, TokenSpace, VectorSpace

POINTS = VectorSpace((Block("x", "real", 0, 1), Block("y", "real", 1, 1)))
DIGITS = ImageSpace(1, 28, 28, conditions=(10,))


class Free:
    def reserve(self, mechanisms: object) -> None: ...


def trained(family: str, space: Space, records: Batch, epochs: int | None, seed: int = 0) -> tuple[Generator, int, float]:
    """The generator, its steps and the seconds they took."""
    kind: type[Generator] = resolve("generators", family)
    torch.manual_seed(seed)
    generator, started = kind(space, kind.Options()), time.perf_counter()
    recipe = kind.plain.model_copy(update={"epochs": epochs} if epochs else {})
    tokens = TokenSpace(("x",), (1,), conditions=space.conditions)
    dataset = Dataset(records, np.zeros((len(records), 1), np.int64), tokens)
    outcome = Plain(Free()).fit(
        generator,
        dataset,
        recipe,
        seed=seed,
        device=torch.device("cpu"),
        report=lambda _: None,
        conduct=Conduct(monitor=False),
    )
    return generator.eval(), outcome.steps, time.perf_counter() - started


def modes(family: str, which: str, seed: int, epochs: int | None) -> None:
    angles, sides = 2 * np.pi * np.arange(8) / 8, np.linspace(0.1, 0.9, 5)
    ring, grid = np.stack([np.cos(angles), np.sin(angles)], 1) * 0.4 + 0.5, np.stack(np.meshgrid(sides, sides), -1).reshape(-1, 2)
    centres, deviation = (ring, 0.004) if which == "ring of 8" else (grid, 0.005)
    rng = np.random.default_rng(0)
    x = centres[rng.integers(0, len(centres), 10_000)] + deviation * rng.normal(size=(10_000, 2))
    records = Batch.of(torch.tensor(x, dtype=torch.float32))
    generator, steps, seconds = trained(family, POINTS, records, epochs, seed)
    made = generator.sample(2500, torch.Generator().manual_seed(0)).numpy()
    # Independent columns: what the marginals would give.
    floor = np.stack([rng.choice(x[:, 0], 2500), rng.choice(x[:, 1], 2500)], 1)
    value, lowest = (found(points, centres, deviation) for points in (made, floor))
    data = f"{which} Gaussians, seed {seed}"
    measure = f"modes found of {len(centres)} (higher)"
    show(
        family,
        data,
        measure,
        value,
        floor=lowest,
        floor_name="independent columns",
        parameters=parameter_count(generator),
        steps=steps,
        seconds=seconds,
    )


def found(points: np.ndarray, centres: np.ndarray, deviation: float) -> int:
    """Modes with at least a tenth of their share of the points within three deviations."""
    distances = np.linalg.norm(points[:, None] - centres, axis=2)
    near = distances.argmin(1)[distances.min(1) < 3 * deviation]
    return int((np.bincount(near, minlength=len(centres)) >= 0.1 * len(points) / len(centres)).sum())


def digits(name: str) -> Batch:
    frame, schema = load(name)
    assert schema.content is not None and schema.target is not None
    images = np.stack([np.asarray(image).reshape(28, 28) for image in frame[schema.content.column]])
    x = torch.tensor(images, dtype=torch.float32)[:, None] / 127.5 - 1
    mixed = torch.from_numpy(np.random.default_rng(0).permutation(len(x)))  # the file is in order of the classes
    return Batch.of(x, torch.tensor(frame[schema.target].astype(int).to_numpy())[:, None])[mixed]


def reader(records: Batch) -> nn.Sequential:
    """A digit classifier; its features are what stands before the last layer."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(4):
        for rows in torch.randperm(len(records)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(records.x[rows]), records.given[rows, 0]).backward()
            optimizer.step()
    return network.eval()


@torch.no_grad()
def distance(network: nn.Sequential, one: Tensor, other: Tensor) -> float:
    a, b = (network[:-1](x).double().numpy() for x in (one, other))
    ca, cb = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(ca)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    # Features that are always 0 make the covariances singular: eigenvalues of a symmetric product stay sound, a matrix root does not.
    shared = np.sqrt(np.linalg.eigvalsh(root @ cb @ root).clip(0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * shared)


def images(family: str, epochs: int | None) -> None:
    train, test = digits("mnist10k"), digits("mnist_test10k")[:2000]
    network = reader(train)
    generator, steps, seconds = trained(family, DIGITS, train[:8000], epochs)
    given = train.given[:2000]
    made = generator.sample(2000, torch.Generator().manual_seed(0), given if generator.conditional else None)
    pixels = train.x[:2000].flatten(1)
    shuffled = torch.stack([column[torch.randperm(2000)] for column in pixels.T], 1).reshape(-1, 1, 28, 28)
    real = distance(network, train.x[8000:], test.x)
    with torch.no_grad():
        agree = float((network(made).argmax(1) == given[:, 0]).double().mean()) if generator.conditional else float("nan")
    print(f"{family}: the reader sees the class that was asked for in {agree:.1%}; real digits against real ones: {real:.4g}")
    show(
        family,
        "mnist10k",
        f"Frechet distance in digit features (lower; real {real:.3g})",
        distance(network, made, test.x),
        floor=distance(network, shuffled, test.x),
        floor_name="independent pixels",
        parameters=parameter_count(generator),
        steps=steps,
        seconds=seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="modes,digits")
    parser.add_argument("--families", default="gan,wgan,dcgan,cgan,progan")
    parser.add_argument("--epochs", type=int)
    arguments = parser.parse_args()
    families, jobs = arguments.families.split(","), list[tuple[Any, ...]]()
    if "modes" in arguments.only:
        points = [family for family in families if family in ("gan", "wgan")]
        jobs += [(modes, f, which, seed, arguments.epochs) for f in points for which in ("ring of 8", "grid of 25") for seed in (0, 1, 2)]
    if "digits" in arguments.only:
        jobs += [(images, family, arguments.epochs) for family in families]
    for function, *rest in jobs:
        process = multiprocessing.get_context("spawn").Process(target=function, args=rest)
        process.start()
        process.join()


if __name__ == "__main__":
    main()
