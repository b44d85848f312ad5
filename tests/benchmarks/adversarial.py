"""gan, wgan on a ring of 8 and a grid of 25 Gaussians: modes found; dcgan, cgan, wgan, progan on pictures: Frechet distance.

    python tests/benchmarks/adversarial.py [--only modes,digits,emoji] [--families dcgan,wgan] [--epochs 2] [--pictures FOLDER]

The distance is between Gaussians fitted to the features of a small classifier trained here (seed 0), of digits, or of the style
and category of emoji; beside it that of independent pixels (the floor) and of other real pictures (the best that can be had).
What the monitor says of the training is printed. Every family runs in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rows import show
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.data.builtin import load
from guardrail.training.conduct import Conduct
from guardrail.training.contract import Batch, Generator, parameter_count
from guardrail.training.plain import Plain
from guardrail.training.strategy import Dataset, Outcome
from guardrail.vocabulary.plugins import resolve
from guardrail.vocabulary.spaces import Block, ImageSpace, Space, TokenSpace, VectorSpace

POINTS = VectorSpace((Block("x", "real", 0, 1), Block("y", "real", 1, 1)))


class Free:
    def reserve(self, mechanisms: object) -> None: ...


def trained(
    family: str, space: Space, records: Batch, epochs: int | None, seed: int = 0, *, monitor: bool = False
) -> tuple[Generator, Outcome, float]:
    """The generator, what the loop tells, and the seconds it took."""
    kind: type[Generator] = resolve("generators", family)
    torch.manual_seed(seed)
    generator, started = kind(space, kind.Options()), time.perf_counter()
    recipe = generator.plain.model_copy(update={"epochs": epochs} if epochs else {})
    tokens = TokenSpace(("x",), (1,), conditions=space.conditions)
    dataset = Dataset(records, np.zeros((len(records), 1), np.int64), tokens)
    outcome = Plain(Free()).fit(
        generator,
        dataset,
        recipe,
        seed=seed,
        device=torch.device("cpu"),
        report=lambda _: None,
        conduct=Conduct(monitor=monitor),
    )
    return generator.eval(), outcome, time.perf_counter() - started


def modes(family: str, which: str, seed: int, epochs: int | None) -> None:
    angles, sides = 2 * np.pi * np.arange(8) / 8, np.linspace(0.1, 0.9, 5)
    ring, grid = np.stack([np.cos(angles), np.sin(angles)], 1) * 0.4 + 0.5, np.stack(np.meshgrid(sides, sides), -1).reshape(-1, 2)
    centres, deviation = (ring, 0.004) if which == "ring of 8" else (grid, 0.005)
    rng = np.random.default_rng(0)
    x = centres[rng.integers(0, len(centres), 10_000)] + deviation * rng.normal(size=(10_000, 2))
    records = Batch.of(torch.tensor(x, dtype=torch.float32))
    generator, outcome, seconds = trained(family, POINTS, records, epochs, seed)
    made = generator.sample(2500, torch.Generator().manual_seed(0)).numpy()
    # Independent columns: what the marginals would give.
    floor = np.stack([rng.choice(x[:, 0], 2500), rng.choice(x[:, 1], 2500)], 1)
    value, lowest = (found(points, centres, deviation) for points in (made, floor))
    data = f"{which} Gaussians, seed {seed}"
    measure = f"modes found of {len(centres)} (higher)"
    on, apart = (near(points, centres, deviation).size / len(points) for points in (made, floor))
    print(f"{family}, {data}: {on:.1%} of the points within three deviations of a centre; independent columns: {apart:.1%}")
    show(
        family,
        data,
        measure,
        value,
        floor=lowest,
        floor_name="independent columns",
        parameters=parameter_count(generator),
        steps=outcome.steps,
        seconds=seconds,
    )


def near(points: np.ndarray, centres: np.ndarray, deviation: float) -> np.ndarray:
    """The centre of every point that lies within three deviations of one."""
    distances = np.linalg.norm(points[:, None] - centres, axis=2)
    return distances.argmin(1)[distances.min(1) < 3 * deviation]


def found(points: np.ndarray, centres: np.ndarray, deviation: float) -> int:
    """Modes with at least a tenth of their share of the points within three deviations."""
    return int((np.bincount(near(points, centres, deviation), minlength=len(centres)) >= 0.1 * len(points) / len(centres)).sum())


@dataclass(frozen=True)
class Pictures:
    name: str
    space: ImageSpace
    learn: Batch
    spare: Tensor
    """Real ones that were not learned."""
    look: Tensor
    """Other real ones, with which all are compared."""
    network: nn.Sequential
    epochs: int | None = None
    """None: those of the family's recipe."""


