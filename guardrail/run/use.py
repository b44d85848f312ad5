"""Records that somebody brings to a trained model, whether its family can do what is asked, and what it shows of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..data.arrays import shown_path
from ..data.cast import cast_leniently
from ..data.modality import modality
from ..data.samples import seen_in
from ..training.model import Model
from ..vocabulary.errors import DataError, Unsupported
from ..vocabulary.plugins import table

LAID_OUT = {"image": (4, 10)}
"""Of the picture of a latent space: interpolations (and as many traversed dimensions), and steps of each."""
REACH = 2.5
"""Standard deviations of the prior that a traversal spans on each side."""


ABILITIES = {
    "impute": ("fill in what is missing", ("impute",)),
    "score": ("say how strange a record is", ("score", "log_likelihood")),
    "translate": ("translate", ("translate",)),
    "latent": ("show latent codes", ("latent", "interpolate")),
    "explain": ("explain itself", ("explain",)),
}
"""Per command what it asks of a family, and the abilities of which one is enough."""


def require(model: Model, command: str) -> None:
    """Raises: Unsupported: the family cannot; names those that can, on data of this modality."""
    what, enough = ABILITIES[command]
    if any(model.can(ability) for ability in enough):
        return
    kind = model.codec.schema.modality
    able = {name: entry.modalities for name, entry in table("generators").items() if not set(enough).isdisjoint(entry.abilities)}
    here = sorted(name for name, kinds in able.items() if kind in kinds)
    others = (
        f"{kind} families that can: {', '.join(here)}"
        if here
        else f"no {kind} family can; other families that can: {', '.join(sorted(able))}"
    )
    raise Unsupported(f"{model.family.name} cannot {what}; {others}")


def read_records(model: Model, path: Path) -> pd.DataFrame:
    """The records of a file, cast to the model's schema; a class the model does not need may be missing.

    `attrs["cut"]` counts what is not there: the further pieces of records longer than the schema has room for.
    """
    schema = model.codec.schema
    kind = modality(schema.modality)
    if not path.exists():
        raise DataError(f"{shown_path(path)}: no such file or folder")
    raw = kind.read(path)
    if raw.empty:
        raise DataError(f"{shown_path(path)}: holds no records")
    if schema.modality == "tabular":
        frame, valid = cast_leniently(raw, schema, where=str(path))
        _refuse_faults(raw, frame, valid, path)
        return frame
    frame, _ = kind.cast(raw, seen_in(raw, schema), on_error="fail", where=str(path))
    first = kind.pieces(frame, schema, most=1)
    first.attrs["cut"] = len(kind.pieces(frame, schema, most=None)) - len(first)
    return first


def _refuse_faults(raw: pd.DataFrame, frame: pd.DataFrame, valid: np.ndarray, path: Path) -> None:
    """Cells may be missing here, whatever the schema says; wrong they may not be."""
    for row in np.flatnonzero(~valid):
        for name in frame.columns:
            cell = raw[name].iloc[row]
            if pd.isna(frame[name].iloc[row]) and not (pd.isna(cell) or str(cell).strip() in ("", "NA", "NaN", "nan", "?")):
                raise DataError(f"{path}, row {row + 1}, column {name!r}: {str(cell)[:40]!r} is not what the schema allows; mend the file")


def latent_picture(model: Model, *, seed: int) -> bytes:
    """A PNG: interpolations between pairs of drawn codes, then traversals of single dimensions from the middle of the prior."""
    rows, columns = LAID_OUT.get(model.codec.schema.modality, (1, 6))
    frame = model.latent_grid(rows, columns, reach=REACH, seed=seed)
    return modality(model.codec.schema.modality).picture(frame, model.codec.schema)


def explained(model: Model, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """What the model looked at in the first record, by name: attention maps, the path of hidden states."""
    return {name: value[0] for name, value in model.explain(frame).items()}
