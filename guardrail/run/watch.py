"""What is kept of a training while it runs: the log, pictures of samples, and where a killed one goes on from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from ..data.modality import modality
from ..training.contract import Generator
from ..training.fit import Settings, checkpoint_key
from ..training.loop import Progress
from ..training.model import preview
from ..vocabulary.schema import Schema

SHOWN = 16
"""Samples of a picture during training."""


@dataclass
class Watch:
    """Listens to one training."""

    records: Schema
    history: list[Progress] = field(default_factory=list)
    pictures: dict[int, bytes] = field(default_factory=dict)
    """PNG by step; a table has none."""

    def preview(self, step: int, generator: Generator) -> None:
        kind = modality(self.records.modality)
        if (frame := preview(generator, kind.codec(self.records), SHOWN)) is not None:
            self.pictures[step] = kind.picture(frame, self.records)

    def log(self, *, private: bool) -> str:
        """metrics.jsonl, one line a step."""
        return "".join(json.dumps(_line(progress, private=private)) + "\n" for progress in self.history)


def _line(progress: Progress, *, private: bool) -> dict[str, object]:
    """How long a step took tells how many records it read: under privacy that is not kept."""
    kept: dict[str, object] = {"step": progress.step, "loss": progress.loss, "epsilon": progress.epsilon}
    if private:
        return kept
    more = {"losses": dict(progress.losses)} if len(progress.losses) > 1 else {}
    seen = {"monitor": dict(progress.monitor)} if progress.monitor else {}
    return {**kept, **more, **seen, "seconds": round(progress.seconds, 3)}


def checkpoint_folder(runs: Path, settings: Settings, data: str) -> Path | None:
    """Beside the runs, named by what the training is: another spec never meets it. None under
    privacy, where nothing is kept, and in a federation."""
    if settings.privacy is not None or settings.federation is not None:
        return None
    return runs / ".checkpoints" / checkpoint_key(settings, data).removeprefix("sha256:")[:16]
