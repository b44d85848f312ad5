"""What is missing in records that somebody brings is drawn from a model; what is known stays as it came, to the last digit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..data.arrays import as_column
from ..data.coders import coder_of
from ..training.model import Model
from ..vocabulary.errors import SpecError
from ..vocabulary.spaces import ImageSpace, SeriesSpace, TokenSpace, VectorSpace

ROUNDS = 20
"""How often a cell that came back missing is drawn again."""
HALVES = ("upper", "lower", "left", "right")
UNKNOWN = "\ufffd"
"""What a character that the schema's alphabet lacks is decoded to."""


def impute(model: Model, frame: pd.DataFrame, *, mask: str | None, seed: int) -> pd.DataFrame:
    """Records with what is missing drawn from the model: empty cells of tables and series, or the part that `mask` names.

    Args:
        mask: images: upper, lower, left, right; sequences: START:STOP in positions, or names of fields (alto,tenor).
    """
    kind = model.codec.schema.modality
    if kind == "tabular":
        if mask is not None:
            raise SpecError("--mask: a table's missing cells are what is filled in; leave the option out")
        return _filled_table(model, frame, seed)
    fill = {"image": _filled_images, "series": _filled_series}.get(kind, _filled_sequences)
    given = model.codec.encode_conditions(frame) if model.generator.conditional and _has_classes(model, frame) else None
    filled = fill(model, frame.reset_index(drop=True), mask, given, seed)
    beside = [name for name in frame.columns if name not in filled]
    return pd.concat([filled, frame[beside].reset_index(drop=True)], axis=1)


def left_empty(frame: pd.DataFrame) -> int:
    """Cells of a table, or values of series, that are still missing: the model thinks them missing nearly always."""
    if "values" in frame and len(frame) and isinstance(frame["values"].iloc[0], np.ndarray):
        return sum(int(np.isnan(cell).sum()) for cell in frame["values"])
    return int(frame.isna().to_numpy().sum())


def _has_classes(model: Model, frame: pd.DataFrame) -> bool:
    return all(coder.name in frame for coder in model.codec.conditions)


def _filled_images(model: Model, frame: pd.DataFrame, mask: str | None, given: np.ndarray | None, seed: int) -> pd.DataFrame:
    known, encoded = _known_pixels(model, mask), model.encoded(frame)
    at = np.moveaxis(known, 2, 0) if isinstance(model.space, ImageSpace) else known.reshape(-1)
    filled = model.complete(encoded, np.broadcast_to(at, encoded.shape).copy(), seed=seed, given=given)
    cells = zip(frame["image"], filled["image"], strict=True)
    return filled.assign(image=as_column([np.where(known, old, new) for old, new in cells]))


def _known_pixels(model: Model, mask: str | None) -> np.ndarray:
    """(height, width, channels) bool."""
    content, space = model.codec.schema.image, model.space
    assert content is not None  # noqa: S101 - the schema of images
    known = np.ones((content.height, content.width, content.channels), dtype=bool)
    if mask in HALVES:
        rows, columns = content.height // 2, content.width // 2
        part: dict[str, Any] = {"upper": np.s_[:rows], "lower": np.s_[rows:], "left": np.s_[:, :columns], "right": np.s_[:, columns:]}
        known[part[mask]] = False
        return known
    if isinstance(space, TokenSpace) and mask is not None and (":" in mask or set(mask.split(",")) <= set(space.names)):
        return _known_positions(space, mask).reshape(known.shape)
    raise SpecError(f"--mask {mask or ''!r}: which part of the images is to be filled in? one of {', '.join(HALVES)}")


def _filled_sequences(model: Model, frame: pd.DataFrame, mask: str | None, given: np.ndarray | None, seed: int) -> pd.DataFrame:
    space = model.codec.tokens
    if mask is None:
        raise SpecError("--mask: which part of the sequences is to be filled in? START:STOP in positions, or names of fields: alto,tenor")
    known, encoded = _known_positions(space, mask), model.encoded(frame)
    filled = model.complete(encoded, np.broadcast_to(known, encoded.shape).copy(), seed=seed, given=given)
    content = model.codec.schema.text
    if content is None or content.vocabulary != "characters":
        return filled
    cells = zip(frame["text"], filled["text"], strict=True)
    return filled.assign(text=pd.Series([_restored(old, new, known) for old, new in cells], dtype=object))


