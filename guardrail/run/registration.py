"""What the registry keeps of a run: one row, and every artifact of it but the samples. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable

from ..registry.artifacts import Kind
from ..registry.home import Home
from ..registry.runs import Registry, read_folder
from ..vocabulary.report import Verdict
from .folder import RunFolder

ARTIFACTS: dict[str, Kind] = {
    "spec.yaml": "spec",
    "schema.json": "schema",
    "receipt.json": "receipt",
    "weights.safetensors": "weights",
    "codec.json": "codec",
    "metrics.jsonl": "metrics",
    "report/report.json": "report",
    "card.json": "card",
}
"""Records never enter the store, and samples stay where they are."""


def register(folder: RunFolder, home: Home, verdicts: Iterable[Verdict]) -> None:
    """The run as it lies in its folder now: its row is brought up to date, its artifacts are stored by their hash."""
    registry = Registry(home)
    record = read_folder(folder.path)
    registry.add_run(record.model_copy(update={"verdicts": {verdict.policy: verdict.status for verdict in verdicts}}))
    for file, kind in ARTIFACTS.items():
        if (folder.path / file).is_file():
            registry.store((folder.path / file).read_bytes(), kind, run=record.id)


def is_registered(folder: RunFolder, home: Home) -> bool:
    """Whether this home made the run; a folder that came from elsewhere is read, never taken in."""
    return any(record.path == str(folder.path.resolve()) for record in Registry(home).runs())
