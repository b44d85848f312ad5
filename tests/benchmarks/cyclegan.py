"""Noto to Twemoji and back, learned from unpaired emoji; scored on held-out pairs.

    python tests/benchmarks/cyclegan.py [--minutes 2] [--picture FILE.png]

Each style is learned from its own half of the emoji, so no pair is ever seen. The measure is the mean absolute error (pixels
in [-1, 1]) to the true partner; beside it the floor, the image left as it is, and a line per channel fitted on unpaired colours.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rows import show

from guardrail.data.builtin import load
from guardrail.generators.cyclegan import Cyclegan, CycleganOptions
from guardrail.training.contract import Batch, parameter_count
from guardrail.vocabulary.spaces import ImageSpace


def pairs() -> list[torch.Tensor]:
    """The emoji in both styles, row by row the same one: (records, 3, height, width) each."""
    frame, _ = load("emoji")
    parts = [frame[frame["style"] == style].sort_values("name")["image"] for style in ("noto", "twemoji")]
    return [torch.from_numpy(np.stack(list(part))).permute(0, 3, 1, 2).float() / 127.5 - 1 for part in parts]


def trained(model: Cyclegan, records: Batch, minutes: float) -> tuple[int, float]:
    optimizers = {name: torch.optim.Adam(player.parameters(), lr=0.001, betas=(0.5, 0.999)) for name, player in model.players().items()}
    start, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < 60 * minutes:
        for name, player in model.players().items():
            for group in optimizers[name].param_groups:
                group["lr"] = 0.001 * max(0.02, 1 - passed / (60 * minutes))
            optimizers[name].zero_grad()
            player.losses(records[torch.randint(len(records), (16,))]).mean().backward()
            optimizers[name].step()
        steps += 1
    return steps, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    styles = pairs()
    order = torch.randperm(len(styles[0]), generator=torch.Generator().manual_seed(0))
    held, halves = order[:300], order[300:].chunk(2)
    learn = torch.cat([style[half] for style, half in zip(styles, halves, strict=True)])
    labels = torch.cat([torch.full((len(half), 1), i) for i, half in enumerate(halves)])
    model = Cyclegan(ImageSpace(*learn.shape[1:], conditions=(2,)), CycleganOptions())
    steps, seconds = trained(model, Batch.of(learn, labels), given.minutes)
    rng, rows = torch.Generator(), []
    for i, way in enumerate(("noto to twemoji", "twemoji to noto")):
        batch = Batch.of(styles[i][held], torch.full((len(held), 1), i))
        partner, out = styles[1 - i][held], model.translate(batch, rng)
        moments = [
            [f(style[half], dim=(0, 2, 3), keepdim=True) for f in (torch.mean, torch.std)]
            for style, half in zip(styles, halves, strict=True)
        ]
        line = ((batch.x - moments[i][0]) / moments[i][1] * moments[1 - i][1] + moments[1 - i][0]).clamp(-1, 1)
        errors = {
            name: ((x - partner).abs().mean(), (x - partner).square().mean())
            for name, x in (("left", batch.x), ("line", line), ("out", out))
        }
        print(way, {name: [round(float(e), 4) for e in pair] for name, pair in errors.items()}, model.diagnose(batch), flush=True)
        closer = ((out - partner).abs().flatten(1).mean(1) < (batch.x - partner).abs().flatten(1).mean(1)).float().mean()
        print(f"closer to the partner than before: {closer:.3f}", flush=True)
        floor = float(errors["left"][0])
        show("cyclegan", f"emoji, {way}", "mean absolute error to the true partner (lower)", float(errors["out"][0]), floor=floor,
             floor_name="left as it is", parameters=parameter_count(model), steps=steps, seconds=seconds)  # fmt: skip
        rows += [batch.x[:12], out[:12], partner[:12]]
    if given.picture:
        grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        Image.fromarray(((grid + 1) * 127.5).byte().permute(1, 2, 0).numpy()).resize((12 * 96, 6 * 96), 0).save(given.picture)


if __name__ == "__main__":
    main()
