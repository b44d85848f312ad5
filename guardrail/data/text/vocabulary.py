"""What a token of text is: a byte, a character of a declared alphabet, or a run of bytes made by declared merges (BPE).

Every vocabulary numbers its tokens from 0 and its `end` after them. Nothing here reads records: an alphabet and merges come
from the schema.

Byte-level BPE: Radford et al., "Language models are unsupervised multitask learners", 2019,
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...vocabulary.content import TextContent
from ...vocabulary.errors import DataError, SchemaError
from ..cells import nfc

UNKNOWN = "\ufffd"
"""What a character without a token is decoded to."""


class Vocabulary(Protocol):
    end: int

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without the end."""
        ...

    def decode(self, tokens: Sequence[int]) -> str: ...

    def reach(self, text: str, most: int) -> int:
        """How many characters from the start of the text take at most so many tokens."""
        ...


class Bytes:
    """UTF-8: token b is byte b."""

    end = 256

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    def reach(self, text: str, most: int) -> int:
        return len(text[:most].encode()[:most].decode(errors="ignore"))


class Characters:
    """Those of the alphabet have a token each, all others share the one after them."""

    def __init__(self, alphabet: str) -> None:
        self._letters = list(alphabet)
        self._codes = {letter: code for code, letter in enumerate(self._letters)}
        self._unknown = len(self._letters)
        self.end = self._unknown + 1

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._codes.get(letter, self._unknown) for letter in nfc(text)] for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(UNKNOWN if token == self._unknown else self._letters[token] for token in tokens)

    def reach(self, text: str, most: int) -> int:
        reached = min(len(text), most)
        while len(nfc(text[:reached])) > most:  # a few letters are two in NFC
            reached -= 1
        return reached


class Merged:
    """Bytes, and for every merge the two runs that it joins, in the order of the merges."""

    def __init__(self, merges: Sequence[str]) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        self._runs = [bytes([byte]) for byte in range(256)]
        vocabulary = {letter: byte for byte, letter in enumerate(BYTE_LETTERS)}
        pairs = [_pair(merge, vocabulary, self._runs) for merge in merges]
        self.end = len(self._runs)
        self._tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [coded.ids for coded in self._tokenizer.encode_batch(list(texts))]

    def decode(self, tokens: Sequence[int]) -> str:
        return b"".join(self._runs[token] for token in tokens).decode(errors="replace")

    def reach(self, text: str, most: int) -> int:
        window = text[: most * 8]
        while len(coded := self._tokenizer.encode(window)) <= most and len(window) < len(text):
            window = text[: len(window) * 2]
        if len(coded) <= most:
            return len(window)
        reached: int = coded.offsets[most][0]
        while reached and len(self._tokenizer.encode(text[:reached])) > most:  # what is cut off may join otherwise
            reached -= 1
        return reached


def vocabulary_of(content: TextContent) -> Vocabulary:
    if content.vocabulary == "characters":
        return Characters(content.alphabet or "")
    return Merged(content.merges or ()) if content.vocabulary == "bpe" else Bytes()


def learn_merges(texts: Sequence[str], *, most: int = 1024) -> tuple[str, ...]:
    """The merges of the commonest neighbours, read from the records: an entry that has them is `source: data`."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=256 + most, show_progress=False, special_tokens=[], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in merges)


def cut_text(text: str, vocabulary: Vocabulary, most: int) -> list[str]:
    """Consecutive parts of at most so many tokens, which joined are the text again; no word is torn that fits into half a part."""
    parts: list[str] = []
    while True:
        reached = vocabulary.reach(text, most)
        if reached == len(text):
            return [*parts, text]
        if not reached:
            raise DataError(f"the character {text[0]!r} takes more than {most} tokens; declare a greater text.length")
        gap = text.rfind(" ", reached // 2, reached) + 1
        part = text[: gap or reached]
        parts.append(part)
        text = text[len(part) :]


def _pair(merge: str, vocabulary: dict[str, int], runs: list[bytes]) -> tuple[str, str]:
    """Both sides of a merge; its result joins the vocabulary, unless another merge has made it already."""
    sides = merge.split(" ")
    if len(sides) != 2 or not all(side in vocabulary for side in sides):
        raise SchemaError(
            f"text.merges: {merge!r} does not join two tokens that are there before it; expected `left right` in byte letters"
        )
    left, right = sides
    if left + right not in vocabulary:
        vocabulary[left + right] = len(runs)
        runs.append(runs[vocabulary[left]] + runs[vocabulary[right]])
    return left, right


def _byte_letters() -> tuple[str, ...]:
    """A visible letter for every byte, as GPT-2 has them: Latin-1 where it shows itself, letters from U+0100 on elsewhere."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in shown]
    return tuple(chr(byte if byte in shown else 0x100 + hidden.index(byte)) for byte in range(256))


BYTE_LETTERS = _byte_letters()
