"""How a training is carried out: speed, memory, and what goes along. Nothing here changes what is learned, or a claim."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..vocabulary.errors import SpecError, Unsupported
from .checkpoint import Checkpoints
from .contract import Generator
from .distributed import ALONE, World
from .loop import Training

Preview = Callable[[int, Generator], None]
"""Given the step and a copy of the model, on the CPU, with the weights that would be released now."""

PREVIEWS = 10


@dataclass(frozen=True)
class Conduct:
    precision: torch.dtype = torch.float32
    """Of the matrix products in the losses; weights, moments and sums stay what they are."""
    compile: bool = False
    micro_batch: int | None = None
    """Records per backward pass; None: the whole batch at once."""
    monitor: bool = True
    preview: Preview | None = None
    preview_every: int | None = None
    checkpoints: Checkpoints | None = None
    tell: Callable[[str], None] = lambda _: None
    world: World = ALONE

    def precisely(self, device: torch.device) -> AbstractContextManager[Any]:
        """What losses are computed in."""
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.precision)


PLAINLY = Conduct()


def precision_on(device: torch.device, asked: str) -> torch.dtype:
    """`auto`: bfloat16 on a GPU that computes with it, float32 elsewhere."""
    if asked == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if asked == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise SpecError("training.precision bfloat16: this GPU does not compute with it; leave it out, or name float32")
    return torch.bfloat16 if asked == "bfloat16" else torch.float32


class Previews:
    """Shows the model to the caller every few steps."""

    def __init__(self, preview: Preview, every: int | None) -> None:
        self._preview, self._every = preview, every

    def begin(self, training: Training, notes: Any) -> None:
        self._every = self._every or max(1, training.steps // PREVIEWS)

    def after_step(self, training: Training, losses: Mapping[str, Tensor | None]) -> Mapping[str, float]:
        if self._every and training.step % self._every == 0:
            with training.average.shown(), undisturbed(training.generator):
                shown = copy.deepcopy(training.generator)
                self._preview(training.step, shown.cpu().eval())
        return {}

    def end(self, training: Training) -> None:
        """The last step's picture was the released model's."""

    def notes(self) -> Any:
        return None


def reseed(device: torch.device, seed: int) -> None:
    """torch's generator, of the CPU and of the device that trains."""
    torch.default_generator.manual_seed(seed % 2**63)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed % 2**63)
    elif device.type == "mps":
        torch.mps.manual_seed(seed % 2**63)


@contextmanager
def undisturbed(generator: Generator) -> Iterator[None]:
    """Looks at a model in training and leaves no trace: random streams, buffers and modes are put back."""
    modes = [(module, module.training) for module in generator.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in generator.buffers()]
    devices = {tensor.device for tensor in generator.state_dict().values() if tensor.is_cuda}
    try:
        with torch.random.fork_rng(devices=sorted(devices, key=str)):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def refuse_under_privacy(conduct: Conduct) -> None:
    """What a private training may not do, or cannot yet, refused by name before the records are read."""
    asked = {
        "checkpoints, whose noise and batches would have to stay secret": conduct.checkpoints,
        "training.monitor: every look at the records would be one that nobody paid for": conduct.monitor,
        "training.precision bfloat16: norms in it are too coarse to bound a record's gradient": conduct.precision != torch.float32,
        "training.compile: per-record gradients are taken layer by layer": conduct.compile,
        "training.micro_batch: a private batch is taken in parts already": conduct.micro_batch,
    }
    for what, there in asked.items():
        if there:
            raise Unsupported(f"not available under privacy: {what}; leave it out")
