"""The tabular codec: cast tables to and from the two spaces that generators live on, built from the schema alone.

`tokens`: one token per column. `vector`: per column a choice (category; or missing, each point, and 'some other number')
and, for numbers and times, their place between the bounds as one number in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ...vocabulary.spaces import Block, Space, SpaceKind, TokenSpace, VectorSpace
from ..codec import Codec, finite
from ..coders import Coder, LineCoder, coder_of

NEUTRAL = 0.5
"""Where a number stands when the choice beside it is not 'some other number'."""


@dataclass(frozen=True)
class _Place:
    """The blocks of one column."""

    coder: Coder
    choice: Block | None
    real: Block | None


class TabularCodec(Codec):
    """
    >>> from guardrail.vocabulary.schema import Schema
    >>> codec = TabularCodec(Schema.model_validate({"columns": {"n": {"kind": "integer", "low": 1, "high": 3, "missing": True}}}))
    >>> codec.tokens.sizes
    (4,)
    >>> codec.encode(pd.DataFrame({"n": pd.array([3, None, 1], dtype="Int64")}), "tokens").tolist()
    [[3], [0], [1]]
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self._coders = {name: coder_of(name, entry) for name, entry in schema.columns.items()}
        self.names = tuple(self._coders)
        self.sizes = tuple(coder.size for coder in self._coders.values())
        self._places = _laid_out(self._coders)
        self.vector = VectorSpace(tuple(block for place in self._places for block in (place.choice, place.real) if block))
        self._spaces: dict[SpaceKind, Space] = {"tokens": TokenSpace(self.names, self.sizes), "vector": self.vector}

    @property
    def spaces(self) -> Mapping[SpaceKind, Space]:
        return self._spaces

    def encode(self, frame: pd.DataFrame, kind: SpaceKind) -> np.ndarray:
        """`tokens`: (rows, columns) int64; `vector`: (rows, width) float32."""
        return self._encode_tokens(frame) if kind == "tokens" else self._encode_vector(frame)

    def decode(self, records: np.ndarray, kind: SpaceKind, rng: np.random.Generator) -> pd.DataFrame:
        return self._decode_tokens(records, rng) if kind == "tokens" else self._decode_vector(records, rng)

    def _encode_tokens(self, frame: pd.DataFrame) -> np.ndarray:
        """(rows, columns) int64."""
        self._check(frame)
        tokens = np.empty((len(frame), len(self.names)), dtype=np.int64)
        for position, (name, coder) in enumerate(self._coders.items()):
            tokens[:, position] = coder.encode(frame[name])
        return tokens

    def _decode_tokens(self, tokens: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """A cast table; a number is drawn evenly among those that share its token."""
        if tokens.ndim != 2 or tokens.shape[1] != len(self.names):
            raise DataError(f"tokens of shape {tokens.shape}; expected (rows, {len(self.names)})")
        columns = {name: coder.decode(tokens[:, i], rng) for i, (name, coder) in enumerate(self._coders.items())}
        return pd.DataFrame(columns, columns=pd.Index(self.names, dtype=object))

    def _encode_vector(self, frame: pd.DataFrame) -> np.ndarray:
        """(rows, width) float32."""
        self._check(frame)
        vectors = np.zeros((len(frame), self.vector.width), dtype=np.float32)
        for place in self._places:
            _write(place, frame[place.coder.name], vectors)
        return vectors

    def _decode_vector(self, vectors: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """A cast table from probabilities (or one-hots) in the choices and numbers in [0, 1] in the reals."""
        if vectors.ndim != 2 or vectors.shape[1] != self.vector.width:
            raise DataError(f"vectors of shape {vectors.shape}; expected (rows, {self.vector.width})")
        vectors = finite(vectors)
        columns = {place.coder.name: _read(place, vectors, rng) for place in self._places}
        return pd.DataFrame(columns, columns=pd.Index(self.names, dtype=object))

    def _check(self, frame: pd.DataFrame) -> None:
        lacking = [name for name in self.names if name not in frame.columns]
        if lacking:
            raise DataError(f"the table lacks column {lacking[0]!r}; cast it to the schema first")


def _laid_out(coders: dict[str, Coder]) -> list[_Place]:
    places, start = [], 0
    for name, coder in coders.items():
        choices = _choices(coder)
        choice = Block(name, "choice", start, choices) if choices > 1 or not _has_real(coder) else None
        start += choices if choice else 0
        real = Block(name, "real", start, 1) if _has_real(coder) else None
        start += 1 if real else 0
        places.append(_Place(coder, choice, real))
    return places


def _choices(coder: Coder) -> int:
    """Missing, each point, and one for all other numbers; or every category."""
    return coder.offset + len(coder.line.points) + (coder.line.cells > 0) if coder.line is not None else coder.size


def _has_real(coder: Coder) -> bool:
    return coder.line is not None and coder.line.cells > 0


def _write(place: _Place, column: pd.Series, vectors: np.ndarray) -> None:
    """One column into its blocks."""
    coder = place.coder
    tokens = coder.encode(column)
    if place.choice:
        vectors[np.arange(len(tokens)), place.choice.start + np.minimum(tokens, place.choice.size - 1)] = 1
    if place.real and isinstance(coder, LineCoder):
        is_free = tokens >= coder.offset + len(coder.line.points)
        vectors[:, place.real.start] = NEUTRAL
        vectors[is_free, place.real.start] = coder.line.unit(coder.coordinates(column[is_free]))


def _read(place: _Place, vectors: np.ndarray, rng: np.random.Generator) -> pd.Series:
    """One column out of its blocks."""
    coder = place.coder
    chosen = np.zeros(len(vectors), dtype=np.int64)
    if place.choice:
        chosen = _sampled(vectors[:, place.choice.start : place.choice.stop], rng)
    if not place.real or not isinstance(coder, LineCoder):
        return coder.decode(chosen, rng)
    is_missing = chosen < coder.offset
    is_free = chosen >= coder.offset + len(coder.line.points)
    units = np.clip(vectors[:, place.real.start].astype(float), 0, 1)
    coordinates = coder.line.from_unit(units)
    is_point = ~is_missing & ~is_free
    coordinates[is_point] = coder.line.points[chosen[is_point] - coder.offset]
    return coder.filled(is_missing, coder.values(coordinates[~is_missing]))


def _sampled(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One index per row, in proportion to the weights; evenly where a row has none."""
    weights = np.maximum(weights.astype(float), 0)
    weights[weights.sum(axis=1) == 0] = 1
    totals = np.cumsum(weights, axis=1)
    return np.asarray((totals > rng.random(len(weights))[:, None] * totals[:, -1:]).argmax(axis=1))
