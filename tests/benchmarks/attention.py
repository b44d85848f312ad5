"""The transformer's three attentions side by side: memory of a training step, time per drawn token, held-out perplexity.

    python tests/benchmarks/attention.py [--only memory,pace,perplexity] [--epochs 2]

memory       peak resident memory of one training step on one record of 4,096 tokens, in a fresh process, and what was there
             before the step; the default network, window 128.
pace         milliseconds per drawn token at lengths 256, 1,024 and 4,096, untrained, one record at a time. Full attention reads
             every earlier key for each token, so its time per token has a part that grows with the length; the others' has not.
perplexity   on Moby Dick (128 characters, window 32), equally many parameters, tokens and epochs.

Times are the process's own CPU time on one thread.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch
from sequences import DATA, compare

from guardrail.training.contract import Batch
from guardrail.vocabulary.plugins import resolve
from guardrail.vocabulary.spaces import TokenSpace

KINDS = ("full", "window", "linear")
LENGTHS = (256, 1024, 4096)
SMALL = {"width": 72, "heads": 4, "layers": 2, "window": 32}


def untrained(kind: str, length: int):
    family = resolve("generators", "transformer")
    torch.manual_seed(0)
    return family(TokenSpace(("token",) * length, (100,) * length, shared=True), family.Options(attention=kind, window=128))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(kind: str) -> None:
    model, x = untrained(kind, 4096), torch.randint(0, 100, (1, 4096))
    untrained(kind, 8).losses(Batch.of(x[:, :8])).mean().backward()  # what the first step of all loads
    optimizer, before = torch.optim.AdamW(model.parameters()), peak_mb()
    clock = time.process_time()
    model.losses(Batch.of(x)).mean().backward()
    optimizer.step()
    seconds = time.process_time() - clock
    print(f"memory, {kind}: {before:.0f} MB before, {peak_mb():.0f} MB at the peak of a step of 4,096 tokens; {seconds:.2f} s", flush=True)


def pace(kind: str) -> None:
    found = []
    for length in LENGTHS:
        model = untrained(kind, length).eval()
        clock = time.process_time()
        model.sample(1, torch.Generator().manual_seed(0))
        found.append(1000 * (time.process_time() - clock) / length)
    shown = ", ".join(f"{length:,}: {value:.3f}" for length, value in zip(LENGTHS, found, strict=True))
    print(f"pace, {kind}: milliseconds per token at length {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="memory,pace,perplexity")
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    parts, epochs = arguments.only.split(","), arguments.epochs
    if len(parts) == 1 and arguments.kind:
        torch.set_num_threads(1)
        kind = arguments.kind
        if parts[0] == "perplexity":
            learning = {"epochs": epochs, "batch_size": 16}
            compare("transformer", DATA["words"], {**SMALL, "attention": kind}, learning, note=f", {kind} attention")
        else:
            {"memory": memory, "pace": pace}[parts[0]](kind)
        return
    for part in parts:
        for kind in KINDS:
            subprocess.run([sys.executable, __file__, "--only", part, "--kind", kind, "--epochs", str(epochs)], check=True)


if __name__ == "__main__":
    main()
