"""The sampling stage: rows from a model into a file, with the marks the spec asks for."""

from __future__ import annotations

from pathlib import Path

from ..data.tables import write_table
from ..marks import manifest
from ..registry.home import Home
from ..training.model import Model
from ..vocabulary.errors import Unsupported
from .folder import SAMPLES, RunFolder


def refuse_unavailable_marks(marks: tuple[str, ...]) -> None:
    """Before training: a mark that cannot be put on the samples must not be found out after epsilon was spent."""
    if "watermark" in marks:
        raise Unsupported("sample.marks: no watermark is available for tables yet; use `marks: [manifest]`")
    if "manifest" in marks:
        manifest.require()


def write_samples(
    folder: RunFolder, model: Model, *, n: int, seed: int, marks: tuple[str, ...], home: Home, to: Path | None = None
) -> Path:
    """`n` rows to `to` (the run's own sample file where left out) and the sidecar beside it."""
    path = to or folder.path / SAMPLES
    write_table(model.sample(n, seed=seed), path)
    manifest.sidecar(path).unlink(missing_ok=True)  # of the rows that were there before: it would call these tampered
    if "manifest" in marks:
        manifest.sign(path, home, _assertions(folder, model))
    return path


def default_rows(model: Model, trained_rows: int) -> int:
    """As many as were trained on; under privacy the public count stands in for that number."""
    privacy = model.receipt.privacy
    return round(privacy.records_public) if privacy else trained_rows


def _assertions(folder: RunFolder, model: Model) -> dict[str, object]:
    privacy = model.receipt.privacy
    return {
        "run": folder.id,
        "generator": model.receipt.generator,
        "receipt": folder.hashes()["receipt"],
        "epsilon": privacy.epsilon if privacy and privacy.valid else None,
        "delta": privacy.delta if privacy and privacy.valid else None,
    }
