"""`rnn`, `lstm`, `gru`, `transformer` on Moby Dick and Bach chorales beside the Markov floor; harmonising a soprano.

    python tests/benchmarks/sequences.py [--only words,music,equal,harmony] [--family gru] [--epochs 2] [--out FOLDER]

words, music   held-out perplexity per token with the families' defaults. The floor is the chain that stands beside every model
               (order 3 on text, 4 on chorales); a second line names the best order, as the held-out pieces choose it.
equal          transformer and lstm on Moby Dick with equally many parameters, tokens, records per step and epochs.
harmony        transformer with `source: [soprano]`: perplexity per token of the other three voices. The floor is the chain's
               probability of the same tokens given all before them, voice by voice: it sees no soprano further on.

Every case in a process of its own; every loss is over the tokens up to the end, the end included. Seconds are the process's own
CPU time on one thread.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rows import show

from guardrail.data.builtin import load
from guardrail.data.material import Material, prepare
from guardrail.data.modality import modality
from guardrail.registry.home import Home
from guardrail.training.contract import Batch, Generator
from guardrail.training.fit import Settings, train
from guardrail.training.model import Model, build, encode
from guardrail.training.plain import ExactCounts
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.spec import DataSpec, GeneratorSpec, TrainingSpec

FAMILIES = ("rnn", "lstm", "gru", "transformer")
DATA = {"words": "moby_dick", "music": "chorales"}
EQUAL = {"transformer": {"width": 72, "heads": 4, "layers": 2}, "lstm": {"width": 160, "embedding": 32}}
HARMONY = {"source": ["soprano"], "width": 96, "dropout": 0.1}
TOKENS_SEEN = {"epochs": 4, "batch_size": 16}
HELD = 0.2


def material_of(data: str, home: Home) -> Material:
    frame, schema = load(data)
    return prepare(frame, schema, DataSpec(source=f"builtin:{data}"), privacy=None, seed=0, home=home)


def trained(family: str, data: str, options: dict[str, Any], learning: dict[str, Any]) -> tuple[Model, Material, float]:
    """The model, its data and the seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        material, clock = material_of(data, home), time.process_time()
        training = TrainingSpec(device="cpu", monitor=False, **learning)
        settings = Settings(GeneratorSpec(name=family, options=options), training, None, holdout=HELD)
        model = train(material, settings, home=home, report=lambda _: None)
        seconds = time.process_time() - clock
        print(f"{family} on {data}: {model.receipt.epochs} epochs, {model.receipt.steps} steps in {seconds:.0f} s", flush=True)
        return model, material, seconds


def counted(model: Model, material: Material) -> tuple[Batch, torch.Tensor]:
    """The held-out records and (records, positions) bool: which tokens count."""
    batch, end = encode(model.codec, material.holdout, model.floor), model.codec.tokens.end
    if end is None:
        return batch, torch.ones_like(batch.x, dtype=torch.bool)
    return batch, ((batch.x == end).long().cumsum(1) - (batch.x == end).long()) == 0


def chain(model: Model, material: Material, order: int | None) -> Generator:
    floor = build(GeneratorSpec(name="markov", options={"order": order}), model.codec)
    records = encode(model.codec, material.train, floor)
    floor.initialise(ExactCounts(Dataset(records, records.x.numpy(), model.codec.tokens)))
    return floor


def perplexity(log: float, tokens: int) -> float:
    return math.exp(-log / tokens)


def likelihood(generator: Generator, batch: Batch) -> float:
    return float(sum(generator.log_likelihood(part).double().sum() for part in batch.split(256)))


def compare(family: str, data: str, options: dict[str, Any], learning: dict[str, Any], note: str = "") -> None:
    model, material, seconds = trained(family, data, options, learning)
    batch, counts = counted(model, material)
    tokens = int(counts.sum())
    value, floor = (perplexity(likelihood(g, batch), tokens) for g in (model.generator, model.floor))
    receipt = model.receipt
    show(
        family, data + note, "held-out perplexity (lower)", value, floor=floor, floor_name="markov", parameters=receipt.parameters,
        steps=receipt.steps, seconds=seconds,
    )  # fmt: skip
    orders = {order: perplexity(likelihood(chain(model, material, order), batch), tokens) for order in (2, 3, 4, 5, 6, 8)}
    best = min(orders, key=orders.get)  # type: ignore[arg-type]
    print(f"{family} on {data}: {value:.3f}; the best chain has order {best}: {orders[best]:.3f}", flush=True)
    for cell in model.sample(4, seed=1).iloc[:, 0] if data == "moby_dick" else ():
        print("   ", repr(cell)[:140], flush=True)


