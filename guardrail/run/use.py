"""What a trained model does with records that somebody brings: fill in, score, translate; and what it shows of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..data.cast import cast_leniently
from ..data.coders import coder_of
from ..data.modality import modality
from ..data.samples import seen_in
from ..training.model import Model
from ..vocabulary.errors import DataError, SpecError
from ..vocabulary.spaces import ImageSpace, SeriesSpace, Space, TokenSpace, VectorSpace

ROUNDS = 20
"""How often a cell that came back missing is drawn again."""
LAID_OUT = {"image": (4, 10)}
"""Of the picture of a latent space: interpolations (and as many traversed dimensions), and steps of each."""
REACH = 2.5
"""Standard deviations of the prior that a traversal spans on each side."""
HALVES = ("upper", "lower", "left", "right")


def read_records(model: Model, path: Path) -> pd.DataFrame:
    """The records of a file, cast to the model's schema; a class the model does not need may be missing."""
    schema = model.codec.schema
    kind = modality(schema.modality)
    raw = kind.read(path)
    if schema.modality == "tabular":
        frame, valid = cast_leniently(raw, schema, where=str(path))
        _refuse_faults(raw, frame, valid, path)
        return frame
    frame, _ = kind.cast(raw, seen_in(raw, schema), on_error="fail", where=str(path))
    return kind.pieces(frame, schema, first_only=True)


def _refuse_faults(raw: pd.DataFrame, frame: pd.DataFrame, valid: np.ndarray, path: Path) -> None:
    """Cells may be missing here, whatever the schema says; wrong they may not be."""
    for row in np.flatnonzero(~valid):
        for name in frame.columns:
            cell = raw[name].iloc[row]
            if pd.isna(frame[name].iloc[row]) and not (pd.isna(cell) or str(cell).strip() in ("", "NA", "NaN", "nan", "?")):
                raise DataError(f"{path}, row {row + 1}, column {name!r}: {str(cell)[:40]!r} is not what the schema allows; mend the file")


def impute(model: Model, frame: pd.DataFrame, *, mask: str | None, seed: int) -> pd.DataFrame:
    """Records with what is missing drawn from the model: empty cells of tables and series, or the part that `mask` names.

    Args:
        mask: images: upper, lower, left, right; sequences: START:STOP in positions, or names of fields (alto,tenor).
    """
    if model.codec.schema.modality == "tabular":
        if mask is not None:
            raise SpecError("--mask: a table's missing cells are what is filled in; leave the option out")
        return _filled_table(model, frame, seed)
    encoded = model.encoded(frame)
    if isinstance(model.space, SeriesSpace):
        encoded, known = _gaps(
            model.space, encoded, mask, ends=model.codec.schema.series is not None and model.codec.schema.series.variable
        )
    else:
        known = _known(model.space, encoded, mask)
    given = model.codec.encode_conditions(frame) if model.generator.conditional and _has_classes(model, frame) else None
    filled = model.complete(encoded, known, seed=seed, given=given)
    beside = [name for name in frame.columns if name not in filled]
    return pd.concat([filled, frame[beside].reset_index(drop=True)], axis=1)


def _has_classes(model: Model, frame: pd.DataFrame) -> bool:
    return all(coder.name in frame for coder in model.codec.conditions)


def _known(space: Space, encoded: np.ndarray, mask: str | None) -> np.ndarray:
    """bool, in the shape of the records."""
    known = np.ones_like(encoded, dtype=bool)
    if isinstance(space, ImageSpace):
        if mask not in HALVES:
            raise SpecError(f"--mask {mask!r}: which part of the images is to be filled in? one of {', '.join(HALVES)}")
        rows, columns = space.height // 2, space.width // 2
        part = {"upper": np.s_[..., :rows, :], "lower": np.s_[..., rows:, :], "left": np.s_[..., :columns], "right": np.s_[..., columns:]}
        known[part[mask]] = False
        return known
    if isinstance(space, TokenSpace):
        return _known_tokens(space, known, mask)
    raise SpecError(f"records of this kind ({space.kind}) have no part that --mask could name")


