"""Saving a training so that it can go on after a kill at any moment; never for private records, never by pickle.

One safetensors file: weights, moving average and the optimizers' moments as tensors, the rest as JSON in its header. It is
written whole beside the old one and renamed over it. There is no state of a random generator in it, because there is none to
save: the batches and the draws of every step follow from the seed, the player and the number of the step alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor

from ..vocabulary import documents
from ..vocabulary.errors import ArtifactError
from .distributed import ALONE, World
from .loop import Companion, Training, Turn
from .optimizers import moments_of, put_moments
from .tensor_file import read_tensors, under, write_tensors

FILE = "checkpoint.safetensors"
FORMAT = "guardrail checkpoint 1"


class Resumable(Turn, Protocol):
    """A turn whose batches and draws follow from a number."""

    number: int


@dataclass
class Checkpoints:
    """Keeps one training in one folder."""

    folder: Path
    key: str
    """Of what the training is: spec, data, seed, versions. A checkpoint with another key is another training's."""
    seconds: float = 60.0
    """Between two checkpoints; 0: after every step."""
    world: World = ALONE
    step: int | None = field(default=None, init=False)
    """The last step that is kept, or was resumed from."""
    _written: float = field(default_factory=time.monotonic, init=False)

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def resume(self, training: Training) -> Mapping[str, Any]:
        """Raises ArtifactError where the file is damaged, or of another training."""
        notes: Mapping[str, Any] = {}
        if self.path.exists():
            header, tensors = self._read()
            self._put_back(training, header, tensors)
            notes, self.step = header["notes"], training.step
        self.world.same(training.step, f"the step at which {self.path} resumes")
        return notes

    def after_step(self, training: Training, companions: Mapping[str, Companion]) -> None:
        if self.world.leads and time.monotonic() - self._written >= self.seconds:
            self.write(training, {name: companion.notes() for name, companion in companions.items()})

    def write(self, training: Training, notes: Mapping[str, Any]) -> None:
        header = {
            "key": self.key,
            "step": training.step,
            "seconds": training.seconds,
            "mass": training.average.mass,
            "numbers": {name: cast(Resumable, turn).number for name, turn in training.turns.items()},
            "notes": notes,
        }
        write_tensors(self.path, FORMAT, header, _tensors(training))
        self.step, self._written = training.step, time.monotonic()

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        advice = f"delete {self.folder} to train from the start"
        header, tensors = read_tensors(self.path, FORMAT, advice=advice)
        if header["key"] != self.key:
            raise ArtifactError(
                f"{self.path} is of another training: spec, data, seed, or a version of guardrail or torch differ, and going on would mix "
                f"two trainings; {advice}, or go back to what it was started with"
            )
        return header, tensors

    def _put_back(self, training: Training, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        try:
            training.generator.load_state_dict(under("weights.", tensors))
            means = under("average.", tensors)
            for i, mean in enumerate(training.average.means):
                mean.copy_(means[str(i)])
            for name, turn in training.turns.items():
                put_moments(turn.optimizer, under(f"optimizer.{name}.", tensors))
                cast(Resumable, turn).number = header["numbers"][name]
        except (RuntimeError, KeyError, ValueError) as fault:
            raise ArtifactError(f"{self.path} does not fit this model ({fault}); delete {self.folder} to train from the start") from None
        training.average.mass, training.step, training.seconds = header["mass"], header["step"], header["seconds"]


def remove(folder: Path) -> None:
    """After the run folder was written; a folder that holds anything that is not ours stays."""
    (folder / FILE).unlink(missing_ok=True)
    documents.remove_half_written(folder / FILE)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _tensors(training: Training) -> dict[str, Tensor]:
    found = {f"weights.{name}": tensor for name, tensor in training.generator.state_dict().items()}
    found |= {f"average.{i}": mean for i, mean in enumerate(training.average.means)}
    for name, turn in training.turns.items():
        found |= {f"optimizer.{name}.{key}": value for key, value in moments_of(turn.optimizer).items()}
    return found
