"""What a private step costs beside the plain one of the same player, ours and Opacus', in one process and taking turns.

    python tests/benchmarks/private_steps.py [--cases critic,made] [--seconds 30] [--batch 256] [--memory]

Every way takes the same step on the same records: losses, gradients, clipping, noise, optimizer; for a critic also the half of the
loss that sees no record. `plain` is the mean loss, backward, step. `private` is ours with noise by torch.randn, as Opacus' modes
have it; `secure` is the same with the noise of a real run, `canaries` with 2,000 of them and fast noise. Where a mode of
Opacus refuses the player there is a dash; for recurrent layers it gets its own (DPLSTM, DPGRU) in place of torch's. CPU time of
this process, one thread, median of the rounds; with --memory the peak above the process before its first step, each way in a
process of its own (Linux).
"""

from __future__ import annotations

import argparse
import copy
import itertools
import multiprocessing
import os
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from opacus.grad_sample import GradSampleModule
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from opacus.grad_sample.gsm_exp_weights import GradSampleModuleExpandedWeights
from opacus.layers import DPGRU, DPLSTM
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from torch import Tensor, nn

from guardrail.training import private_turn
from guardrail.training.canaries import Canaries
from guardrail.training.clipping import gradients, trained
from guardrail.training.contract import Batch, Generator, Player
from guardrail.training.private_turn import PrivateTurn
from guardrail.training.secure import SecureStream, Stream
from guardrail.vocabulary.plugins import resolve
from guardrail.vocabulary.spaces import Block, ImageSpace, Space, TokenSpace, VectorSpace

CLIP, NOISE = 1.0, 1.0
ROWS = VectorSpace((*(Block(f"c{i}", "choice", 8 * i, 8) for i in range(12)), *(Block(f"r{i}", "real", 96 + i, 1) for i in range(32))))
LETTERS = 64


@dataclass(frozen=True)
class Case:
    what: str
    family: str
    space: Space
    batch: int
    options: dict[str, Any] = field(default_factory=dict)
    player: str = ""
    """Which of the family's; the first where it is not said."""
    target: float = 0.0


def text(steps: int) -> TokenSpace:
    return TokenSpace(("text",) * steps, (LETTERS,) * steps, shared=True)


CASES = {
    "critic": Case("MLP critic of `gan`", "gan", ROWS, 1024, player="critic", target=1.15),
    "made": Case("`made`, 15 columns of 24", "made", TokenSpace(tuple("abcdefghijklmno"), (24,) * 15), 1024, target=1.15),
    "vae": Case("`vae` of rows", "vae", ROWS, 1024, target=1.15),
    "lstm": Case("`lstm`, T = 32, hidden 64", "lstm", text(32), 256, {"width": 64, "embedding": 64}, target=1.5),
    "gru": Case("`gru`, T = 32, hidden 64", "gru", text(32), 256, {"width": 64, "embedding": 64}, target=1.5),
    "transformer": Case("`transformer` 2x64, T = 64", "transformer", text(64), 256, {"width": 64, "layers": 2}, target=1.25),
    "transformer6": Case("`transformer` 6x256, T = 64", "transformer", text(64), 64, {"width": 256, "layers": 6}, target=1.25),
    "dcgan": Case("critic of `dcgan`, 28x28", "dcgan", ImageSpace(1, 28, 28), 256, player="critic", target=1.5),
    "conv_vae": Case("`vae`, convolutional, 28x28", "vae", ImageSpace(1, 28, 28), 256, {"network": "convolutional"}, target=1.5),
}


class Losses(nn.Module):
    """A player's losses as the forward pass that Opacus hooks."""

    def __init__(self, player: Player) -> None:
        super().__init__()
        self.player = player

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        return self.player.losses(Batch(x, given))


Step = Callable[[], None]


def plain(player: Player, batch: Batch) -> Step:
    optimizer = an_optimizer(player)

    def step() -> None:
        optimizer.zero_grad()
        loss, free = player.losses(batch).mean(), player.free_loss(len(batch))
        (loss if free is None else loss + free).backward()
        optimizer.step()
        player.after_step()

    return step


def ours(player: Player, batch: Batch, *, secure: bool = False, canaries: int = 0) -> Step:
    source = SecureStream()
    guests = Canaries(player, canaries, clip=CLIP, rate=0.1, source=source) if canaries else None
    turn = PrivateTurn(
        player,
        an_optimizer(player),
        itertools.repeat(batch),
        clip=CLIP,
        noise_multiplier=NOISE,
        normaliser=len(batch),
        source=source,
        canaries=guests,
    )
    turn.step()
    if turn.way != "one pass":
        raise ValueError(f"clipped by {turn.way}")

    def step() -> None:
        with mock.patch.object(private_turn, "gaussian", quick):
            turn.step()

    return turn.step if secure else step


def quick(source: Stream, n: int) -> Tensor:
    """As fast as torch draws; no claim could rest on it."""
    return torch.randn(n).double()


def opacus(player: Player, batch: Batch, wrap: Callable[[nn.Module], Any], *, ghost: bool) -> Step:
    swap_recurrent(player)
    module = wrap(Losses(player))
    kind = DPOptimizerFastGradientClipping if ghost else DPOptimizer
    optimizer = kind(
        an_optimizer(player), noise_multiplier=NOISE, max_grad_norm=CLIP, expected_batch_size=len(batch), loss_reduction="mean"
    )
    parameters = trained(player)

    def step() -> None:
        optimizer.zero_grad()
        losses = module(batch.x, batch.given)
        if ghost:
            losses.sum().backward(retain_graph=True)
            optimizer.zero_grad()
            clipped = (module.get_clipping_coef() * losses).sum()
            with unhooked(module):
                clipped.backward()
        else:
            losses.mean().backward()
        with unhooked(module):
            free = player.free_loss(len(batch))
            fake = None if free is None else gradients(free, parameters)
        optimizer.pre_step()
        for parameter, gradient in zip(parameters, fake or (), strict=fake is not None):
            parameter.grad += gradient
        optimizer.original_optimizer.step()
        player.after_step()

    return step


