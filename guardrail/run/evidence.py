"""Evidence of a run: its records gathered again, its samples read as an outsider would, its model and receipt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..data.material import Material, gather
from ..data.modality import modality
from ..data.samples import samples_of
from ..marks.verify import states
from ..registry.home import Home
from ..registry.runs import Registry
from ..training.model import Model, load, space_of
from ..vocabulary.errors import ArtifactError
from ..vocabulary.evidence import Evidence
from ..vocabulary.report import Subject
from ..vocabulary.schema import Schema
from ..vocabulary.spec import Spec
from .folder import RunFolder, sample_files


def find_run(name: str, home: Home) -> RunFolder:
    """By id, unique prefix, or path; refuses a registered run whose receipt is no longer the one that training wrote."""
    record = Registry(home).find(name)
    folder = RunFolder.at(Path(record.path))
    if record.receipt_sha != folder.hashes()["receipt"]:
        raise ArtifactError(
            f"{folder.path / 'receipt.json'} is not the receipt that was registered when the run was trained; "
            "nothing may be claimed from it: restore it, or train again"
        )
    return folder


def of_run(name: str, *, home: Home | None = None) -> tuple[Evidence, Subject]:
    """What the audits of a run may look at; refuses when the source is not what it was trained on."""
    home = home or Home.find()
    folder = find_run(name, home)
    spec = folder.spec
    material = gather(spec.data, base=folder.path, privacy=spec.privacy, seed=spec.seed, home=home, federation=spec.federation)
    model = load(folder.path)
    if material.fingerprint != model.receipt.data:
        raise ArtifactError(
            f"{spec.data.source} is not what this run was trained on (fingerprint {material.fingerprint[:24]}… instead of "
            f"{model.receipt.data[:24]}…), or this is another home: audit with the original file, in the home that trained it"
        )
    return assemble(folder, material, model, home=home)


def _update_attack(spec: Spec, material: Material, schema: Schema) -> Callable[[int, np.random.Generator], np.ndarray] | None:
    """Of images; the search needs an idea of what neighbouring values have to do with each other."""
    if spec.federation is None or schema.modality != "image":
        return None
    from ..training.federation.inversion import attack_on

    return attack_on(spec, material.train, schema)


def assemble(folder: RunFolder, material: Material, model: Model, *, home: Home) -> tuple[Evidence, Subject]:
    """The same from what a run still has in memory."""
    schema = model.codec.schema
    spec = folder.spec
    if not folder.samples.exists():
        raise ArtifactError(f"{folder.path} has no samples yet; draw them with: guardrail sample {folder.id}")
    synthetic, valid = samples_of(modality(schema.modality).read(folder.samples), schema, where=str(folder.samples))
    hashes = {"train": material.fingerprint, **folder.hashes()}
    evidence = Evidence(
        schema=schema,
        train=material.train,
        holdout=material.holdout,
        synthetic=synthetic,
        synthetic_valid=valid,
        floor=model.sample_floor(len(valid), seed=spec.seed),
        receipt=model.receipt,
        marks=dict(states(sample_files(folder.samples), home=home)),
        log_likelihood=model.log_likelihood if model.has_likelihood else None,
        floor_likelihood=model.floor_likelihood if model.has_likelihood and space_of(model.generator, model.codec) == "tokens" else None,
        modality=schema.modality,
        monitor=folder.monitor,
        canaries=folder.canaries,
        served=model.receipt.served,
        update_attack=_update_attack(spec, material, schema),
        hashes=hashes,
    )
    rows = {"train": len(material.train), "holdout": 0 if material.holdout is None else len(material.holdout), "synthetic": len(synthetic)}
    subject = Subject(
        name=spec.name,
        modality=schema.modality,
        family=model.receipt.generator,
        receipt=hashes["receipt"],
        target=schema.target,
        artifacts=hashes,
        rows=rows,
    )
    return evidence, subject
