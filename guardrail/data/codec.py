"""Records to and from tensors: one codec per modality, built from the schema alone, landing in one or more spaces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..vocabulary.errors import DataError
from ..vocabulary.schema import Schema
from ..vocabulary.spaces import Space, SpaceKind, TokenSpace
from .coders import Coder, coder_of


class Codec(ABC):
    """Frames cast to the schema in, arrays of a space out, and back."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    @property
    @abstractmethod
    def spaces(self) -> Mapping[SpaceKind, Space]:
        """Every space this modality can land in; `tokens` is always there: it is what counting and the floor work on."""

    @abstractmethod
    def encode(self, frame: pd.DataFrame, kind: SpaceKind) -> np.ndarray:
        """(records, ...) in that space; int64 tokens, else float32."""

    @abstractmethod
    def decode(self, records: np.ndarray, kind: SpaceKind, rng: np.random.Generator) -> pd.DataFrame:
        """A cast frame: the columns of a table, or the content column of another modality."""

    @property
    def tokens(self) -> TokenSpace:
        space = self.spaces["tokens"]
        assert isinstance(space, TokenSpace)  # noqa: S101 - what `spaces` promises
        return space

    @property
    def conditions(self) -> tuple[Coder, ...]:
        """What a record may be conditioned on: the schema's target, where it stands beside the content."""
        target = self.schema.target if self.schema.content is not None else None
        return (coder_of(target, self.schema.columns[target]),) if target else ()

    @property
    def condition_sizes(self) -> tuple[int, ...]:
        return tuple(coder.size for coder in self.conditions)

    def encode_conditions(self, frame: pd.DataFrame) -> np.ndarray:
        """(records, conditions) int64."""
        tokens = np.zeros((len(frame), len(self.conditions)), dtype=np.int64)
        for i, coder in enumerate(self.conditions):
            if coder.name not in frame:
                raise DataError(f"the records lack {coder.name!r}, which the model is conditioned on; add the column")
            tokens[:, i] = coder.encode(frame[coder.name])
        return tokens

    def decode_conditions(self, tokens: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """The columns beside the content, from their tokens."""
        return pd.DataFrame({coder.name: coder.decode(tokens[:, i], rng) for i, coder in enumerate(self.conditions)})


def finite(records: np.ndarray) -> np.ndarray:
    """What a generator gave, or a refusal: NaN decodes to nothing."""
    if not np.isfinite(records).all():
        raise DataError("the generator gave NaN or infinite values; its training diverged (lower the learning rate)")
    return records
