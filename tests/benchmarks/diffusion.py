"""Diffusion on digits: Frechet distance in the features of a digit classifier, classes that were asked for, halves filled in.

    python tests/benchmarks/diffusion.py [--minutes 3] [--picture FILE.png]

The classifier learns from other records than it judges. The floor of the distance is every pixel by itself, class by class; that
of the completion is the mean image in the lower half. Beside both, what real records reach.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rows import show
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.data.builtin import load
from guardrail.generators.diffusion import Diffusion, DiffusionOptions
from guardrail.training.contract import Batch, parameter_count
from guardrail.training.loop import Average
from guardrail.vocabulary.spaces import ImageSpace


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


def digits(name: str) -> tuple[Tensor, Tensor]:
    frame, schema = load(name)
    images = torch.from_numpy(np.stack(list(frame["image"]))).float().reshape(len(frame), 1, 28, 28)
    labels = torch.from_numpy(frame[str(schema.target)].astype(int).to_numpy())
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))  # the file may lie class by class
    return (images / 127.5 - 1)[order], labels[order]


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


def trained(model: Diffusion, records: Batch, minutes: float) -> tuple[int, float]:
    optimizer, average = torch.optim.Adam(model.parameters(), 0.002), Average(model, model.plain.average)
    start, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < 60 * minutes:
        optimizer.param_groups[0]["lr"] = 0.002 * (0.5 + 0.5 * np.cos(np.pi * passed / (60 * minutes)))
        optimizer.zero_grad()
        model.losses(records[torch.randint(len(records), (64,))]).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update()
        steps += 1
    average.release()
    return steps, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--records", type=int, default=1000, help="how many are drawn and scored")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    x, y = digits("mnist10k")
    test, labels = digits("mnist_test10k")
    judge = reader(test[:6000], test_labels := labels[:6000])
    real, truth = test[-given.records :], labels[-given.records :]
    assert len(test_labels) + given.records <= len(test)
    model = Diffusion(ImageSpace(1, 28, 28, (10,)), DiffusionOptions())
    steps, seconds = trained(model, Batch.of(x[:8000], y[:8000, None]), given.minutes)
    rng = torch.Generator().manual_seed(1)
    start = time.perf_counter()
    made = model.sample(given.records, rng, truth[:, None])
    print(f"{given.records} samples in {time.perf_counter() - start:.1f} s", flush=True)
    pixels = torch.cat(
        [x[:8000][y[:8000] == d][torch.randint((y[:8000] == d).sum(), (784,)), 0].flatten(1).diagonal()[None] for d in truth]
    )
    scores = {name: distance(judge, part, real) for name, part in
              (("made", made), ("pixels", pixels.reshape(-1, 1, 28, 28)), ("other real", x[-given.records :]))}  # fmt: skip
    agree = {name: float((judge(part).argmax(1) == truth).float().mean()) for name, part in (("made", made), ("real", real))}
    print("frechet", scores, "class read as asked for", agree, flush=True)
    known = torch.ones(len(real), 1, 28, 28, dtype=torch.bool)
    known[..., 14:, :] = False
    some = slice(0, min(300, len(real)))
    unlabelled = Diffusion(ImageSpace(1, 28, 28, (10,)), DiffusionOptions(guidance=0.0))
    unlabelled.load_state_dict(model.state_dict())
    none = torch.zeros(len(real[some]), 0, dtype=torch.int64)  # the class is not told: it would answer the question
    filled = unlabelled.complete(Batch(real[some], none), known[some], rng)
    mean = torch.where(known[some], real[some], x[:8000].mean(0))
    right = {name: float((judge(part).argmax(1) == truth[some]).float().mean()) for name, part in
             (("filled", filled), ("mean", mean), ("whole", real[some]))}  # fmt: skip
    print("lower half filled, class untold, read right", right, flush=True)
    common = {"parameters": parameter_count(model), "steps": steps, "seconds": seconds}
    show("diffusion", "mnist10k", "Frechet distance of digit features (lower)", scores["made"], floor=scores["pixels"],
         floor_name="every pixel by itself given the class", **common)  # fmt: skip
    show("diffusion", "mnist10k", "half-masked digits read right (higher)", right["filled"], floor=right["mean"], floor_name="mean fill",
         **common)  # fmt: skip
    if given.picture:
        grid = torch.cat([torch.cat(list(part[:16, 0]), dim=1) for part in (made[:16], made[16:], made[32:], real, filled)], dim=0)
        Image.fromarray(((grid + 1) * 127.5).byte().numpy()).resize((16 * 56, 5 * 56)).save(given.picture)


if __name__ == "__main__":
    main()
