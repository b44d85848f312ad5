"""From a source to the records of a run: schema settled, rows checked, units bounded, source fingerprinted, parts split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..registry.home import Home
from ..vocabulary.errors import DataError, SpecError, nearest
from ..vocabulary.frozen import parse
from ..vocabulary.schema import Schema
from ..vocabulary.spec import DataSpec, FederationSpec, PrivacySpec
from .draft import refine
from .fingerprint import fingerprint
from .modality import Modality, modality
from .partition import dealt
from .schema_file import load_schema, require_public
from .sources import open_folder, open_source
from .split import held_out, places_in, rows_of_units


@dataclass(frozen=True)
class Material:
    """The records of a run. They stay in memory: only fingerprints are kept."""

    schema: Schema
    train: pd.DataFrame
    holdout: pd.DataFrame | None
    fingerprint: str
    """Keyed, of the source before splitting."""
    units: np.ndarray | None = None
    """(training rows,) int: whose each is; None where every row is a unit of privacy by itself."""
    clients: np.ndarray | None = None
    """(training rows,) int: which client of a federation has each; None where there is one place."""
    skipped: int = 0
    """Files or lines of the source that could not be read and were left out (`on_error: skip`)."""


def gather(
    data: DataSpec, *, base: Path, privacy: PrivacySpec | None, seed: int, home: Home, federation: FederationSpec | None = None
) -> Material:
    """The material of a spec; relative paths are relative to `base`."""
    schema = load_schema(base / data.schema_) if data.schema_ else None
    one_each = federation is not None and federation.partition.kind == "files"
    source = (open_folder if one_each else open_source)(data.source, base, schema=schema, on_error=data.on_error)
    known = schema or source.schema
    return prepare(source.frame, known, data, privacy=privacy, seed=seed, home=home, kind=source.modality, federation=federation)


def prepare(
    frame: pd.DataFrame,
    schema: Schema | None,
    data: DataSpec,
    *,
    privacy: PrivacySpec | None,
    seed: int,
    home: Home,
    kind: Modality | None = None,
    federation: FederationSpec | None = None,
) -> Material:
    """The same from a frame (of a table, unless `kind` says otherwise).

    Under privacy nothing of the schema may come from the records, and a unit (a person, a document) counts with few of its rows.
    """
    kind = kind or modality(schema.modality if schema else "tabular")
    if privacy and schema is None:
        require_public(kind.draft(frame, target=None, sensitive=(), unit=data.unit or "row"))
    schema = settle(frame, schema, data, kind)
    if privacy:
        require_public(schema, paid=privacy.schema_epsilon > 0)
    identity = fingerprint(frame, home.key())
    if schema.unit != "row" and schema.unit not in frame:
        raise DataError(f"the unit of privacy {schema.unit!r} is not a column of the data: there are {', '.join(map(str, frame.columns))}")
    # Cast before the parts are taken, so that a fault is named by its row in the source; who goes where is told by the raw rows.
    records, kept = kind.cast(frame, schema, on_error=data.on_error, where=data.source)
    most = privacy.rows_per_unit if privacy else None
    counted, names = rows_of_units(frame, unit=schema.unit, most=most or len(frame), seed=seed)
    held = held_out(frame, unit=schema.unit, holdout=data.holdout, seed=seed)
    dealt_to = dealt(frame, schema, federation, seed=seed, private=privacy is not None) if federation else np.zeros(len(frame), np.int64)
    (train, units, clients), (holdout, *_) = (
        _pieces(kind, records[(counted & part)[kept]], names[counted & part & kept], dealt_to[counted & part & kept], schema, most)
        for part in (~held, held)
    )
    if train.empty:
        raise DataError(f"{data.source}: no rows to train on; a few hundred are the least that makes sense")
    settled = schema if privacy or schema.modality != "tabular" else refine(schema, train)
    skipped = int(frame.attrs.get("skipped", 0))
    return Material(
        settled,
        train,
        None if holdout.empty else holdout,
        identity,
        units if privacy else None,
        clients if federation else None,
        skipped,
    )


def _pieces(
    kind: Modality, records: pd.DataFrame, names: np.ndarray, dealt_to: np.ndarray, schema: Schema, most: int | None
) -> tuple[pd.DataFrame, np.ndarray | None, np.ndarray]:
    """Records of the schema's length, at most so many of each unit; whose they are, where some are of one; and which client's."""
    pieces = kind.pieces(records, schema, most=most)
    owners, at = names[pieces.index.to_numpy()], dealt_to[pieces.index.to_numpy()]
    places = places_in(owners)
    few = places < (most or len(pieces))
    return pieces[few].reset_index(drop=True), owners[few] if (places > 0).any() else None, at[few]


def settle(frame: pd.DataFrame, schema: Schema | None, data: DataSpec, kind: Modality) -> Schema:
    """The schema with the spec's own words about target, sensitive columns and unit; drafted from the data where there is none."""
    said = {"target": data.target, "sensitive": data.sensitive, "unit": data.unit}
    if schema is None:
        return kind.draft(frame, target=data.target, sensitive=tuple(data.sensitive or ()), unit=data.unit or "row")
    for role, names in (("target", [data.target] if data.target else []), ("sensitive", data.sensitive or ())):
        for name in names:
            if name not in schema.columns:
                hint = nearest(name, schema.columns) or f"there are {', '.join(map(repr, list(schema.columns)[:12]))}"
                raise SpecError(f"data.{role}: no column {name!r} in the schema; {hint}")
    changes = {key: value for key, value in said.items() if value is not None}
    return parse(Schema, {**schema.model_dump(), **changes}, where="spec, section data", error=SpecError)
