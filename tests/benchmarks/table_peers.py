"""Adult complete cases, 80/20: our families of tables without privacy beside their peers, by the same audits.

    python tests/benchmarks/table_peers.py [--families made,vae] [--threads 1] [--mostly-python PATH]
        [--ctgan-python PATH [--ctgan-epochs 300] [--tvae-epochs 300]]

Peers: CTGAN and TVAE of ctgan (https://github.com/sdv-dev/CTGAN), TabularARGN of MOSTLY AI's engine
(https://github.com/mostly-ai/mostlyai-engine), without its protection of rare values, which would replace them. PATH is an
interpreter that has the peer; records are exchanged as CSV. Prints one line a family; a peer of ctgan trained for fewer than its
300 epochs also gets its time extrapolated to 300, labelled so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import pandas as pd
import torch

from guardrail.data.builtin import load
from guardrail.data.cast import cast
from guardrail.data.material import Material, prepare
from guardrail.registry.home import Home
from guardrail.run.audit import measure
from guardrail.training.fit import Settings, train
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.schema import Categorical
from guardrail.vocabulary.spec import DataSpec, GeneratorSpec, TrainingSpec

AUDITS = ("pairs", "detection", "utility", "copies", "nearest")
DEFAULT_EPOCHS = 300
CTGAN = """
import json, sys, time
import pandas, torch, ctgan
name, epochs, seed, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(int(sys.argv[5]))
said = json.load(open(folder + "/discrete.json"))
table = pandas.read_csv(folder + "/train.csv", dtype={column: str for column in said}, keep_default_na=False)
torch.manual_seed(seed)
model = getattr(ctgan, name)(epochs=epochs)
if hasattr(model, "set_random_state"):
    model.set_random_state(seed)
begun = time.perf_counter()
model.fit(table, said)
print(time.perf_counter() - begun)
model.sample(len(table)).to_csv(folder + "/made.csv", index=False)
"""
MOSTLY = """
import json, sys, time
import pandas, torch
from mostlyai.engine import TabularARGN
seed, folder = int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(int(sys.argv[5]))
said = json.load(open(folder + "/discrete.json"))
table = pandas.read_csv(folder + "/train.csv", dtype={column: str for column in said}, keep_default_na=False)
model = TabularARGN(random_state=seed, device="cpu", value_protection=False, workspace_dir=folder + "/workspace")
begun = time.perf_counter()
model.fit(table)
print(time.perf_counter() - begun)
model.sample(n_samples=len(table)).to_csv(folder + "/made.csv", index=False)
"""


def audited(material: Material, synthetic: pd.DataFrame, seed: int) -> dict[str, float]:
    evidence = Evidence(schema=material.schema, train=material.train, holdout=material.holdout, synthetic=synthetic)
    return {finding.metric: finding.value for finding in measure(evidence, only=AUDITS, seed=seed) if finding.value is not None}


def ours(name: str, material: Material, home: Home, seed: int) -> tuple[pd.DataFrame, float]:
    settings = Settings(GeneratorSpec(name=name), TrainingSpec(), None, holdout=0.2, seed=seed, name="benchmark")
    model = train(material, settings, home=home, report=lambda _: None)
    return model.sample(len(material.train), seed=seed), model.receipt.seconds


def peer(python: str, script: str, name: str, epochs: int, material: Material, seed: int, threads: int) -> tuple[pd.DataFrame, float]:
    with tempfile.TemporaryDirectory() as folder:
        discrete = [column for column, entry in material.schema.columns.items() if isinstance(entry, Categorical)]
        (Path(folder) / "discrete.json").write_text(json.dumps(discrete))
        material.train.to_csv(Path(folder) / "train.csv", index=False)
        command = [python, "-c", script, name, str(epochs), str(seed), folder, str(threads)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        made = pd.read_csv(Path(folder) / "made.csv", dtype=dict.fromkeys(discrete, str), keep_default_na=False)
    return cast(made, material.schema, on_error="clip"), float(said.split()[-1])


def show(label: str, seconds: float, values: dict[str, float], epochs: int = DEFAULT_EPOCHS) -> None:
    longer = "" if epochs == DEFAULT_EPOCHS else f" (extrapolated to {DEFAULT_EPOCHS} epochs: {seconds * DEFAULT_EPOCHS / epochs:.0f})"
    print(f"{label} seconds={seconds:.1f}{longer} " + " ".join(f"{key}={value:.4f}" for key, value in values.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ctgan-python")
    parser.add_argument("--mostly-python")
    parser.add_argument("--ctgan-epochs", type=int, default=DEFAULT_EPOCHS)
    parser.add_argument("--tvae-epochs", type=int, default=DEFAULT_EPOCHS)
    parser.add_argument("--families", default="made,vae,tabular_gan")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of ours and of the peers")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GUARDRAIL_HOME"] = folder
        home = Home.find()
        frame, schema = load("adult-complete")
        material = prepare(frame, schema, DataSpec(source="builtin:adult-complete"), privacy=None, seed=given.seed, home=home)
        for name in filter(None, given.families.split(",")):
            made, seconds = ours(name, material, home, given.seed)
            show(name, seconds, audited(material, made, given.seed))
        if given.mostly_python:
            made, seconds = peer(given.mostly_python, MOSTLY, "TabularARGN", 0, material, given.seed, given.threads)
            show("MOSTLY AI", seconds, audited(material, made, given.seed))
        for name, epochs in (("TVAE", given.tvae_epochs), ("CTGAN", given.ctgan_epochs)):
            if given.ctgan_python and epochs:
                made, seconds = peer(given.ctgan_python, CTGAN, name, epochs, material, given.seed, given.threads)
                show(f"{name} epochs={epochs}", seconds, audited(material, made, given.seed), epochs)


if __name__ == "__main__":
    main()
