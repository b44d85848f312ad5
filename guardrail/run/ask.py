"""What can be asked of a trained model beside plain samples: conditions, balance, beginnings to go on from.

Covered by ε: drawing and asking are post-processing of the model; a beginning or a condition that somebody types is not
private data. Not covered: what a person learns by conditioning on records of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.cells import nfc
from ..data.kinds import dtype_of, read_cells
from ..data.modality import modality
from ..training.model import Model
from ..vocabulary.errors import InputError, SpecError, UnknownName, Unsupported
from ..vocabulary.plugins import table
from ..vocabulary.schema import Categorical, Numeric
from ..vocabulary.seeds import stream

MOST_DRAWN = 200
"""Rows drawn per row asked for, at most, before a condition is called too rare."""
CHUNK = 20_000
SEPARATOR = ".."
"""`age=30..40`: a range of numbers."""


def parse_where(items: Sequence[str]) -> dict[str, str]:
    """`("sex=Female", "age=30..40")` as a mapping."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise SpecError(f"--where {item!r}: expected COLUMN=VALUE, for instance --where label=3 or --where age=30..40")
        if name.strip() in found:
            raise SpecError(f"--where {name.strip()!r} is given twice; one condition a column")
        found[name.strip()] = value.strip()
    return found


def sample_where(model: Model, n: int, where: Mapping[str, str], *, seed: int) -> pd.DataFrame:
    """`n` records that meet every condition.

    A class goes into a model that was trained on classes; a beginning (`text=Call me`, `notes=FILE`) is continued; other
    columns of a table are met by drawing until enough rows do, which is exact and refuses what is too rare.
    """
    if model.codec.schema.content is None:
        return _drawn_until(model, n, where, seed)
    content, classes = model.codec.schema.content.column, [coder.name for coder in model.codec.conditions]
    for name in where:
        if name not in (content, *classes):
            askable = [*([content] if model.can("prompt") else []), *(classes if model.generator.conditional else [])]
            raise _not_known(model, name, askable)
    given = _classes(model, n, where, seed) if any(name in classes for name in where) else None
    if content in where:
        return _continued(model, n, where[content], given, seed)
    return model.sample(n, seed=seed, given=given)