def _gaps(space: SeriesSpace, encoded: np.ndarray, mask: str | None, *, ends: bool) -> tuple[np.ndarray, np.ndarray]:
    """The series with their gaps marked as observed, and all but those values known; what lies behind a series' end stays."""
    if mask is not None:
        raise SpecError("--mask: the missing values of a series are what is filled in; leave the option out")
    if not space.marked:
        raise SpecError("the schema of these series says that no value is missing, so there is nothing to fill in")
    n = len(space.channels)
    seen = encoded[..., n:] > 0
    steps = np.arange(1, seen.shape[1] + 1)
    last = (steps * seen.any(axis=2)).max(axis=1) if ends else np.full(len(seen), seen.shape[1])
    gaps = ~seen & (steps[None, :] <= last[:, None])[:, :, None]
    marks = np.where(gaps, 1.0, encoded[..., n:]).astype(encoded.dtype)
    return np.concatenate([encoded[..., :n], marks], axis=-1), np.concatenate([~gaps, np.ones_like(gaps)], axis=-1)


def _known_tokens(space: TokenSpace, known: np.ndarray, mask: str | None) -> np.ndarray:
    if mask is None:
        raise SpecError("--mask: which part of the sequences is to be filled in? START:STOP in positions, or names of fields: alto,tenor")
    start, colon, stop = mask.partition(":")
    if colon and (start + stop).isdigit():
        known[:, int(start or 0) : int(stop or space.length)] = False
        return known
    fields = {part.strip() for part in mask.split(",")}
    if unknown := sorted(fields - set(space.names)):
        raise SpecError(f"--mask: no field {unknown[0]!r}; there are {', '.join(dict.fromkeys(space.names))}, or START:STOP")
    known[:, [name in fields for name in space.names]] = False
    return known


def _filled_table(model: Model, frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Missing cells are drawn; one that comes back missing (the schema allows that) is drawn again, some times."""
    filled = frame.reset_index(drop=True)
    for attempt in range(ROUNDS):
        empty = filled.isna()
        rows = np.flatnonzero(empty.any(axis=1))
        if not len(rows):
            break
        part = filled.iloc[rows].reset_index(drop=True)
        encoded = model.encoded(_with_any_value(model, part))
        drawn = model.complete(encoded, _known_cells(model, ~part.isna().to_numpy()), seed=seed + attempt)
        drawn.index = filled.index[rows]
        for name in filled.columns:  # what was known stays to the last digit
            column = filled[name].copy()
            gaps = rows[part[name].isna().to_numpy()]
            column.iloc[gaps] = drawn[name].loc[list(gaps)]
            filled[name] = column
    return filled


def _with_any_value(model: Model, frame: pd.DataFrame) -> pd.DataFrame:
    """Missing cells where none may be missing get a value, which counts for nothing."""
    rng, columns = np.random.default_rng(0), {}
    for name, entry in model.codec.schema.columns.items():
        any_value = coder_of(name, entry).decode(np.array([int(entry.missing)]), rng).iloc[0]
        columns[name] = frame[name] if entry.missing else frame[name].fillna(any_value)
    return pd.DataFrame(columns)


def _known_cells(model: Model, known: np.ndarray) -> np.ndarray:
    """(rows, columns) of cells as a mask of the generator's space."""
    space = model.space
    if not isinstance(space, VectorSpace):
        return known
    names = list(model.codec.schema.columns)
    blocks = [np.repeat(known[:, [names.index(block.column)]], block.size, axis=1) for block in space.blocks]
    return np.concatenate(blocks, axis=1)


def latent_picture(model: Model, *, seed: int) -> bytes:
    """A PNG: interpolations between pairs of drawn codes, then traversals of single dimensions from the middle of the prior."""
    rows, columns = LAID_OUT.get(model.codec.schema.modality, (1, 6))
    frame = model.latent_grid(rows, columns, reach=REACH, seed=seed)
    return modality(model.codec.schema.modality).picture(frame, model.codec.schema)


def explained(model: Model, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """What the model looked at in the first record, by name: attention maps, the path of hidden states."""
    return {name: value[0] for name, value in model.explain(frame).items()}
