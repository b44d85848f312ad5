"""Private `made` at its defaults on two tables that nobody tuned on: diamonds (ggplot2) and flights of 2013 (nycflights13).

    python tests/benchmarks/untuned_tables.py [--diamonds diamonds.csv] [--flights flights.csv] [--epsilons 1,3,10] [--seeds 1]

The files come with the packages plotnine (`plotnine/data/diamonds.csv`) and nycflights13 (`data/flights.csv.zip`). Schemas are written
here by hand, from what is known without the files: lists of airlines and airports, a clock, a ruler. Of the flights 60,000 complete
ones are drawn by a pinned seed. Target: is a diamond's cut at least Premium; did a flight arrive more than 15 minutes late. Prints
a line a seed and their mean, with the floor and real rows against real rows beside it. δ = 1e-5, 80/20, everything charged.
"""

from __future__ import annotations

import argparse
import os
import tempfile

import numpy as np
import pandas as pd
import torch

from guardrail.data.material import prepare
from guardrail.registry.home import Home
from guardrail.run.audit import measure
from guardrail.training.fit import Settings, train
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.schema import Schema
from guardrail.vocabulary.spec import DataSpec, GeneratorSpec, PrivacySpec, TrainingSpec

FLIGHTS = 60_000
AUDITS = ("pairs", "detection", "utility", "copies")
MILLIMETRES = {"kind": "numeric", "high": 12, "low": 0, "bins": 48, "points": [0], "decimals": 2}
AIRLINES = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]
MINUTES = {"kind": "integer", "spacing": "geometric", "bins": 32}
SCHEMAS = {
    "diamonds": {
        "declared_by": "the grading scales of the trade, by hand",
        "target": "fine",
        "columns": {
            "carat": {"kind": "numeric", "low": 0.1, "high": 6, "spacing": "geometric", "bins": 48, "decimals": 2},
            "color": {"kind": "ordinal", "categories": list("DEFGHIJ")},
            "clarity": {"kind": "ordinal", "categories": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"]},
            "depth": {"kind": "numeric", "low": 40, "high": 80, "bins": 40, "decimals": 1},
            "table": {"kind": "numeric", "low": 40, "high": 100, "bins": 60, "decimals": 1},
            "price": {"kind": "integer", "low": 100, "high": 20000, "spacing": "geometric", "bins": 48},
            "x": MILLIMETRES,
            "y": MILLIMETRES,
            "z": MILLIMETRES,
            "fine": {"kind": "boolean"},
        },
    },
    "flights": {
        "declared_by": "the airlines and airports of New York, a calendar and a clock, by hand",
        "target": "late",
        "columns": {
            "month": {"kind": "integer", "low": 1, "high": 12},
            "day": {"kind": "integer", "low": 1, "high": 31},
            "hour": {"kind": "integer", "low": 0, "high": 23},
            "carrier": {"kind": "categorical", "categories": AIRLINES},
            "origin": {"kind": "categorical", "categories": ["EWR", "JFK", "LGA"]},
            "distance": {"kind": "integer", "low": 0, "high": 5000, "bins": 64},
            "air_time": {"kind": "integer", "low": 0, "high": 800, "bins": 64},
            "dep_delay": {**MINUTES, "low": -60, "high": 1500},
            "late": {"kind": "boolean"},
        },
    },
}


def table(name: str, path: str) -> pd.DataFrame:
    raw = pd.read_csv(path)
    if name == "diamonds":
        return raw.assign(fine=raw.pop("cut").isin(["Premium", "Ideal"]))
    raw = raw.dropna(subset=["arr_delay", "air_time", "dep_delay"])
    kept = raw.iloc[np.random.default_rng(0).permutation(len(raw))[:FLIGHTS]]
    return kept.assign(late=kept["arr_delay"] > 15)[list(SCHEMAS["flights"]["columns"])].reset_index(drop=True)


def run(name: str, frame: pd.DataFrame, epsilon: float | None, seed: int) -> dict[str, float]:
    home, privacy = Home.find(), PrivacySpec(epsilon=epsilon) if epsilon else None
    data = DataSpec.model_validate({"source": name, "on_error": "clip"})
    material = prepare(frame, Schema.model_validate(SCHEMAS[name]), data, privacy=privacy, seed=seed, home=home)
    settings = Settings(GeneratorSpec(name="made"), TrainingSpec(), privacy, holdout=0.2, seed=seed, name="benchmark")
    model = train(material, settings, home=home, report=lambda _: None)
    synthetic = model.sample(len(material.train), seed=seed)
    floor = model.sample_floor(len(synthetic))
    evidence = Evidence(schema=material.schema, train=material.train, holdout=material.holdout, synthetic=synthetic, floor=floor)
    found = {finding.metric: finding for finding in measure(evidence, only=AUDITS, seed=seed)}
    pairs, utility = found["quality.pairs"], found["quality.utility_auc"]
    return {
        "pairs": pairs.value,
        "utility_auc": utility.value,
        "detection_auc": found["quality.detection_auc"].value,
        "copies": found["privacy.exact_copies"].value,
        "seconds": model.receipt.seconds,
        "real_pairs": pairs.reference,
        "floor_pairs": pairs.comparisons["floor"].value,
        "real_utility_auc": utility.reference,
        "floor_utility_auc": utility.comparisons["floor"].value,
        "rows": len(material.train),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in SCHEMAS:
        parser.add_argument(f"--{name}", default=None, metavar="CSV")
    parser.add_argument("--epsilons", default="1,3,10", help="0: without privacy")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GUARDRAIL_HOME"] = folder
        for name in SCHEMAS:
            if (path := getattr(given, name)) is None:
                print(f"{name}: no file was named")
                continue
            frame = table(name, path)
            for epsilon in map(float, given.epsilons.split(",")):
                rows = []
                for seed in range(given.seeds):
                    rows.append(run(name, frame, epsilon or None, seed))
                    print(f"{name} epsilon {epsilon:g} seed {seed} " + " ".join(f"{k}={v:.4f}" for k, v in rows[-1].items()), flush=True)
                means = " ".join(f"{key}={np.mean([row[key] for row in rows]):.4f}" for key in rows[0])
                print(f"{name} epsilon {epsilon:g} x{given.seeds} threads={torch.get_num_threads()} {means}", flush=True)


if __name__ == "__main__":
    main()