@contextmanager
def unhooked(module: Any) -> Iterator[None]:
    """Expanded weights have no hooks to take off."""
    getattr(module, "disable_hooks", bool)()
    yield
    getattr(module, "enable_hooks", bool)()


def swap_recurrent(player: nn.Module) -> None:
    for name, layer in list(player.named_children()):
        if isinstance(layer, nn.LSTM | nn.GRU):
            kind = DPLSTM if isinstance(layer, nn.LSTM) else DPGRU
            setattr(player, name, kind(layer.input_size, layer.hidden_size, layer.num_layers, batch_first=True))


WAYS: dict[str, Callable[[Player, Batch], Step]] = {
    "plain": plain,
    "private": ours,
    "secure": partial(ours, secure=True),
    "canaries": partial(ours, canaries=2000),
    "hooks": partial(opacus, wrap=partial(GradSampleModule, strict=False), ghost=False),
    "functorch": partial(opacus, wrap=partial(GradSampleModule, strict=False, force_functorch=True), ghost=False),
    "ew": partial(opacus, wrap=GradSampleModuleExpandedWeights, ghost=False),
    "ghost": partial(
        opacus, wrap=partial(GradSampleModuleFastGradientClipping, strict=False, max_grad_norm=CLIP, loss_reduction="sum"), ghost=True
    ),
}
PEERS = ("hooks", "functorch", "ew", "ghost")


def an_optimizer(player: Player) -> torch.optim.Optimizer:
    return torch.optim.Adam(trained(player), lr=1e-4)


def a_player(case: Case) -> Player:
    torch.manual_seed(0)
    kind = resolve("generators", case.family)
    generator: Generator = kind(case.space, kind.Options(**case.options))
    generator.train()
    players = generator.players()
    return players[case.player] if case.player else next(iter(players.values()))


def records_of(space: Space, n: int) -> Batch:
    rng = torch.Generator().manual_seed(0)
    if isinstance(space, TokenSpace):
        return Batch.of(torch.stack([torch.randint(size, (n,), generator=rng) for size in space.sizes], dim=1))
    return Batch.of(torch.rand(n, *(space.shape if isinstance(space, ImageSpace) else (space.width,)), generator=rng))


def ready(case: Case, way: str, batch: int) -> Step | None:
    """A step of this way that has been taken once; None where the way refuses the player."""
    try:
        step = WAYS[way](copy.deepcopy(a_player(case)), records_of(case.space, batch))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step()
    except Exception as fault:  # whatever a peer raises on a player that it was not made for is its answer
        if way not in PEERS:
            raise
        print(f"  {way}: {type(fault).__name__}: {str(fault).splitlines()[0][:120]}")
        return None
    return step


def times_of(case: Case, batch: int, seconds: float) -> dict[str, float]:
    """Milliseconds of CPU per step, median; the ways take turns until time is up, at least five times each."""
    steps = {way: step for way in WAYS if (step := ready(case, way, batch)) is not None}
    taken: dict[str, list[float]] = {way: [] for way in steps}
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(taken["plain"]) < 5:
        for way, step in steps.items():
            started = time.process_time()
            step()
            taken[way].append(1000 * (time.process_time() - started))
    return {way: statistics.median(each) for way, each in taken.items()}


def peak_of(case: str, way: str, batch: int, answer: Any) -> None:
    """Megabytes of the peak over three steps above what the process held before the first, to `answer`."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Opacus' hooks, at every step
    player, records = a_player(CASES[case]), records_of(CASES[case].space, batch)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    try:
        step = WAYS[way](player, records)
        for _ in range(3):
            step()
    except Exception:  # as in `ready`
        answer.put(None)
        return
    answer.put((memory("VmHWM") - before) / 1024)


def memory(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError(f"/proc/self/status has no {what}")
    return int(found[1])


def peaks_of(case: str, batch: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    found = {}
    for way in WAYS:
        answer = context.Queue()
        child = context.Process(target=peak_of, args=(case, way, batch, answer))
        child.start()
        peak = answer.get()
        child.join()
        if peak is not None:
            found[way] = peak
    return found


def row(case: Case, batch: int, found: dict[str, float], unit: str) -> str:
    base = found["plain"]
    best = min((way for way in PEERS if way in found), key=lambda way: found[way], default=None)
    cells = [f"{found[way] / base:.2f}" if way in found else "-" for way in WAYS if way != "plain"]
    verdict = "-" if best is None else f"{best}, {found[best] / found['private']:.1f}x ours"
    return f"| {case.what} | {batch:,} | {base:.1f} {unit} | {' | '.join(cells)} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--seconds", type=float, default=30, help="per case and batch size")
    parser.add_argument("--batch", type=int, default=0, help="in place of each case's own")
    parser.add_argument("--memory", action="store_true", help="peaks in place of times")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    print(f"| network | batch | plain | {' | '.join(way for way in WAYS if way != 'plain')} | best of Opacus |", flush=True)
    print(f"|{'---|' * (len(WAYS) + 3)}", flush=True)
    for name in asked.cases.split(","):
        case = CASES[name]
        batch = asked.batch or case.batch
        with redirect_stderr(None):
            found = peaks_of(name, batch) if asked.memory else times_of(case, batch, asked.seconds)
        print(row(case, batch, found, "MB" if asked.memory else "ms"), flush=True)


if __name__ == "__main__":
    main()