def sample_balanced(model: Model, n: int, columns: Sequence[str], *, seed: int) -> pd.DataFrame:
    """`n` records in which every combination of the columns' categories is as frequent as any other (to one record)."""
    schema = model.codec.schema
    for name in columns:
        entry = schema.columns.get(name)
        if entry is None:
            raise UnknownName.among("column", name, schema.columns)
        if not isinstance(entry, Categorical) and entry.kind != "boolean":
            raise SpecError(f"--balance {name!r}: {entry.kind}; only columns with categories can be balanced")
    choices = [_categories(model, name) for name in columns]
    combinations = list(itertools.product(*choices))
    counts = [n // len(combinations) + (i < n % len(combinations)) for i in range(len(combinations))]
    parts = [
        sample_where(model, count, dict(zip(columns, combination, strict=True)), seed=seed + i)
        for i, (combination, count) in enumerate(zip(combinations, counts, strict=True))
        if count
    ]
    return pd.concat(parts, ignore_index=True)


def _categories(model: Model, name: str) -> tuple[str, ...]:
    entry = model.codec.schema.columns[name]
    return entry.categories if isinstance(entry, Categorical) else ("true", "false")


def _not_known(model: Model, name: str, known: Sequence[str]) -> SpecError:
    askable = f"can be asked for {', '.join(known)}" if known else "can be asked for nothing, only sampled from"
    return SpecError(f"--where {name!r}: this {model.family.name} {askable}")


def _classes(model: Model, n: int, where: Mapping[str, str], seed: int) -> np.ndarray:
    """(n, conditions): every record of the class asked for; other conditions by their shares."""
    if not model.generator.conditional:
        able = sorted(name for name, entry in table("generators").items() if "where" in entry.abilities)
        raise Unsupported(
            f"this {model.family.name} was trained without classes, so it cannot be asked for one; families that can: {', '.join(able)} "
            "(on data whose schema names a target)"
        )
    given = model.some_classes(n, stream(seed, "classes"))
    for i, coder in enumerate(model.codec.conditions):
        if coder.name in where:
            given[:, i] = coder.encode(_cell(model, coder.name, where[coder.name]))[0]
    return given


def _cell(model: Model, name: str, text: str) -> pd.Series:
    """The condition's value as a cast column of one cell."""
    entry = model.codec.schema.columns[name]
    cells = read_cells(pd.Series([text], dtype=object), entry, name)
    if cells.fault.any() or cells.missing.any():
        raise SpecError(f"--where {name}={text}: expected {cells.expected}")
    return pd.Series(cells.values).astype(dtype_of(entry))


def _continued(model: Model, n: int, beginning: str, given: np.ndarray | None, seed: int) -> pd.DataFrame:
    """`n` continuations of one beginning."""
    if not model.can("prompt"):
        able = sorted(name for name, entry in table("generators").items() if "prompt" in entry.abilities)
        raise Unsupported(f"a {model.family.name} cannot go on from a beginning; families that can: {', '.join(able)}")
    tokens, end = _beginning(model, beginning), model.codec.tokens.end
    known = tokens != end if end is not None else np.ones_like(tokens, dtype=bool)
    if not known.any() or known.all():
        length = model.codec.tokens.length
        raise SpecError(f"the beginning must have between 1 and {length - 1} tokens, so that something is left to draw")
    return model.complete(np.repeat(tokens, n, axis=0), np.repeat(known, n, axis=0), seed=seed, given=given)


def _beginning(model: Model, text: str) -> np.ndarray:
    """(1, positions): the tokens of a typed text, or of the first record of a file."""
    schema = model.codec.schema
    kind = modality(schema.modality)
    bare = schema.model_copy(update={"columns": {}, "target": None, "sensitive": (), "unit": "row"})
    if schema.modality == "text":
        frame = pd.DataFrame({"text": [text]})
    else:
        if not text or "\0" in text:
            raise SpecError(f"--where {schema.content.column if schema.content else ''}: name the file that holds the beginning")
        frame = kind.read(Path(text).expanduser())
        frame = frame[[column for column in frame.columns if column == schema.content.column]].head(1) if schema.content else frame
    cast_frame, _ = kind.cast(frame, bare, on_error="fail", where=text)
    piece = kind.pieces(cast_frame, bare, most=None)
    if len(piece) > 1:
        raise SpecError(f"the beginning is longer than a whole record of this model, which has {model.codec.tokens.length} tokens")
    tokens = model.codec.encode(piece, "tokens")
    if schema.modality == "text":
        _refuse_unknown(model, piece["text"].iloc[0], tokens)
    return tokens


def _refuse_unknown(model: Model, text: str, tokens: np.ndarray) -> None:
    """A character without a token would come back as another one."""
    back = model.codec.decode(tokens, "tokens", np.random.default_rng(0))["text"].iloc[0]
    if lost := sorted({letter for letter, read in zip(nfc(text), back, strict=False) if letter != read}):
        raise SpecError(f"--where text: the model knows no {', '.join(map(repr, lost))}: its alphabet, in the run's schema, lacks it")


def _drawn_until(model: Model, n: int, where: Mapping[str, str], seed: int) -> pd.DataFrame:
    """Rejection: rows of the model's own distribution given the condition, exactly."""
    schema = model.codec.schema
    for name in where:
        if name not in schema.columns:
            raise UnknownName.among("column", name, schema.columns)
    kept: list[pd.DataFrame] = []
    found = drawn = 0
    for attempt in itertools.count():
        frame = model.sample(min(CHUNK, max(1000, 4 * n)), seed=seed + 1_000_003 * attempt)
        met = np.logical_and.reduce([_meets(model, frame[name], name, value) for name, value in where.items()])
        kept.append(frame[met])
        found, drawn = found + int(met.sum()), drawn + len(frame)
        if found >= n:
            return pd.concat(kept, ignore_index=True).head(n)
        if drawn >= MOST_DRAWN * max(n, 1000):
            asked = ", ".join(f"{name}={value}" for name, value in where.items())
            raise InputError(f"{found} of {drawn:,} drawn rows have {asked}: too rare for {n} rows; ask for fewer, or for less at once")
    raise AssertionError("count() does not end")


def _meets(model: Model, column: pd.Series, name: str, value: str) -> np.ndarray:
    """(rows,) bool."""
    entry = model.codec.schema.columns[name]
    if isinstance(entry, Numeric) and SEPARATOR in value:
        low, _, high = value.partition(SEPARATOR)
        least, most = _number(low), _number(high)
        if least is None or most is None or least > most:
            raise SpecError(f"--where {name}={value}: a range is two numbers, the lower first: {name}=LOW{SEPARATOR}HIGH")
        return np.asarray(column.between(least, most).fillna(False), dtype=bool)
    return np.asarray((column == _cell(model, name, value).iloc[0]).fillna(False), dtype=bool)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number
