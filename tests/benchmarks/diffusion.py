"""Diffusion on digits: Frechet distance in the features of a digit classifier, classes that were asked for, halves filled in.

    python tests/benchmarks/diffusion.py [--records 8000] [--epochs 12] [--picture FILE.png]

The classifier learns from other records than it judges. The floor of the distance is every pixel by itself, given the class; that
of the completion is the mean image in the lower half. Beside both, what real records reach.
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
from PIL import Image
from rows import show
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.data.builtin import load
from guardrail.data.material import Material
from guardrail.data.modality import modality
from guardrail.registry.home import Home
from guardrail.training.contract import parameter_count
from guardrail.training.fit import Settings, train
from guardrail.training.model import Model
from guardrail.vocabulary.schema import Schema
from guardrail.vocabulary.spec import GeneratorSpec, TrainingSpec


class Reader(nn.Module):
    """Digits -> 64 features -> classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU()),
        )
        self.end = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.end(self.features(x))
        return result


def digits(name: str) -> tuple[pd.DataFrame, Schema]:
    """Shuffled: the file may lie class by class."""
    raw, schema = load(name)
    frame, _ = modality("image").cast(raw, schema, on_error="fail", where=name)
    return frame.sample(frac=1, random_state=0).reset_index(drop=True), schema


def pixels(frame: pd.DataFrame) -> Tensor:
    """(records, 1, 28, 28) in [-1, 1]"""
    return torch.from_numpy(np.stack([cell[None, :, :, 0] for cell in frame["image"]])).float() / 127.5 - 1


def reader(x: Tensor, y: Tensor) -> Reader:
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), 0.002)
    for _ in range(4):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def distance(model: Reader, a: Tensor, b: Tensor) -> float:
    """Frechet distance between two sets' features, taken as Gaussian."""
    one, two = (model.features(x).double() for x in (a, b))
    roots = torch.linalg.eigvals(one.T.cov() @ two.T.cov()).real.clamp_min(0).sqrt().sum()
    return float((one.mean(0) - two.mean(0)).square().sum() + one.T.cov().trace() + two.T.cov().trace() - 2 * roots)


def independent(x: Tensor, y: Tensor, wanted: Tensor) -> Tensor:
    """Every pixel from a record of its own, of the wanted class."""
    rows = torch.stack([(y == digit).nonzero()[torch.randint(int((y == digit).sum()), (784,)), 0] for digit in wanted])
    return x.flatten(1)[rows, torch.arange(784)].reshape(-1, 1, 28, 28)


def fitted(frame: pd.DataFrame, schema: Schema, epochs: int | None) -> Model:
    settings = Settings(GeneratorSpec(name="diffusion"), TrainingSpec(device="cpu", epochs=epochs), None, holdout=0.0, name="diffusion")
    return train(Material(schema, frame, None, "hmac-sha256:benchmark"), settings, home=Home.find(), report=lambda _: None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=8000)
    parser.add_argument("--epochs", type=int, help="those of the recipe if left out")
    parser.add_argument("--drawn", type=int, default=1000, help="how many are drawn, completed and scored")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    torch.manual_seed(0)
    (learn, schema), (other, _) = digits("mnist10k"), digits("mnist_test10k")
    target = str(schema.target)
    learn, spare, real = learn[: given.records], learn[8000:], other[-given.drawn :].reset_index(drop=True)
    classes = {name: torch.from_numpy(part[target].astype(int).to_numpy().copy()) for name, part in (("learn", learn), ("real", real))}
    judge = reader(pixels(other[:6000]), torch.from_numpy(other[target][:6000].astype(int).to_numpy().copy()))
    truth, x = classes["real"], {"learn": pixels(learn), "real": pixels(real), "spare": pixels(spare)[: given.drawn]}

    def read_right(images: Tensor) -> Tensor:
        return (judge(images).argmax(1) == truth).double()

    def right(images: Tensor) -> float:
        return float(read_right(images).mean())

    with tempfile.TemporaryDirectory() as folder:
        os.environ["GUARDRAIL_HOME"] = folder
        began = time.perf_counter()
        model = fitted(learn, schema, given.epochs)
        seconds = time.perf_counter() - began
    print(f"trained on {len(learn)} records in {seconds:.0f} s, {model.receipt.steps} steps", flush=True)
    began = time.perf_counter()
    x["made"] = pixels(model.sample(given.drawn, seed=1, given=model.codec.encode_conditions(real)))
    print(f"{given.drawn} samples in {time.perf_counter() - began:.1f} s", flush=True)
    x["apart"] = independent(x["learn"], classes["learn"], truth)
    scores = {name: distance(judge, x[name], x["real"]) for name in ("made", "apart", "spare")}
    print("frechet", scores, "class read as asked for", {name: right(x[name]) for name in ("made", "real")}, flush=True)

    known = np.ones((len(real), 1, 28, 28), dtype=bool)
    known[:, :, 14:] = False
    began = time.perf_counter()
    x["filled"] = pixels(model.complete(model.encoded(real), known, seed=1))  # the class is not told: it would answer the question
    print(f"{given.drawn} completions in {time.perf_counter() - began:.1f} s", flush=True)
    x["mean"] = torch.where(torch.from_numpy(known), x["real"], x["learn"].mean(0))
    read = {name: right(x[name]) for name in ("filled", "mean", "real")}
    gain = read_right(x["filled"]) - read_right(x["mean"])  # digit by digit: the same digits, filled in two ways
    reach = 1.96 * float(gain.std()) / len(gain) ** 0.5
    print(
        f"lower half filled in, class untold, read right {read}; more than mean fill by {float(gain.mean()):.3f} ± {reach:.3f}", flush=True
    )
    common = {"parameters": parameter_count(model.generator), "steps": model.receipt.steps, "seconds": seconds}
    show("diffusion", "mnist10k", "Frechet distance of digit features (lower)", scores["made"], floor=scores["apart"],
         floor_name="every pixel by itself given the class", **common)  # fmt: skip
    show("diffusion", "mnist10k", "half-masked digits read right (higher)", read["filled"], floor=read["mean"], floor_name="mean fill",
         **common)  # fmt: skip
    if given.picture:
        rows = (*x["made"][:48].split(16), x["real"][:16], torch.where(torch.from_numpy(known), x["real"], 0.0)[:16], x["filled"][:16])
        grid = torch.cat([torch.cat(list(row[:, 0]), dim=1) for row in rows])
        Image.fromarray(((grid + 1) * 127.5).byte().numpy()).resize((16 * 56, 6 * 56)).save(given.picture)


if __name__ == "__main__":
    main()
