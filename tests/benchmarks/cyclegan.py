"""Noto to Twemoji and back, learned from unpaired emoji; scored on held-out pairs.

    python tests/benchmarks/cyclegan.py [--epochs 25] [--picture FILE.png]

Each style is learned from its own half of the emoji, so no pair is ever seen. Measured against the true partner (absolute and
squared error, pixels in [-1, 1], with a bootstrap interval over pairs of the difference to the image left as it is), and against
all partners together: how far apart the colours are, and how often a classifier of styles, trained on emoji that are not scored,
takes a translation for the style it was translated to. A control for the errors, which any fading lowers: the image faded towards
the other style's mean image until it has changed as much as the translation did.
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

STYLES = ("noto", "twemoji")
HELD = 300


def pairs() -> tuple[list[pd.DataFrame], Schema]:
    """The emoji in both styles, row by row the same one."""
    raw, schema = load("emoji")
    ordered = [raw[raw["style"] == style].sort_values("name") for style in STYLES]
    return [modality("image").cast(part, schema, on_error="fail", where="emoji")[0].reset_index(drop=True) for part in ordered], schema


def pixels(frame: pd.DataFrame) -> Tensor:
    """(records, 3, height, width) in [-1, 1]"""
    return torch.from_numpy(np.stack(list(frame["image"]))).permute(0, 3, 1, 2).float() / 127.5 - 1


def colours(x: Tensor) -> Tensor:
    """(64,): shares of four levels of each of the three colours."""
    level = ((x + 1) * 2).long().clamp(0, 3)
    return torch.bincount((16 * level[:, 0] + 4 * level[:, 1] + level[:, 2]).flatten(), minlength=64).double() / level[:, 0].numel()


def apart(x: Tensor, y: Tensor) -> float:
    """Total variation of the colours."""
    return float((colours(x) - colours(y)).abs().sum() / 2)


def style_reader(x: Tensor, y: Tensor) -> nn.Module:
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 64, 64), nn.ReLU(), nn.Linear(64, 2)),
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.001)
    for _ in range(8):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()
    return model.eval()


def fitted(frame: pd.DataFrame, schema: Schema, epochs: int | None) -> Model:
    settings = Settings(GeneratorSpec(name="cyclegan"), TrainingSpec(device="cpu", epochs=epochs), None, holdout=0.0, name="cyclegan")
    return train(Material(schema, frame, None, "hmac-sha256:benchmark"), settings, home=Home.find(), report=lambda _: None)


def interval(differences: Tensor) -> list[float]:
    """95 %, by bootstrap over pairs."""
    rng = np.random.default_rng(0)
    values = differences.numpy()
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(2000)]
    return [round(float(bound), 4) for bound in np.quantile(means, [0.025, 0.975])]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, help="those of the recipe if left out")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    torch.manual_seed(0)
    styles, schema = pairs()
    order = torch.randperm(len(styles[0]), generator=torch.Generator().manual_seed(0)).numpy()
    held, halves = order[:HELD], np.array_split(order[HELD:], 2)
    learn = pd.concat([style.iloc[half] for style, half in zip(styles, halves, strict=True)], ignore_index=True)
    with tempfile.TemporaryDirectory() as folder, torch.enable_grad():
        os.environ["GUARDRAIL_HOME"] = folder
        began = time.perf_counter()
        model = fitted(learn, schema, given.epochs)
        seconds = time.perf_counter() - began
        judge = style_reader(pixels(learn), torch.arange(2).repeat_interleave(torch.tensor([len(half) for half in halves])))
    print(f"{len(learn)} records, {model.receipt.steps} steps in {seconds:.0f} s", flush=True)
    rows = []
    for i, way in enumerate(("noto to twemoji", "twemoji to noto")):
        source, partner = (style.iloc[held].reset_index(drop=True) for style in (styles[i], styles[1 - i]))
        made = model.translate(source)
        assert set(made["style"]) == {STYLES[1 - i]}
        x, y, out = pixels(source), pixels(partner), pixels(made)
        towards = pixels(styles[1 - i].iloc[halves[1 - i]]).mean(0) - x
        faded = x + towards * (out - x).abs().mean() / towards.abs().mean()
        for name, error in (("absolute", torch.abs), ("squared", torch.square)):
            before, after, control = (error(z - y).flatten(1).mean(1) for z in (x, out, faded))
            print(f"{way}: {name} error faded {control.mean():.4f}, difference to it {interval(after - control)}", flush=True)
            difference = [round(float((after - before).mean()), 4), interval(after - before)]
            print(f"{way}: {name} error {after.mean():.4f}, left as it is {before.mean():.4f}, difference {difference}", flush=True)
        seen = {name: float((judge(z).argmax(1) == 1 - i).float().mean()) for name, z in (("before", x), ("after", out), ("real", y))}
        print(f"{way}: colours {apart(out, y):.3f} apart, before {apart(x, y):.3f}; taken for the other style {seen}", flush=True)
        common = {"floor_name": "left as it is", "parameters": parameter_count(model.generator), "steps": model.receipt.steps,
                  "seconds": seconds}  # fmt: skip
        show("cyclegan", f"emoji, {way}", "mean absolute error to the true partner (lower)", float((out - y).abs().mean()),
             floor=float((x - y).abs().mean()), **common)  # fmt: skip
        show("cyclegan", f"emoji, {way}", "share taken for the other style (higher)", seen["after"], floor=seen["before"],
             **common)  # fmt: skip
        rows += [x[:14], out[:14], y[:14]]
    if given.picture:
        grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        Image.fromarray(((grid + 1) * 127.5).byte().permute(1, 2, 0).numpy()).resize((14 * 64, 6 * 64), 0).save(given.picture)


if __name__ == "__main__":
    main()
