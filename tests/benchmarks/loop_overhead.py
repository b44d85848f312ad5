"""What our loop costs beside a plain PyTorch loop of the same network: images per second of dcgan, tokens per second of transformer.

    python tests/benchmarks/loop_overhead.py [--families dcgan,transformer] [--seconds 20] [--rounds 3]

Both loops train the same players on the same random records, with the same optimizer, batch size and precision, on the GPU
where there is one. Ours does all it does for a user: schedule, average, seeds for resuming, reports, the monitor. The two take
turns, and the median of the rounds counts. Target: at most 5 % more time per step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from guardrail.training.conduct import Conduct, precision_on
from guardrail.training.contract import Batch, Generator, Recipe
from guardrail.training.fit import choose_device
from guardrail.training.plain import Plain
from guardrail.training.strategy import Dataset, optimizer_of
from guardrail.vocabulary.plugins import resolve
from guardrail.vocabulary.spaces import Block, ImageSpace, Space, TokenSpace, VectorSpace

WARM = 5
"""Steps before the clock starts."""


@dataclass(frozen=True)
class Case:
    space: Space
    batch_size: int
    unit: str
    per_record: int
    """Units in a record."""


CASES = {
    "dcgan": Case(ImageSpace(3, 32, 32), 64, "images", 1),
    "transformer": Case(TokenSpace(("text",) * 256, (96,) * 256, shared=True), 16, "tokens", 256),
    "vae": Case(VectorSpace((Block("x", "choice", 0, 64), *(Block(f"r{i}", "real", 64 + i, 1) for i in range(64)))), 512, "records", 1),
    "made": Case(TokenSpace(tuple("abcdefghijklmno"), (16,) * 15), 512, "records", 1),
}


class Free:
    def reserve(self, mechanisms: object) -> None:
        """No ledger here."""


def records_of(case: Case, n: int) -> Batch:
    rng = torch.Generator().manual_seed(0)
    space = case.space
    if isinstance(space, TokenSpace):
        return Batch.of(torch.stack([torch.randint(size, (n,), generator=rng) for size in space.sizes], dim=1))
    shape = space.shape if isinstance(space, ImageSpace) else (space.width,)
    return Batch.of(torch.rand(n, *shape, generator=rng))


def built(name: str, case: Case, device: torch.device) -> Generator:
    torch.manual_seed(0)
    kind = resolve("generators", name)
    generator: Generator = kind(case.space, kind.Options())
    return generator.to(device)


def recipe_of(generator: Generator, case: Case, steps: int) -> Recipe:
    return generator.plain.model_copy(update={"batch_size": case.batch_size, "sample_rate": 1.0, "epochs": steps})


def plain_loop(generator: Generator, case: Case, records: Batch, steps: int, precision: torch.dtype) -> float:
    """Seconds per step of what one writes by hand."""
    device = records.x.device
    players = generator.players()
    optimizers = {name: optimizer_of(player, generator.plain) for name, player in players.items()}
    generator.train()
    for step in range(WARM + steps):
        if step == WARM:
            started = _now(device)
        for name, player in players.items():
            for _ in range(player.turns):
                batch = records[torch.randint(len(records), (case.batch_size,), device=device)]
                optimizers[name].zero_grad()
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
                    free = player.free_loss(case.batch_size)
                    loss = player.losses(batch).float().mean() if player.sees_records else 0.0
                    loss = loss if free is None else loss + free
                loss.backward()
                optimizers[name].step()
                player.after_step()
        if step % 100 == 0:
            loss.item()  # whoever trains looks at the loss now and then
    return (_now(device) - started) / steps


def our_loop(generator: Generator, case: Case, records: Batch, steps: int, conduct: Conduct) -> float:
    """Seconds per step, the monitor's last look included."""
    tokens, space = np.zeros((len(records), 1), dtype=np.int64), TokenSpace(("x",), (1,))
    if isinstance(case.space, TokenSpace):
        tokens, space = records.x.cpu().numpy(), case.space
    started = [0.0]

    def report(progress: object) -> None:
        if getattr(progress, "step", 0) == WARM:
            started[0] = _now(records.x.device)

    epochs = (WARM + steps) * case.batch_size // len(records)
    recipe = recipe_of(generator, case, epochs)
    Plain(Free()).fit(generator, Dataset(records, tokens, space), recipe, seed=0, device=records.x.device, report=report, conduct=conduct)
    return (_now(records.x.device) - started[0]) / (epochs * len(records) // case.batch_size - WARM)


def _now(device: torch.device) -> float:
    """Seconds; off the GPU of this process alone, so that what else runs on the machine does not count."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def compare(name: str, *, seconds: float, rounds: int) -> None:
    case, device = CASES[name], choose_device("auto")
    precision = precision_on(device, "auto")
    records = records_of(case, 16 * case.batch_size).to(device)
    steps = max(32, int(seconds / plain_loop(built(name, case, device), case, records, 10, precision)) // 16 * 16 - WARM)
    plain, bare, whole = [], [], []
    for _ in range(rounds):
        plain.append(plain_loop(built(name, case, device), case, records, steps, precision))
        bare.append(our_loop(built(name, case, device), case, records, steps, Conduct(precision, monitor=False)))
        whole.append(our_loop(built(name, case, device), case, records, steps, Conduct(precision)))
    base = statistics.median(plain)
    per_second = case.batch_size * case.per_record / base
    print(f"{name} on {device}, {precision}, {steps} steps, batches of {case.batch_size}:")
    print(f"  plain loop  {1000 * base:8.2f} ms a step  {per_second:10,.0f} {case.unit}/s")
    for what, times in (("our loop", bare), ("+ monitor", whole)):
        took = statistics.median(times)
        rate, more = case.batch_size * case.per_record / took, took / base - 1
        spread = f"{min(times) / max(plain) - 1:+.1%} … {max(times) / min(plain) - 1:+.1%}"
        print(f"  {what:10}  {1000 * took:8.2f} ms a step  {rate:10,.0f} {case.unit}/s  {more:+.1%} ({spread})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="dcgan,transformer", help=f"of {', '.join(CASES)}")
    parser.add_argument("--seconds", type=float, default=20, help="per loop and round")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    for name in asked.families.split(","):
        compare(name, seconds=asked.seconds, rounds=asked.rounds)


if __name__ == "__main__":
    main()
