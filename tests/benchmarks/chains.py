"""`markov` and `hmm` on text, chorales and power curves, beside their floors. Closed-form families: the steps are EM's passes.

    python tests/benchmarks/chains.py [CASE]

Each case in a process of its own. A built-in that is not on this machine (not shipped, its package not installed) is left out
by name. Tokens: held-out perplexity, the floor is the same chain without a past (its tokens' shares). Series: held-out nats per
value, the floor is one Gaussian per step.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time

import numpy as np
import torch
from rows import show

from guardrail.data.builtin import load
from guardrail.data.codec import Codec
from guardrail.data.modality import modality
from guardrail.training.contract import Batch, Generator
from guardrail.training.model import build, encode
from guardrail.training.plain import ExactCounts
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.errors import GuardrailError
from guardrail.vocabulary.spec import GeneratorSpec

CASES = tuple((family, data) for data in ("moby_dick", "chorales", "italy_power") for family in ("markov", "hmm"))
FEW = 50
"""Records, below which their pieces are held out and not whole records."""


def parts(data: str) -> tuple[Codec, list]:
    """Codec, and nine tenths and one tenth of the records in pieces."""
    raw, schema = load(data)
    kind, rng = modality(schema.modality), np.random.default_rng(0)
    frame, _ = kind.cast(raw, schema, on_error="fail", where=data)
    if len(frame) < FEW:
        frame = kind.pieces(frame, schema, most=None)
    held = rng.random(len(frame)) < 0.1
    return kind.codec(schema), [kind.pieces(frame[part].reset_index(drop=True), schema, most=None) for part in (~held, held)]


def fitted(family: str, codec: Codec, frame, **options: object) -> tuple[Generator, float]:
    torch.manual_seed(0)
    generator = build(GeneratorSpec(name=family, options=options), codec)
    records = encode(codec, frame, generator)
    counts = ExactCounts(Dataset(records, codec.encode(frame, "tokens"), codec.tokens))
    started = time.perf_counter()
    generator.initialise(counts)
    return generator, time.perf_counter() - started


def perplexity(generator: Generator, batch: Batch, end: int | None) -> float:
    x = batch.x
    tokens = x.numel() if end is None else int(((x != end).sum(1) + 1).clamp_max(x.shape[1]).sum())
    return math.exp(-float(sum(generator.log_likelihood(part).sum() for part in batch.split(512))) / tokens)


def gaussian_per_step(train: torch.Tensor, held: torch.Tensor) -> float:
    mean, deviation = train.double().mean(0), train.double().std(0)
    return float(torch.distributions.Normal(mean, deviation).log_prob(held.double()).mean())


@torch.no_grad()
def measure(family: str, data: str) -> None:
    codec, (train, held) = parts(data)
    generator, seconds = fitted(family, codec, train)
    batch = encode(codec, held, generator)
    steps = max(0, len(getattr(generator, "history", ())) - 1)
    parameters = sum(p.numel() for p in generator.parameters()) or len(generator.get_buffer("runs"))
    if batch.x.is_floating_point():
        measure_, floor_name = "held-out nats per value (higher)", "one Gaussian per step"
        value = float(generator.log_likelihood(batch).mean()) / batch.x[0].numel()
        floor = gaussian_per_step(encode(codec, train, generator).x, batch.x)
    else:
        measure_, floor_name = "held-out perplexity (lower)", "tokens' shares" if family == "markov" else "markov"
        value = perplexity(generator, batch, codec.tokens.end)
        other = fitted("markov", codec, train, **({"order": 0} if family == "markov" else {}))[0]
        floor = perplexity(other, encode(codec, held, other), codec.tokens.end)
    show(family, data, measure_, value, floor=floor, floor_name=floor_name, parameters=parameters, steps=steps, seconds=seconds)
    started = time.perf_counter()
    generator.sample(1000, torch.Generator().manual_seed(0))
    print(f"{family} on {data}: learned in {seconds:.2f} s; 1,000 records drawn in {time.perf_counter() - started:.2f} s", flush=True)


def main() -> None:
    for family, data in CASES if len(sys.argv) < 2 else ():
        subprocess.run([sys.executable, __file__, f"{family}:{data}"], check=True)
    for case in sys.argv[1:]:
        family, data = case.split(":")
        try:
            measure(family, data)
        except GuardrailError as fault:
            print(f"{family} on {data}: left out: {fault}", flush=True)


if __name__ == "__main__":
    main()
