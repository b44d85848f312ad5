"""The text codec: cast texts to and from tokens of one vocabulary, ended by a token of its own, built from the schema alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ...vocabulary.spaces import Space, SpaceKind, TokenSpace
from ..codec import Codec
from .vocabulary import vocabulary_of


class TextCodec(Codec):
    """
    >>> codec = TextCodec(Schema.model_validate({"modality": "text", "text": {"vocabulary": "characters", "alphabet": "abc", "length": 5}}))
    >>> codec.encode(pd.DataFrame({"text": ["cab", "x"]}), "tokens").tolist()
    [[2, 0, 1, 4, 4], [3, 4, 4, 4, 4]]
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        if schema.text is None:
            raise DataError("this schema describes no text")
        self.content = schema.text
        self.vocabulary = vocabulary_of(self.content)
        self.end = self.vocabulary.end
        length = self.content.length
        space = TokenSpace(("token",) * length, (self.end + 1,) * length, shared=True, end=self.end, conditions=self.condition_sizes)
        self._spaces: dict[SpaceKind, Space] = {"tokens": space}

    @property
    def spaces(self) -> Mapping[SpaceKind, Space]:
        return self._spaces

    def encode(self, frame: pd.DataFrame, kind: SpaceKind) -> np.ndarray:
        """(records, length) int64: the tokens, then `end` to the last position, which every record has."""
        if "text" not in frame:
            raise DataError("the records lack the column 'text'; cast them to the schema first")
        tokens = np.full((len(frame), self.content.length), self.end, dtype=np.int64)
        for row, coded in enumerate(self.vocabulary.encode(list(frame["text"]))):
            if len(coded) >= self.content.length:
                room = self.content.length - 1
                raise DataError(f"a text of {len(coded)} tokens; the schema has room for {room} and their end: cut it into pieces first")
            tokens[row, : len(coded)] = coded
        return tokens

    def decode(self, records: np.ndarray, kind: SpaceKind, rng: np.random.Generator) -> pd.DataFrame:
        """Column `text`: up to the first end, or to the last position; bytes that are no UTF-8 become U+FFFD."""
        if records.ndim != 2 or records.shape[1] != self.content.length:
            raise DataError(f"tokens of shape {records.shape}; expected (records, {self.content.length})")
        if records.size and not 0 <= records.min() <= records.max() <= self.end:
            raise DataError(f"tokens go from 0 to {self.end}, met {records.min()} to {records.max()}")
        ended = records == self.end
        lengths = np.where(ended.any(axis=1), ended.argmax(axis=1), self.content.length)
        texts = [self.vocabulary.decode(row[:length].tolist()) for row, length in zip(records, lengths, strict=True)]
        return pd.DataFrame({"text": pd.Series(texts, dtype=object)})
