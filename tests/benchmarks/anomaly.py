"""Leave one digit out: a model of nine digits scores held-out digits of all ten; how well does strangeness tell the tenth?

    python tests/benchmarks/anomaly.py [--data mnist10k] [--families vae] [--digits 0,1,2] [--records 4000]

Beside it the floor: the distance to the nearest training image. One AUROC per digit, and the mean.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np
import pandas as pd
import torch
from rows import show
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from guardrail.data.builtin import load
from guardrail.data.material import Material
from guardrail.data.modality import modality
from guardrail.registry.home import Home
from guardrail.training.contract import parameter_count
from guardrail.training.fit import Settings, train
from guardrail.training.model import Model
from guardrail.vocabulary.schema import Schema
from guardrail.vocabulary.spec import GeneratorSpec, TrainingSpec


def fitted(family: str, frame: pd.DataFrame, schema: Schema) -> Model:
    unlabelled = schema.model_copy(update={"target": None})
    settings = Settings(GeneratorSpec(name=family), TrainingSpec(device="cpu"), None, holdout=0.0, name="anomaly")
    return train(Material(unlabelled, frame, None, "hmac-sha256:benchmark"), settings, home=Home.find(), report=lambda _: None)


def pixels(frame: pd.DataFrame) -> np.ndarray:
    return np.stack([cell.ravel() for cell in frame["image"]]).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist10k")
    parser.add_argument("--families", default="vae")
    parser.add_argument("--digits", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--records", type=int, default=4000)
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    raw, schema = load(given.data)
    frame, _ = modality("image").cast(raw, schema, on_error="fail", where=given.data)
    order = np.random.default_rng(0).permutation(len(frame))
    learn, look = frame.iloc[order[: given.records]], frame.iloc[order[given.records :][-2000:]].reset_index(drop=True)
    target = str(schema.target)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GUARDRAIL_HOME"] = folder
        for family in given.families.split(","):
            found, floors, seconds, steps, model = [], [], 0.0, 0, None
            for digit in given.digits.split(","):
                nine = learn[learn[target].astype(str) != digit].reset_index(drop=True)
                began = time.perf_counter()
                model = fitted(family, nine, schema)
                seconds, steps = seconds + time.perf_counter() - began, steps + model.receipt.steps
                strange = look[target].astype(str).to_numpy() == digit
                found.append(roc_auc_score(strange, model.anomaly_score(look)))
                nearest = NearestNeighbors(n_neighbors=1).fit(pixels(nine)).kneighbors(pixels(look))[0][:, 0]
                floors.append(roc_auc_score(strange, nearest))
                print(f"{given.data} {family} without {digit}: AUROC {found[-1]:.3f}, nearest neighbour {floors[-1]:.3f}", flush=True)
            if model is not None:
                show(
                    family,
                    f"{given.data}, one digit left out",
                    "mean AUROC of the digit never seen (higher)",
                    float(np.mean(found)),
                    floor=float(np.mean(floors)),
                    floor_name="nearest neighbour",
                    parameters=parameter_count(model.generator),
                    steps=steps,
                    seconds=seconds,
                )


if __name__ == "__main__":
    main()
