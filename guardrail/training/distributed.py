"""One training on several devices: every process trains on its share of every batch, and the gradients are summed.

`torchrun --nproc-per-node 2 -m guardrail run spec.yaml`. Each process holds the whole model. Their gradients, weighted by
the records of their shares, are summed before every optimizer step, so that all processes keep the same weights, the ones a
single process would have. Process 0 alone asks the ledger, reports and writes. Under privacy it alone draws the batches and the noise,
once for all of them, and what the others get is the noisy sum.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from ..vocabulary.errors import GuardrailError, SpecError

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: process 0 may be writing a checkpoint or looking at samples."""


@dataclass(frozen=True)
class World:
    """The processes of this training. Without torchrun there is one."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that asks, reports and writes."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Which of `n` records are this process's: consecutive, as equal in number as can be; none where there are too few."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum_gradients(self, parameters: Sequence[Tensor], loss: Tensor | None) -> Tensor | None:
        """Puts the sum over all processes into every `.grad`, and returns the summed loss. A parameter that no process has a
        gradient for keeps none: an optimizer leaves it alone."""
        if self.size == 1:
            return loss
        device = parameters[0].device if parameters else torch.device("cpu")
        have = torch.tensor([*(p.grad is not None for p in parameters), loss is not None], dtype=torch.float32, device=device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        own = torch.zeros((), device=device) if loss is None else loss.detach()
        kind = torch.promote_types(own.dtype, torch.result_type(own, gradients[0]) if gradients else own.dtype)
        flat = torch.cat([part.flatten().to(kind) for part in (*gradients, own, have)])
        distributed.all_reduce(flat)
        *summed, own, have = flat.split([g.numel() for g in gradients] + [1, len(have)])
        found = have.tolist()
        for parameter, gradient, there in zip(parameters, summed, found[:-1], strict=True):
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype) if there else None
        return own.squeeze(0) if found[-1] else None

    @torch.no_grad()
    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each as its sum over all processes."""
        return self._exchanged(tensors, distributed.all_reduce)

    @torch.no_grad()
    def shared(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The leader's, of the shapes that all have."""
        return self._exchanged(tensors, lambda flat: distributed.broadcast(flat, src=0))

    def _exchanged(self, tensors: Sequence[Tensor], exchange: Callable[[Tensor], object]) -> list[Tensor]:
        if self.size == 1 or not tensors:
            return list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        carried = flat.to(self._device()) if flat.device.type == "cpu" else flat  # one GPU's processes carry nothing else
        exchange(carried)
        parts = carried.to(flat.device).split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def from_leader(self, make: Callable[[], Tensor]) -> Tensor:
        """What the leader makes, a list of whole numbers of a length that only it knows; nobody else makes it."""
        if self.size == 1:
            return make()
        made = make() if self.leads else torch.empty(0, dtype=torch.int64)
        length = torch.tensor([len(made)], device=self._device())
        distributed.broadcast(length, src=0)
        numbers = made.to(self._device()) if self.leads else torch.empty(int(length), dtype=torch.int64, device=self._device())
        distributed.broadcast(numbers, src=0)
        return numbers.cpu()

    def agree(self, refused: BaseException | None) -> None:
        """Raises what the leader was refused for, there and, in words, in every other process."""
        if self.size > 1:
            verdict = torch.tensor([0 if refused is None else 1], device=self._device())
            distributed.broadcast(verdict, src=0)
            if refused is None and int(verdict):
                raise GuardrailError("process 0 was refused and says why; this process stops with it")
        if refused is not None:
            raise refused

    def same(self, number: int, what: str) -> None:
        """SpecError unless all processes have the same number."""
        if self.size > 1:
            numbers = torch.tensor([number, -number], device=self._device())
            distributed.all_reduce(numbers, op=distributed.ReduceOp.MIN)
            if int(numbers[0]) != number or int(-numbers[1]) != number:
                raise SpecError(f"the processes of this training differ in {what}; they must see the same files on every machine")

    @torch.no_grad()
    def spread(self, module: torch.nn.Module) -> None:
        """Gives every process the leader's weights and buffers."""
        for tensor in module.state_dict().values() if self.size > 1 else ():
            distributed.broadcast(tensor, src=0)

    def wait(self) -> None:
        if self.size > 1:
            distributed.barrier()

    def _device(self) -> torch.device:
        return torch.device("cuda") if distributed.get_backend() == "nccl" else torch.device("cpu")


ALONE = World()


def leads() -> bool:
    """Whether this process is the one that writes: by torchrun's environment, without which there is only one."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def join(device: torch.device) -> tuple[World, torch.device]:
    """The world that torchrun's environment describes, and this process's device in it.

    Raises:
        SpecError: more processes on this machine than it has GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        return ALONE, device
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise SpecError(f"torchrun started process {local} of this machine, which has {torch.cuda.device_count()} GPUs; start fewer")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise SpecError(f"training on several processes works on cuda and cpu, not on {device.type}; set training.device: cpu")
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return World(distributed.get_rank(), distributed.get_world_size()), device


def leave() -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