def digits() -> Pictures:
    learn, look = (digits_of(name) for name in ("mnist10k", "mnist_test10k"))
    network = reader(learn.x, learn.given[:, 0], 10)
    return Pictures("mnist10k", ImageSpace(1, 28, 28, conditions=(10,)), learn[:8000], learn.x[8000:], look.x[:2000], network)


def digits_of(name: str) -> Batch:
    frame, schema = load(name)
    assert schema.content is not None and schema.target is not None
    images = np.stack([np.asarray(image).reshape(28, 28) for image in frame[schema.content.column]])
    x = torch.tensor(images, dtype=torch.float32)[:, None] / 127.5 - 1
    mixed = torch.from_numpy(np.random.default_rng(0).permutation(len(x)))  # the file is in order of the classes
    return Batch.of(x, torch.tensor(frame[schema.target].astype(int).to_numpy())[:, None])[mixed]


def emoji() -> Pictures:
    """Both styles of a name lie in the same part. Fewer than half as many as digits, and harder: more epochs for as many steps."""
    frame, _ = load("emoji")
    names = np.random.default_rng(0).permutation(frame["name"].unique())
    part = frame["name"].map({name: i for i, name in enumerate(names)}).to_numpy()
    x = torch.from_numpy(np.stack(list(frame["image"]))).float().permute(0, 3, 1, 2) / 127.5 - 1
    style, category = (
        torch.from_numpy(frame[column].astype("category").cat.codes.to_numpy().astype(np.int64)) for column in ("style", "category")
    )
    learn, spare, look = (
        torch.from_numpy(np.flatnonzero((part >= low) & (part < high))) for low, high in ((0, 1747), (1747, 1997), (1997, 2247))
    )
    classes = 2 * (int(category.max()) + 1)
    network = reader(x[learn], (2 * category + style)[learn], classes)
    space, records = ImageSpace(3, 32, 32, conditions=(2,)), Batch.of(x, style[:, None])
    return Pictures("emoji", space, records[learn], x[spare], x[look], network, epochs=60)


def reader(x: Tensor, y: Tensor, classes: int) -> nn.Sequential:
    """A classifier; its features are what stands before the last layer."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(x.shape[1], 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(32 * (x.shape[2] // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, classes))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(4):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(x[rows]), y[rows]).backward()
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


def images(family: str, which: str, epochs: int | None, folder: Path | None) -> None:
    pictures = {"digits": digits, "emoji": emoji}[which]()
    network, n = pictures.network, len(pictures.look)
    generator, outcome, seconds = trained(family, pictures.space, pictures.learn, epochs or pictures.epochs, monitor=True)
    given, pixels = pictures.learn.given[:n], pictures.learn.x[:n]
    made = generator.sample(n, torch.Generator().manual_seed(0), given if generator.conditional else None)
    shuffled = torch.stack([column[torch.randperm(n)] for column in pixels.flatten(1).T], 1).reshape(pixels.shape)
    real = distance(network, pictures.spare, pictures.look)
    if which == "digits" and generator.conditional:
        with torch.no_grad():
            agree = float((network(made).argmax(1) == given[:, 0]).double().mean())
        print(f"{family}: the reader sees the class that was asked for in {agree:.1%}")
    assert outcome.monitor is not None
    print(f"{family}, {pictures.name}: the monitor found {outcome.monitor.mode_counts}; it warned: {outcome.monitor.warnings or 'nothing'}")
    if folder:
        paint(made[:96], folder / f"{family}_{pictures.name}.png")
    show(
        family,
        pictures.name,
        f"Frechet distance in features of a classifier (lower; real {real:.3g})",
        distance(network, made, pictures.look),
        floor=distance(network, shuffled, pictures.look),
        floor_name="independent pixels",
        parameters=parameter_count(generator),
        steps=outcome.steps,
        seconds=seconds,
    )


def paint(x: Tensor, file: Path) -> None:
    """Rows of 16."""
    grid = torch.cat([torch.cat(list(row), dim=2) for row in x.split(16)], dim=1).permute(1, 2, 0)
    pixels = ((grid + 1) * 127.5).byte().numpy()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="modes,digits,emoji")
    parser.add_argument("--families", default="gan,wgan,dcgan,cgan,progan")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--pictures", type=Path, help="an existing folder for grids of samples")
    arguments = parser.parse_args()
    families, jobs = arguments.families.split(","), list[tuple[Any, ...]]()
    if "modes" in arguments.only:
        points = [family for family in families if family in ("gan", "wgan")]
        jobs += [(modes, f, which, seed, arguments.epochs) for f in points for which in ("ring of 8", "grid of 25") for seed in (0, 1, 2)]
    for which in ("digits", "emoji"):
        if which in arguments.only:
            jobs += [(images, family, which, arguments.epochs, arguments.pictures) for family in families]
    for function, *rest in jobs:
        process = multiprocessing.get_context("spawn").Process(target=function, args=rest)
        process.start()
        process.join()


if __name__ == "__main__":
    main()
