"""Adult complete cases, 80/20: our families of tables beside their peers, by the same audits, without privacy or with it.

    python tests/benchmarks/table_peers.py [--families made,vae] [--threads 1] [--seed 0] [--seeds 3] [--epsilon 3]
        [--ctgan-python PATH [--ctgan-epochs 300] [--tvae-epochs 300]] [--mostly-python PATH]
        [--smartnoise-python PATH [--smartnoise mst,aim]]

Peers: CTGAN and TVAE of ctgan (https://github.com/sdv-dev/CTGAN), TabularARGN of MOSTLY AI's engine
(https://github.com/mostly-ai/mostlyai-engine), without its protection of rare values, which would replace them; with --epsilon
TabularARGN at its own private settings, up to that epsilon, and MST and AIM of smartnoise-synth
(https://github.com/opendp/smartnoise-sdk) on our own tokens, so that all have the same public bins. δ = 1e-5. PATH is an
interpreter that has the peer; records are exchanged as CSV. Prints one line a family; a peer of ctgan trained for fewer than its 300
epochs also gets its time extrapolated to 300, labelled so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats

from guardrail.data.builtin import load
from guardrail.data.cast import cast
from guardrail.data.material import Material, prepare
from guardrail.data.tabular.codec import TabularCodec
from guardrail.registry.home import Home
from guardrail.run.audit import measure
from guardrail.training.fit import Settings, train
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.schema import Categorical
from guardrail.vocabulary.spec import DataSpec, GeneratorSpec, PrivacySpec, TrainingSpec

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
epsilon = float(sys.argv[2])
private = dict(max_epsilon=epsilon, delta=1e-5) if epsilon else None
settings = dict(max_epochs=1000, max_training_time=1e6) if epsilon else {}
model = TabularARGN(
    random_state=seed, device="cpu", value_protection=False, workspace_dir=folder + "/workspace", differential_privacy=private, **settings
)
begun = time.perf_counter()
model.fit(table)
print(time.perf_counter() - begun)
model.sample(n_samples=len(table)).to_csv(folder + "/made.csv", index=False)
"""
SMARTNOISE = """
import sys, time
import numpy, pandas
from snsynth import Synthesizer
name, epsilon, seed, folder = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
table = pandas.read_csv(folder + "/train.csv")
numpy.random.seed(seed)
model = Synthesizer.create(name, epsilon=epsilon, delta=1e-5)
begun = time.perf_counter()
model.fit(table, categorical_columns=list(table.columns), preprocessor_eps=0.0)
print(time.perf_counter() - begun)
model.sample(len(table)).to_csv(folder + "/made.csv", index=False)
"""


def audited(material: Material, synthetic: pd.DataFrame, seed: int) -> dict[str, float]:
    evidence = Evidence(schema=material.schema, train=material.train, holdout=material.holdout, synthetic=synthetic)
    return {finding.metric: finding.value for finding in measure(evidence, only=AUDITS, seed=seed) if finding.value is not None}


def ours(name: str, material: Material, home: Home, seed: int, privacy: PrivacySpec | None) -> tuple[pd.DataFrame, float]:
    settings = Settings(GeneratorSpec(name=name), TrainingSpec(), privacy, holdout=0.2, seed=seed, name="benchmark")
    model = train(material, settings, home=home, report=lambda _: None)
    return model.sample(len(material.train), seed=seed), model.receipt.seconds


def peer(python: str, script: str, name: str, amount: float, material: Material, seed: int, threads: int) -> tuple[pd.DataFrame, float]:
    with tempfile.TemporaryDirectory() as folder:
        discrete = [column for column, entry in material.schema.columns.items() if isinstance(entry, Categorical)]
        (Path(folder) / "discrete.json").write_text(json.dumps(discrete))
        material.train.to_csv(Path(folder) / "train.csv", index=False)
        command = [python, "-c", script, name, f"{amount:g}", str(seed), folder, str(threads)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        made = pd.read_csv(Path(folder) / "made.csv", dtype=dict.fromkeys(discrete, str), keep_default_na=False)
    return cast(made, material.schema, on_error="clip"), float(said.split()[-1])


def on_tokens(python: str, name: str, epsilon: float, material: Material, seed: int, threads: int) -> tuple[pd.DataFrame, float]:
    """A peer that knows categories only gets every column as our codec's tokens."""
    codec = TabularCodec(material.schema)
    tokens = codec.encode(material.train, "tokens")
    with tempfile.TemporaryDirectory() as folder:
        pd.DataFrame(tokens, columns=list(codec.tokens.names)).to_csv(Path(folder) / "train.csv", index=False)
        command = [python, "-c", SMARTNOISE, name, str(epsilon), str(seed), folder]
        said = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
        ).stdout
        made = pd.read_csv(Path(folder) / "made.csv").to_numpy(dtype=np.int64)
    return codec.decode(made, "tokens", np.random.default_rng(seed)), float(said.split()[-1])


