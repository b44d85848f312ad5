"""Text: documents cut into pieces of tokens, and what is known of each beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ...vocabulary.content import Modality as Name
from ...vocabulary.content import TextContent
from ...vocabulary.errors import DataError
from ...vocabulary.schema import Schema
from ..arrays import repeated
from ..beside import cast_content, draft_beside
from ..cast import OnError
from ..cells import nfc, shown
from .builtin import read_builtin
from .codec import TextCodec
from .files import SUFFIXES, read_texts, write_texts
from .picture import passages
from .vocabulary import cut_text, learn_merges, vocabulary_of

_LARGEST_ALPHABET = 256


class Text:
    name: ClassVar[Name] = "text"
    samples: ClassVar[str] = "synthetic.jsonl"
    floor: ClassVar[str] = "markov"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def reads(self, path: Path) -> bool:
        return path.suffix.lower() in self.suffixes and not path.is_dir()

    def read(self, path: Path, *, on_error: str = "fail") -> pd.DataFrame:
        return read_texts(path, on_error=on_error)

    def builtin(self, facts: Mapping[str, Any], folder: Path) -> pd.DataFrame:
        return read_builtin(facts, folder)

    def draft(self, frame: pd.DataFrame, *, target: str | None, sensitive: tuple[str, ...], unit: str) -> Schema:
        """Characters as the texts have them, where they are few; bytes where there are many. `drafted_merges` is the third way."""
        if not len(frame):
            raise DataError("there is no text to draft a schema from")
        alphabet = "".join(sorted({letter for text in frame["text"] if isinstance(text, str) for letter in nfc(text)}))
        if 0 < len(alphabet) <= _LARGEST_ALPHABET:
            content = TextContent(vocabulary="characters", alphabet=alphabet, source="data")
        else:
            content = TextContent(vocabulary="bytes", source="data")
        return Schema(modality="text", text=content, **draft_beside(frame, "text", target=target, sensitive=sensitive, unit=unit))

    def cast(self, frame: pd.DataFrame, schema: Schema, *, on_error: OnError, where: str) -> tuple[pd.DataFrame, np.ndarray]:
        """Any text obeys; characters without a token are there still."""
        return cast_content(frame, schema, _judged, on_error=on_error, where=where)

    def pieces(self, frame: pd.DataFrame, schema: Schema, *, most: int | None) -> pd.DataFrame:
        """A document of more than length - 1 tokens becomes several rows, cut at spaces; the columns beside it are repeated."""
        assert schema.text is not None  # noqa: S101 - the schema of texts
        vocabulary, longest = vocabulary_of(schema.text), schema.text.length - 1
        parts = [cut_text(text, vocabulary, longest)[:most] for text in frame["text"]]
        cut = pd.Series([text for part in parts for text in part], dtype=object)
        return repeated(frame, [len(part) for part in parts], "text", cut)

    def codec(self, schema: Schema) -> TextCodec:
        return TextCodec(schema)

    def write(self, frame: pd.DataFrame, path: Path, schema: Schema) -> None:
        write_texts(frame, path)

    def picture(self, frame: pd.DataFrame, schema: Schema) -> bytes:
        return passages(frame, schema)


def drafted_merges(frame: pd.DataFrame, schema: Schema, *, most: int = 1024) -> Schema:
    """The same schema with a vocabulary of byte pairs merged as these texts have them most often: `source: data`."""
    assert schema.text is not None  # noqa: S101 - the schema of texts
    content = TextContent(vocabulary="bpe", merges=learn_merges(list(frame["text"]), most=most), length=schema.text.length, source="data")
    return schema.model_copy(update={"text": content})


def _judged(cell: Any) -> str:
    if not isinstance(cell, str):
        raise DataError(f"{'no text' if cell is None or cell != cell else shown(cell)}; expected a text")
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise DataError("a text holds half a character, which UTF-8 cannot write") from None
    return cell


MODALITY = Text()
