"""What server and clients on real hosts keep on their own disks, so that a crash costs neither side anything twice.

The server writes down every answer and every round before it asks for the next; started again it asks once more what was on its way. A
client writes down what it has done and its last answer before it gives it; asked the same again it gives the same again, which tells
nobody anything new. Asked something else it refuses, as ever. Of a session of secure aggregation nothing is kept: under masks what was
on its way is lost, since one vector under two sessions' masks could be told from the difference of two sums.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...vocabulary import documents
from ...vocabulary.documents import canonical_json
from ..tensor_file import read_tensors, under, write_tensors
from .counts import Answer, flattened, unflattened
from .job import Job
from .learning import Arrays

SERVER_FORMAT, CLIENT_FORMAT = "guardrail federation state 1", "guardrail client state 1"
FILE, PROGRESS = "federation.safetensors", "progress.jsonl"


@dataclass(frozen=True)
class ServerState:
    """After an answer, or after a round."""

    answers: tuple[Answer, ...] = ()
    round: int = 0
    """The last one that is in the weights."""
    participants: tuple[int, ...] = ()
    asked: Mapping[int, int] = field(default_factory=dict)
    heard: Mapping[int, int] = field(default_factory=dict)
    faults: Mapping[int, list[str]] = field(default_factory=dict)
    weights: Arrays = field(default_factory=dict)
    moments: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class ServerFile:
    """Of one training, in a folder of its own."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / FILE

    @property
    def advice(self) -> str:
        return f"delete {self.folder} to begin anew, which clients under privacy pay for anew"

    def begun(self, job: Job) -> Job:
        """The job with the name by which its clients know this training again: the one that was begun here, else a new one."""
        training = self._read()[0]["training"] if self.path.exists() else secrets.token_hex(16)
        job = job.model_copy(update={"training": training})
        if not self.path.exists():
            self.write(job, ServerState())
        return job

    def read(self) -> ServerState:
        header, tensors = self._read()
        asked, heard, faults = ({int(key): value for key, value in header[name].items()} for name in ("asked", "heard", "faults"))
        answers, weights, moments = (_arrays(under(f"{part}/", tensors)) for part in ("answers", "weights", "moments"))
        told = tuple(header["participants"])
        return ServerState(tuple(unflattened(answers)), header["round"], told, asked, heard, faults, weights, moments)

    def write(self, job: Job, state: ServerState) -> None:
        said = {name: getattr(state, name) for name in ("round", "participants", "asked", "heard", "faults")}
        arrays = {"answers": flattened(state.answers), "weights": state.weights, "moments": state.moments}
        tensors = {f"{part}/{name}": value for part, values in arrays.items() for name, value in _tensors(values).items()}
        write_tensors(self.path, SERVER_FORMAT, {"training": job.training, **said}, tensors)

    def remove(self) -> None:
        """Once the run folder is written; a folder that holds anything that is not ours stays."""
        for name in (FILE, PROGRESS):
            (self.folder / name).unlink(missing_ok=True)
        documents.remove_half_written(self.path)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return read_tensors(self.path, SERVER_FORMAT, advice=self.advice)


@dataclass
class Memory:
    """Of one training; numbers and arrays, so that it can be written down."""

    job: str = ""
    data: str = ""
    """Fingerprint of the records that this was paid for."""
    answered: int = 0
    """Questions."""
    rounds: int = 0
    """The last one that this client trained in."""
    steps: int = 0
    """Taken on these records, in all rounds."""
    records: float = 0.0
    """Their noisy count, which came with the first answer: a second one would be a second release."""
    counted: str = ""
    """Canaries of the answers, as JSON."""
    masker: str = ""
    """Of the present session of secure aggregation, as JSON: its secrets stay with this client."""
    canaries: Arrays = field(default_factory=dict)
    """Of the gradients, by player and part."""


@dataclass(frozen=True)
class Kept:
    memory: Memory
    asked: str = ""
    """Digest of the last message that was answered with arrays."""
    arrays: Arrays = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


class ClientFile:
    """Of one client in one training."""

    def __init__(self, folder: Path, job: Job, number: int) -> None:
        self.path = folder / f"{job.key.removeprefix('sha256:')[:32]}-{number}.safetensors"
        self._lock = folder / f"client-{number}.lock"
        self._kept = Kept(Memory())

    @contextmanager
    def held(self) -> Iterator[None]:
        """While no other process of this client answers: one that is late would take what was done since for undone.

        Raises:
            ArtifactError: The file is damaged.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with documents.alone(self._lock):
            self._kept = self._read() if self.path.exists() else Kept(Memory())
            yield

    @property
    def memory(self) -> Memory:
        return self._kept.memory

    def answer_to(self, asked: str) -> tuple[Arrays, dict[str, Any]] | None:
        """That was given to this very message; None where it was not the last one."""
        return (self._kept.arrays, self._kept.facts) if self._kept.asked == asked else None

    def keep(self, memory: Memory) -> None:
        """What was done, with the answer that was there. Before anything was paid for there is nothing to keep."""
        if memory.job:
            self._write(replace(self._kept, memory=memory))

    def keep_answer(self, memory: Memory, asked: str, arrays: Arrays, facts: dict[str, Any]) -> None:
        self._write(Kept(memory, asked, arrays, facts))

    def _write(self, kept: Kept) -> None:
        said = {name: value for name, value in asdict(replace(kept.memory, masker="", canaries={})).items() if name != "canaries"}
        arrays = {"canaries": kept.memory.canaries, "answer": kept.arrays}
        tensors = {f"{part}/{name}": value for part, values in arrays.items() for name, value in _tensors(values).items()}
        write_tensors(self.path, CLIENT_FORMAT, {"memory": said, "asked": kept.asked, "facts": kept.facts}, tensors)
        self._kept = kept

    def _read(self) -> Kept:
        advice = "delete it, and a new training is paid for anew"
        header, tensors = read_tensors(self.path, CLIENT_FORMAT, advice=advice)
        memory = Memory(**header["memory"], canaries=_arrays(under("canaries/", tensors)))
        return Kept(memory, header["asked"], _arrays(under("answer/", tensors)), header["facts"])


def digest(kind: str, arrays: Arrays, facts: Mapping[str, Any]) -> str:
    """Of a message."""
    found = hashlib.sha256(canonical_json({"kind": kind, "facts": dict(facts)}))
    for name, value in sorted(arrays.items()):
        found.update(canonical_json([name, str(value.dtype), list(value.shape)]))
        found.update(value.tobytes())
    return found.hexdigest()


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
