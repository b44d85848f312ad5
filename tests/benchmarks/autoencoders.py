"""`vae` on images and series: the importance-weighted bound on held-out records, reconstruction and divergence apart.

    python tests/benchmarks/autoencoders.py [--data mnist10k|italy_power]

The floor knows every value by itself: a Bernoulli per pixel, a normal per step and channel, from the training part.
Run without --data it starts one process per data set, so that each has its own peak memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from rows import show

from guardrail.data.builtin import load
from guardrail.data.material import prepare
from guardrail.registry.home import Home
from guardrail.training.contract import parameter_count
from guardrail.training.fit import Settings, train
from guardrail.training.model import encode
from guardrail.vocabulary.spec import DataSpec, GeneratorSpec, TrainingSpec

DATA = ("mnist10k", "italy_power")
DRAWS = 64


def floor_of(learn: np.ndarray, look: np.ndarray, *, images: bool) -> float:
    """Mean log-likelihood of the held-out records, in nats."""
    learn, look = learn.reshape(len(learn), -1), look.reshape(len(look), -1)
    if images:
        shares = ((learn + 1) / 2).mean(0).clip(1e-3, 1 - 1e-3)
        values = (look + 1) / 2
        return float((values * np.log(shares) + (1 - values) * np.log(1 - shares)).sum(1).mean())
    means, spreads = learn.mean(0), learn.std(0) + 1e-3
    return float((-0.5 * ((look - means) / spreads) ** 2 - np.log(spreads) - 0.5 * np.log(2 * np.pi)).sum(1).mean())


def run(data: str) -> None:
    frame, schema = load(data)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GUARDRAIL_HOME"] = folder
        home = Home.find()
        material = prepare(frame, schema, DataSpec(source=f"builtin:{data}"), privacy=None, seed=0, home=home)
        settings = Settings(GeneratorSpec(name="vae"), TrainingSpec(device="cpu"), None, holdout=0.2, name="benchmark")
        model = train(material, settings, home=home, report=lambda _: None, tell=print)
    assert material.holdout is not None
    held = encode(model.codec, material.holdout, model.generator)
    torch.manual_seed(0)
    with torch.no_grad():
        bound = float(torch.cat([model.generator.bound(part, DRAWS) for part in held.split(500)]).mean())  # type: ignore[operator]
        reconstruction, divergence = (float(part.mean()) for part in model.generator.parts(held))  # type: ignore[operator]
    print(
        f"{data}: reconstruction {-reconstruction:.2f}, divergence {divergence:.2f}, bound of one draw {-reconstruction - divergence:.2f}"
    )
    learn = encode(model.codec, material.train, model.generator).x.numpy()
    show(
        "vae",
        data,
        f"importance-weighted bound, nats, {DRAWS} draws (higher)",
        bound,
        floor=floor_of(learn, held.x.numpy(), images=schema.modality == "image"),
        floor_name="every value by itself",
        parameters=parameter_count(model.generator),
        steps=model.receipt.steps,
        seconds=model.receipt.seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=DATA)
    given = parser.parse_args()
    if given.data:
        run(given.data)
        return
    for data in DATA:
        subprocess.run([sys.executable, __file__, "--data", data], check=True)


if __name__ == "__main__":
    main()