def _restored(old: str, new: str, known: np.ndarray) -> str:
    """Known characters that the model has no token for, as they were."""
    if UNKNOWN not in new:
        return new
    return "".join(old[i] if letter == UNKNOWN and known[i] and i < len(old) else letter for i, letter in enumerate(new))


def _known_positions(space: TokenSpace, mask: str) -> np.ndarray:
    """(positions,) bool."""
    known = np.ones(space.length, dtype=bool)
    start, colon, stop = mask.partition(":")
    if colon:
        if not all(part == "" or (part.isascii() and part.isdecimal() and len(part) < 10) for part in (start, stop)) or mask == ":":
            raise SpecError(f"--mask {mask!r}: expected START:STOP in positions, counted from 0, for instance 0:{space.length // 2}")
        known[int(start or 0) : int(stop or space.length)] = False
        if known.all():
            raise SpecError(f"--mask {mask!r} names no position; these records have {space.length}, the first is 0, and STOP is not in it")
        return known
    fields = {part.strip() for part in mask.split(",") if part.strip()}
    if unknown := sorted(fields - set(space.names)) or ([] if fields else [mask]):
        named = list(dict.fromkeys(space.names))
        fitting = f"the fields {', '.join(named)}, or " if len(named) > 1 else ""
        raise SpecError(f"--mask: no field {unknown[0]!r}; there are {fitting}positions as START:STOP")
    return np.array([name not in fields for name in space.names])


def _filled_series(model: Model, frame: pd.DataFrame, mask: str | None, given: np.ndarray | None, seed: int) -> pd.DataFrame:
    """Values that a family of tokens draws as missing are drawn again, some times."""
    content, space, parts = model.codec.schema.series, model.space, []
    assert content is not None  # noqa: S101 - the schema of series
    if isinstance(space, SeriesSpace) and mask is not None:
        raise SpecError("--mask: the missing values of a series are what is filled in; leave the option out")
    if not content.missing and mask is None:
        raise SpecError("the schema of these series says that no value is missing, so there is nothing to fill in")
    encoded = model.encoded(frame)
    if isinstance(space, SeriesSpace):
        encoded, known = _gaps(space, encoded, ends=content.variable)
    else:
        known = encoded != content.levels if content.missing else np.ones_like(encoded, dtype=bool)
        known &= _known_positions(model.codec.tokens, mask) if mask else True
    n = len(content.channels)
    stays = (known[..., :n] if isinstance(space, SeriesSpace) else known.reshape(len(known), -1, n)).astype(bool)
    rows = np.arange(len(frame))
    for attempt in range(ROUNDS):
        drawn = model.complete(encoded[rows], known[rows], seed=seed + attempt, given=None if given is None else given[rows])
        drawn["values"] = as_column(
            [_kept(frame["values"].iloc[row], cell, stays[row]) for row, cell in zip(rows, drawn["values"], strict=True)]
        )
        parts.append(drawn.set_index(rows))
        rows = rows[[bool(np.isnan(cell).any()) for cell in drawn["values"]]]
        if not len(rows):
            break
    whole = pd.concat(parts)
    return whole[~whole.index.duplicated(keep="last")].sort_index()


def _kept(old: np.ndarray, new: np.ndarray, stays: np.ndarray) -> np.ndarray:
    """What was drawn, with known values as they were: a level or a float32 is not."""
    both, kept = min(len(old), len(new)), np.array(new, dtype=float)
    at = stays[:both] & ~np.isnan(old[:both])
    kept[:both][at] = old[:both][at]
    return kept


def _gaps(space: SeriesSpace, encoded: np.ndarray, *, ends: bool) -> tuple[np.ndarray, np.ndarray]:
    """The series with their gaps marked as observed, and all but those values known; what lies behind a series' end stays."""
    n = len(space.channels)
    seen = encoded[..., n:] > 0
    steps = np.arange(1, seen.shape[1] + 1)
    last = (steps * seen.any(axis=2)).max(axis=1) if ends else np.full(len(seen), seen.shape[1])
    gaps = ~seen & (steps[None, :] <= last[:, None])[:, :, None]
    marks = np.where(gaps, 1.0, encoded[..., n:]).astype(encoded.dtype)
    return np.concatenate([encoded[..., :n], marks], axis=-1), np.concatenate([~gaps, np.ones_like(gaps)], axis=-1)


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
