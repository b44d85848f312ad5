"""Which client has which record, in a simulation of a federation. In a real one the records lie where they lie.

Where a unit goes is a function of that unit, the spec and the seed alone: adding or removing one record moves no other, so that what a
client's privacy promises holds for the whole source.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError, PrivacyRefused, SpecError, nearest
from ..vocabulary.schema import Categorical, Schema
from ..vocabulary.seeds import stream
from ..vocabulary.spec import FederationSpec
from .split import uniform_of_units


def dealt(frame: pd.DataFrame, schema: Schema, federation: FederationSpec, *, seed: int, private: bool) -> np.ndarray:
    """(rows,) int: the client of every raw row, below `federation.clients`.

    Raises:
        SpecError: There is no such column, or not that many files or values.
        PrivacyRefused: Which values there are would have to be read from the records.
    """
    partition, clients = federation.partition, federation.clients
    if private and schema.unit != "row" and partition.kind != "iid" and partition.by != schema.unit:
        raise PrivacyRefused(
            f"federation.partition {partition.kind}: rows of one {schema.unit} could lie with several clients, each of which would spend "
            f"epsilon on them while the claim counts one; use kind iid, which keeps a {schema.unit} together"
        )
    if partition.kind == "files":
        return _by_file(frame, clients)
    places = uniform_of_units(frame, unit=schema.unit, purpose="clients", seed=seed)
    if partition.kind == "iid":
        return np.minimum((places * clients).astype(np.int64), clients - 1)
    values, number = _values(frame, schema, str(partition.by), private=private)
    if partition.kind == "by_column":
        if clients > number:
            raise SpecError(f"federation: {clients} clients, and {partition.by!r} has {number} values; set clients: {number} or fewer")
        return np.asarray(values % clients)
    shares = stream(seed, "shares of clients").dirichlet(np.full(clients, partition.alpha), size=number).cumsum(axis=1)
    return np.asarray(np.minimum((places[:, None] > shares[values]).sum(axis=1), clients - 1))


def _by_file(frame: pd.DataFrame, clients: int) -> np.ndarray:
    files = frame.attrs.get("files")
    if files is None:
        raise SpecError("federation.partition files: data.source must be a folder that holds one file for each client")
    number = int(files.max()) + 1 if len(files) else 0
    if number != clients:
        raise SpecError(f"federation: {clients} clients, and the folder holds {number} files; set clients: {number}")
    return np.asarray(files, dtype=np.int64)


def _values(frame: pd.DataFrame, schema: Schema, by: str, *, private: bool) -> tuple[np.ndarray, int]:
    """(rows,) int: the number of each row's value, and how many values there may be."""
    if by not in frame.columns:
        hint = nearest(by, frame.columns) or f"there are {', '.join(map(str, frame.columns))}"
        raise SpecError(f"federation.partition.by: no column {by!r}; {hint}")
    entry, column = schema.columns.get(by), frame[by]
    if isinstance(entry, Categorical):
        known = list(entry.categories)
    elif private:
        raise PrivacyRefused(
            f"federation.partition.by {by!r}: under privacy the values that decide who has a record must be public; name a column whose "
            "categories the schema lists"
        )
    else:
        known = sorted({str(value) for value in column.dropna()})
    place = {value: i for i, value in enumerate(known)}
    if not place:
        raise DataError(f"federation.partition.by {by!r}: the column has no values")
    # What the schema does not know, or nobody does, has a place of its own behind the others.
    return column.map(lambda value: place.get(str(value), len(known)) if pd.notna(value) else len(known)).to_numpy(np.int64), len(known) + 1
