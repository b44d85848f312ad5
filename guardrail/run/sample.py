"""The sampling stage: records from a model into a file or folder, with the marks the spec asks for."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..data.modality import modality
from ..marks import manifest
from ..registry.home import Home
from ..training.model import Model
from ..vocabulary.documents import write_atomic
from ..vocabulary.errors import InputError, Unsupported
from .folder import RunFolder, sample_files

SHOWN = 100
"""Records of a preview, at most."""


def refuse_unavailable_marks(marks: tuple[str, ...]) -> None:
    """Before training: a mark that cannot be put on the samples must not be found out after epsilon was spent."""
    if "watermark" in marks:
        raise Unsupported("sample.marks: no watermark is available yet; use `marks: [manifest]`")
    if "manifest" in marks:
        manifest.require()


def own_samples(model: Model, n: int, *, seed: int, sources: pd.DataFrame | None) -> pd.DataFrame:
    """`n` records of the model; from a family that only translates, the translations of held-out records."""
    if model.can("sample"):
        return model.sample(n, seed=seed)
    if sources is None or sources.empty:
        raise InputError("a model that translates needs records to translate: keep some from training (data.holdout above 0)")
    return model.translate(sources.head(n), seed=seed)


def write_samples(
    folder: RunFolder, model: Model, frame: pd.DataFrame, *, marks: tuple[str, ...], home: Home, to: Path | None = None
) -> Path:
    """The records to `to` (the run's own sample file where left out), and a signed sidecar beside every file."""
    path = to or folder.samples
    modality(model.codec.schema.modality).write(frame, path, model.codec.schema)
    for file in sample_files(path):
        manifest.sidecar(file).unlink(missing_ok=True)  # of the records that were there before: it would call these tampered
        if "manifest" in marks:
            manifest.sign(file, home, _assertions(folder, model))
    return path


def write_preview(folder: RunFolder, frame: pd.DataFrame) -> None:
    """A picture of the first samples beside them; a table has none, its report has plots."""
    schema = folder.schema
    if schema.modality != "tabular":
        write_atomic(folder.preview, modality(schema.modality).picture(frame.head(SHOWN), schema))


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
