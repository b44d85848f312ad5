"""The run folder: `runs/ID/`, made as a whole or not at all."""

from __future__ import annotations

import datetime as dt
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..data.modality import modality
from ..marks.manifest import SUFFIX
from ..privacy_accounting.receipts import read_receipt
from ..vocabulary import documents
from ..vocabulary.canaries import CanaryRecord, CanaryRecords
from ..vocabulary.errors import ArtifactError, InputError
from ..vocabulary.frozen import parse
from ..vocabulary.monitor import MonitorRecord
from ..vocabulary.receipt import Receipt
from ..vocabulary.schema import Schema
from ..vocabulary.spec import Spec


class RunFolder:
    """Paths and documents of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def at(cls, path: Path) -> RunFolder:
        if not (path / "spec.yaml").is_file() or not (path / "receipt.json").is_file():
            raise ArtifactError(f"{path}: not a run folder (spec.yaml and receipt.json are expected in it)")
        return cls(path)

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def spec(self) -> Spec:
        file = self.path / "spec.yaml"
        return parse(Spec, documents.read_yaml(file, error=ArtifactError), where=str(file), error=ArtifactError)

    @property
    def receipt(self) -> Receipt:
        return read_receipt(self.path / "receipt.json")

    @property
    def schema(self) -> Schema:
        file = self.path / "schema.json"
        return parse(Schema, documents.read_json(file, error=ArtifactError), where=str(file), error=ArtifactError)

    @property
    def samples(self) -> Path:
        """The file (or folder of files) that holds the run's own samples."""
        name = self.schema.modality if (self.path / "schema.json").is_file() else "tabular"
        return self.path / "samples" / modality(name).samples

    @property
    def preview(self) -> Path:
        """A picture of some samples; tables have none."""
        return self.path / "preview.png"

    @property
    def monitor(self) -> MonitorRecord | None:
        """What was seen of the training; none of a private one, which nobody watched."""
        file = self.path / "monitor.json"
        if not file.is_file():
            return None
        return parse(MonitorRecord, documents.read_json(file, error=ArtifactError), where=str(file), error=ArtifactError)

    @property
    def canaries(self) -> tuple[CanaryRecord, ...]:
        """What became of them, by player; empty where the training was asked for none."""
        file = self.path / "canaries.json"
        if not file.is_file():
            return ()
        return parse(CanaryRecords, documents.read_json(file, error=ArtifactError), where=str(file), error=ArtifactError).canaries

    @property
    def report(self) -> Path:
        return self.path / "report"

    @property
    def audit_command(self) -> str:
        """What makes the report of this run."""
        return f"guardrail audit {self.id} --out {self.report}"

    def hashes(self) -> dict[str, str]:
        """sha256 of each artifact that is there, by role."""
        files = {
            "spec": "spec.yaml",
            "schema": "schema.json",
            "receipt": "receipt.json",
            "weights": "weights.safetensors",
            "codec": "codec.json",
            "monitor": "monitor.json",
            "canaries": "canaries.json",
        }
        found = {role: documents.sha256_of_file(self.path / name) for role, name in files.items() if (self.path / name).is_file()}
        return {**found, "synthetic": sha256_of_samples(self.samples)} if self.samples.exists() else found


def sample_files(samples: Path) -> list[Path]:
    """The file itself, or every file of the folder; sidecars are no samples."""
    if samples.is_file():
        return [samples]
    return sorted(path for path in samples.rglob("*") if path.is_file() and not path.is_symlink() and path.suffix != SUFFIX)


def sha256_of_samples(samples: Path) -> str:
    """Of one file its hash; of a folder the hash of its files' names and hashes."""
    if samples.is_file():
        return documents.sha256_of_file(samples)
    hashes = {path.relative_to(samples).as_posix(): documents.sha256_of_file(path) for path in sample_files(samples)}
    return documents.sha256_of(documents.canonical_json(hashes))


def new_id(name: str, now: dt.datetime | None = None) -> str:
    """Sorts by time, names the spec, and is unique: `20261123-101502-ab12cd-clinic-visits`."""
    moment = (now or dt.datetime.now(dt.UTC)).strftime("%Y%m%d-%H%M%S")
    return f"{moment}-{secrets.token_hex(3)}-{name}"


def require_place(runs: Path) -> None:
    """Before epsilon is spent: a run that has no place to go would be lost. Writes nothing."""
    nearest = next(path for path in (runs.absolute(), *runs.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{runs}: {nearest} is no folder that can be written to, so a run would have no place; name another with --runs")


@contextmanager
def building(final: Path) -> Iterator[Path]:
    """A temporary sibling of `final` that becomes `final` when the block succeeds, and vanishes when it does not."""
    if final.exists():
        raise InputError(f"{final} exists already; name another folder")
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.parent / f".{final.name[:40]}.{secrets.token_hex(4)}.partial"
    try:
        partial.mkdir()
        yield partial
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def document(model: Any) -> Any:
    """A pydantic model as plain JSON values, with the spec's own key names."""
    return model.model_dump(mode="json", by_alias=True)
