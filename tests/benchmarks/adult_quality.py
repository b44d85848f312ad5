"""Adult complete cases, 80/20, public schema: private and plain `made`, `vae` and the floor, by the audits themselves.

    python tests/benchmarks/adult_quality.py [--epsilon 3] [--seeds 1] [--generators made,vae,marginals] [--raw] [--plain]

Prints a line a seed, and their mean: quality.pairs against train, utility AUC on the holdout, detection AUC, seconds of training.
"""

from __future__ import annotations

import argparse
import os
import tempfile

import numpy as np
import torch
from scipy import stats

from guardrail.data.builtin import load
from guardrail.data.material import prepare
from guardrail.registry.home import Home
from guardrail.run.audit import measure
from guardrail.training.fit import Settings, train
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.spec import DataSpec, GeneratorSpec, PrivacySpec, TrainingSpec

AUDITS = ("pairs", "detection", "utility", "copies", "nearest")


def run(name: str, epsilon: float | None, seed: int, source: str, learning: dict[str, object], canaries: int) -> dict[str, float]:
    frame, schema = load(source)
    home = Home.find()
    privacy = PrivacySpec(epsilon=epsilon, canaries=canaries) if epsilon else None
    material = prepare(frame, schema, DataSpec(source=f"builtin:{source}"), privacy=privacy, seed=seed, home=home)
    training = TrainingSpec.model_validate(learning)
    settings = Settings(GeneratorSpec(name=name), training, privacy, holdout=0.2, seed=seed, name="benchmark")
    model = train(material, settings, home=home, report=lambda _: None)
    synthetic = model.sample(len(material.train), seed=seed)
    evidence = Evidence(
        schema=material.schema,
        train=material.train,
        holdout=material.holdout,
        synthetic=synthetic,
        floor=model.sample_floor(len(synthetic)),
    )
    findings = measure(evidence, only=AUDITS, seed=seed)
    values = {finding.metric: finding.value for finding in findings}
    floors = {finding.metric: finding.comparisons["floor"].value for finding in findings if "floor" in finding.comparisons}
    return {
        "pairs": values["quality.pairs"],
        "utility_auc": values["quality.utility_auc"],
        "detection_auc": values["quality.detection_auc"],
        "copies": values["privacy.exact_copies"],
        "nearest": values["privacy.nearest_record_share"],
        "seconds": model.receipt.seconds,
        "floor_utility_auc": floors["quality.utility_auc"],
        "parameters": model.receipt.parameters,
        "steps": model.receipt.steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--raw", action="store_true", help="all 48,842 rows with their missing cells")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--generators", default="made")
    parser.add_argument("--canaries", type=int, default=2000, help="per player and noisy answer")
    parser.add_argument("--set", action="append", default=[], help="training setting, e.g. learning_rate=0.01")
    given = parser.parse_args()
    learning = {key: float(value) for key, _, value in (item.partition("=") for item in given.set)}
    source = "adult" if given.raw else "adult-complete"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GUARDRAIL_HOME"] = folder
        for name in given.generators.split(","):
            label = f"{source} {name} " + ("plain" if given.plain else f"epsilon {given.epsilon:g}")
            rows = []
            for seed in range(given.seeds):
                rows.append(run(name, None if given.plain else given.epsilon, seed, source, learning, given.canaries))
                print(f"{label} seed {seed} " + " ".join(f"{k}={v:.4f}" for k, v in rows[-1].items()), flush=True)
            print(f"{label} x{given.seeds} threads={torch.get_num_threads()} " + " ".join(mean(rows, key) for key in rows[0]), flush=True)


def mean(rows: list[dict[str, float]], key: str) -> str:
    """With half of Student's interval at 95 %, over seeds."""
    values = [row[key] for row in rows]
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
    return f"{key}={np.mean(values):.4f}±{half:.4f}"


if __name__ == "__main__":
    main()