Found = dict[str, list[dict[str, float]]]
"""By family or peer, what the audits found at every seed."""


def show(label: str, seconds: float, values: dict[str, float], epochs: int = DEFAULT_EPOCHS) -> None:
    longer = "" if epochs == DEFAULT_EPOCHS else f" (extrapolated to {DEFAULT_EPOCHS} epochs: {seconds * DEFAULT_EPOCHS / epochs:.0f})"
    print(f"{label} seconds={seconds:.1f}{longer} " + " ".join(f"{key}={value:.4f}" for key, value in values.items()), flush=True)


def compare(found: Found) -> None:
    """The first against each of the others, seed by seed, with the 95 % interval of Student's t."""
    (first, own), *others = found.items()
    for label, theirs in others:
        for metric in ("quality.utility_auc", "quality.pairs", "quality.detection_auc"):
            apart = np.array([mine[metric] - other[metric] for mine, other in zip(own, theirs, strict=True)])
            half = stats.t.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart))
            print(f"{first} - {label}: {metric} {apart.mean():+.4f} +- {half:.4f} ({len(apart)} seeds)", flush=True)


def one_seed(given: argparse.Namespace, seed: int, found: Found) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GUARDRAIL_HOME"] = folder
        home = Home.find()
        frame, schema = load("adult-complete")
        privacy = PrivacySpec(epsilon=given.epsilon) if given.epsilon else None
        material = prepare(frame, schema, DataSpec(source="builtin:adult-complete"), privacy=privacy, seed=seed, home=home)

        def tell(label: str, made: pd.DataFrame, seconds: float, epochs: int = DEFAULT_EPOCHS) -> None:
            values = audited(material, made, seed)
            found.setdefault(label, []).append(values)
            named = label + (f" epsilon {given.epsilon:g}" if privacy else "") + (f" seed {seed}" if given.seeds > 1 else "")
            show(named, seconds, values, epochs)

        for name in filter(None, given.families.split(",")):
            tell(name, *ours(name, material, home, seed, privacy))
        if given.mostly_python:
            tell("MOSTLY AI", *peer(given.mostly_python, MOSTLY, "TabularARGN", given.epsilon, material, seed, given.threads))
        for name in given.smartnoise.split(",") if given.smartnoise_python and privacy else ():
            tell(name, *on_tokens(given.smartnoise_python, name, given.epsilon, material, seed, given.threads))
        for name, epochs in (("TVAE", given.tvae_epochs), ("CTGAN", given.ctgan_epochs)):
            if given.ctgan_python and epochs:
                tell(f"{name} epochs={epochs}", *peer(given.ctgan_python, CTGAN, name, epochs, material, seed, given.threads), epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ctgan-python")
    parser.add_argument("--mostly-python")
    parser.add_argument("--smartnoise-python")
    parser.add_argument("--smartnoise", default="mst,aim", help="which of its synthesizers")
    parser.add_argument("--epsilon", type=float, default=0, help="0: without privacy")
    parser.add_argument("--ctgan-epochs", type=int, default=DEFAULT_EPOCHS)
    parser.add_argument("--tvae-epochs", type=int, default=DEFAULT_EPOCHS)
    parser.add_argument("--families", default="made,vae,tabular_gan")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1, help="how many; from two on the first family is set against all others")
    parser.add_argument("--threads", type=int, default=1, help="of ours and of the peers")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found: Found = {}
    for seed in range(given.seed, given.seed + given.seeds):
        one_seed(given, seed, found)
    if given.seeds > 1:
        compare(found)


if __name__ == "__main__":
    main()