@torch.no_grad()
def log_of_each(chain: Any, batch: Batch) -> torch.Tensor:
    """(records, positions): log-probability of every token given those before it, from what a chain gives to whole records.

    It depends on the last tokens alone, so the record may begin shortly before them, at a place where its fields do.
    """

    def upto(start: int, stop: int) -> torch.Tensor:
        if start == stop:
            return torch.zeros(len(batch), dtype=torch.float64)
        return torch.as_tensor(chain.log_likelihood(Batch.of(batch.x[:, start:stop])))

    starts = [max(0, (t - chain.order) // chain.period * chain.period) for t in range(batch.x.shape[1])]
    return torch.stack([upto(start, t + 1) - upto(start, t) for t, start in enumerate(starts)], 1)


def harmony(learning: dict[str, Any], out: Path | None) -> None:
    model, material, seconds = trained("transformer", "chorales", HARMONY, {"epochs": 8, "batch_size": 8, **learning})
    batch, counts = counted(model, material)
    target = counts & torch.tensor([name != "soprano" for name in model.codec.tokens.names])
    generator: Any = model.generator
    with torch.no_grad():
        log = torch.cat([generator.logits_of(part).log_softmax(2).gather(2, part.x[:, :, None])[:, :, 0] for part in batch.split(64)])
    value = perplexity(float(log[target].sum()), int(target.sum()))
    found = {}
    for order in (4, 5, 6):
        floor = chain(model, material, order)
        found[order] = perplexity(float(log_of_each(floor, batch)[target].sum()), int(target.sum()))
    receipt = model.receipt
    show(
        "transformer, soprano to three voices", "chorales", "held-out perplexity per written token (lower)", value, floor=found[4],
        floor_name="markov", parameters=receipt.parameters, steps=receipt.steps, seconds=seconds,
    )  # fmt: skip
    print("harmony: chains by order:", {order: round(value, 3) for order, value in found.items()}, flush=True)
    if out is not None and material.holdout is not None:
        some = material.holdout.iloc[[0, 4, 9, 14]].reset_index(drop=True)
        kind, schema = modality("music"), material.schema
        (out / "harmony-bach.png").write_bytes(kind.picture(some, schema))
        (out / "harmony-written.png").write_bytes(kind.picture(model.translate(some, seed=0), schema))


def cases(only: list[str], family: str | None) -> list[list[str]]:
    families = [family] if family else list(FAMILIES)
    found = [["--only", part, "--family", name] for part in DATA if part in only for name in families]
    found += [["--only", "equal", "--family", name] for name in EQUAL if "equal" in only and name in families]
    return found + [["--only", "harmony", "--family", "transformer"] for _ in range("harmony" in only and "transformer" in families)]


def one(part: str, family: str, learning: dict[str, Any], out: Path | None) -> None:
    if part == "harmony":
        harmony(learning, out)
    elif part == "equal":
        compare(family, "moby_dick", EQUAL[family], {**TOKENS_SEEN, **learning}, note=", equal parameters and tokens")
    else:
        compare(family, DATA[part], {}, learning)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="words,music,equal,harmony")
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    todo = cases(arguments.only.split(","), arguments.family)
    rest = [*(["--epochs", str(arguments.epochs)] if arguments.epochs else []), *(["--out", str(arguments.out)] if arguments.out else [])]
    if len(todo) == 1:
        torch.set_num_threads(1)
        learning = {"epochs": arguments.epochs} if arguments.epochs else {}
        one(todo[0][1], todo[0][3], learning, arguments.out)
    for case in todo if len(todo) > 1 else ():
        subprocess.run([sys.executable, __file__, *case, *rest], check=True)


if __name__ == "__main__":
    main()
