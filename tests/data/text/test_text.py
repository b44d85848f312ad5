"""Texts: every vocabulary goes round, long documents are cut without loss, schemas are public or say that they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.data import builtin
from guardrail.data.modality import modality, modality_of
from guardrail.data.text import drafted_merges
from guardrail.data.text.vocabulary import BYTE_LETTERS, Bytes, Characters, Merged, cut_text, learn_merges
from guardrail.vocabulary.errors import DataError, SchemaError
from guardrail.vocabulary.schema import Schema

TEXT = modality("text")
MERGES = learn_merges(["the whale and the sea, the whale and the ship"] * 5, most=30)
letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def schema(**said: Any) -> Schema:
    return Schema.model_validate({"modality": "text", "declared_by": "us", "text": said})


def around(codec: Any, texts: list[str]) -> list[str]:
    tokens = codec.encode(pd.DataFrame({"text": texts}), "tokens")
    return list(codec.decode(tokens, "tokens", np.random.default_rng(0))["text"])


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(letters, min_size=1, max_size=4))
def test_bytes_and_merged_bytes_come_back_whatever_the_text(texts: list[str]) -> None:
    for said in ({"vocabulary": "bytes"}, {"vocabulary": "bpe", "merges": MERGES}):
        assert around(TEXT.codec(schema(length=300, **said)), texts) == texts


@settings(max_examples=100, deadline=None)
@given(text=letters, most=st.integers(4, 20))
def test_the_parts_of_a_text_fit_and_joined_are_the_text(text: str, most: int) -> None:
    for vocabulary in (Bytes(), Characters("abc "), Merged(MERGES)):
        parts = cut_text(text, vocabulary, most)
        assert "".join(parts) == text
        assert all(len(tokens) <= most for tokens in vocabulary.encode(parts))


def test_characters_without_a_token_share_one_and_come_back_as_the_replacement_character() -> None:
    codec = TEXT.codec(schema(vocabulary="characters", alphabet="aé", length=6))
    assert around(codec, ["aé", "e\u0301x日", ""]) == ["aé", "é\ufffd\ufffd", ""]
    assert codec.tokens.sizes == (4,) * 6 and codec.tokens.end == 3 and codec.tokens.shared


def test_bytes_that_are_no_text_are_decoded_to_the_replacement_character() -> None:
    codec = TEXT.codec(schema(vocabulary="bytes", length=4))
    frame = codec.decode(np.array([[0xFF, 0x61, 256, 0x62], [0x61, 0x62, 0x63, 0x64]]), "tokens", np.random.default_rng(0))
    assert list(frame["text"]) == ["\ufffda", "abcd"]
    with pytest.raises(DataError, match="tokens go from 0 to 256"):
        codec.decode(np.array([[0, 1, 2, 257]]), "tokens", np.random.default_rng(0))


def test_merges_make_runs_by_hand() -> None:
    """`ab` by the first merge, `abab` by the second; the third makes what is there already."""
    vocabulary = Merged(("a b", "ab ab", "c d", "b a"))
    assert vocabulary.end == 260
    assert vocabulary.encode(["ababc"]) == [[257, BYTE_LETTERS.index("c")]]
    assert vocabulary.decode([257, 258]) == "ababcd"
    for wrong in ("a", "a b c", "ab c", "日 a"):
        with pytest.raises(SchemaError, match="does not join"):
            Merged((wrong,))


def test_learned_merges_shorten_the_texts_and_are_marked_as_read_from_them() -> None:
    frame = pd.DataFrame({"text": ["the whale and the sea"] * 20})
    drafted = TEXT.draft(frame, target=None, sensitive=(), unit="row")
    assert drafted.text and drafted.text.source == "data" and drafted.text.alphabet == " adehlnstw"
    merged = drafted_merges(frame, drafted, most=50)
    assert merged.text and (merged.text.source, merged.text.vocabulary) == ("data", "bpe")
    [tokens] = TEXT.codec(merged).encode(frame.head(1), "tokens")
    assert (tokens != TEXT.codec(merged).tokens.end).sum() < len("the whale and the sea") / 2


def test_a_text_of_many_letters_is_drafted_as_bytes() -> None:
    frame = pd.DataFrame({"text": ["".join(map(chr, range(0x4E00, 0x5000)))]})
    drafted = TEXT.draft(frame, target=None, sensitive=(), unit="row")
    assert drafted.text and drafted.text.vocabulary == "bytes"


def test_long_documents_become_pieces_that_share_their_columns_or_only_the_first() -> None:
    said = {
        "modality": "text",
        "text": {"length": 12},
        "target": "by",
        "columns": {"by": {"kind": "categorical", "categories": ["h", "m"]}},
    }
    public = Schema.model_validate(said)
    raw = pd.DataFrame({"text": ["call me Ishmael, some years ago", "short", ""], "by": ["m", "h", "m"]})
    frame, kept = TEXT.cast(raw, public, on_error="fail", where="t")
    pieces = TEXT.pieces(frame, public, most=None)
    assert kept.all() and list(pieces["text"]) == ["call me ", "Ishmael, ", "some years ", "ago", "short", ""]
    assert list(pieces["by"]) == ["m"] * 4 + ["h", "m"]
    assert list(TEXT.pieces(frame, public, most=1)["text"]) == ["call me ", "short", ""]
    codec = TEXT.codec(public)
    assert codec.encode(pieces, "tokens").shape == (6, 12) and codec.encode_conditions(pieces).tolist() == [[1]] * 4 + [[0], [1]]
    with pytest.raises(DataError, match="cut it into pieces first"):
        codec.encode(frame, "tokens")


def test_a_character_that_cannot_fit_is_named() -> None:
    with pytest.raises(DataError, match=r"greater text.length"):
        cut_text("a日", Bytes(), 2)


@pytest.mark.parametrize(
    ("cell", "says"), [(None, "no text"), (float("nan"), "no text"), (3, "expected a text"), ("\ud800", "half a character")]
)
def test_what_is_no_text_is_named_by_its_record_and_skipped_on_request(cell: Any, says: str) -> None:
    raw = pd.DataFrame({"text": pd.Series(["a", cell], dtype=object)})
    with pytest.raises(DataError, match=f"record 2: .*{says}"):
        TEXT.cast(raw, schema(), on_error="fail", where="t")
    frame, kept = TEXT.cast(raw, schema(), on_error="skip", where="t")
    assert list(frame["text"]) == ["a"] and kept.tolist() == [True, False]


@pytest.mark.parametrize(
    ("said", "says"),
    [({"vocabulary": "characters"}, "needs an alphabet"), ({"vocabulary": "bpe"}, "needs its merges"), ({"alphabet": "aba"}, "'a' twice")],
)
def test_a_vocabulary_that_is_not_there_is_refused(said: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        schema(**said)


def test_the_novel_is_there_with_a_letter_for_every_character() -> None:
    frame, public = builtin.load("moby_dick")
    assert len(frame) == public.records == 2557 and frame["text"].iloc[1].startswith("Call me Ishmael. Some years ago—never mind")
    pieces = TEXT.pieces(TEXT.cast(frame, public, on_error="fail", where="m")[0], public, most=None)
    codec = TEXT.codec(public)
    tokens = codec.encode(pieces, "tokens")
    assert list(codec.decode(tokens, "tokens", np.random.default_rng(0))["text"]) == list(pieces["text"])


def test_the_addresses_are_there_and_obey_their_schema() -> None:
    frame, public = builtin.load("sotu")
    cast, kept = TEXT.cast(frame, public, on_error="fail", where="s")
    assert kept.all() and len(cast) == public.records == 117 and public.target == "party"
    codec = TEXT.codec(public)
    assert codec.condition_sizes == (8,) and codec.encode_conditions(cast).max() < 8


def test_a_picture_shows_passages(tmp_path: Path) -> None:
    from PIL import Image

    frame = pd.DataFrame({"text": ["Call me Ishmael. " * 60, "x" * 500, "two\nlines \x00 — “quoted”", ""]})
    (tmp_path / "p.png").write_bytes(TEXT.picture(frame, schema()))
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width == 900 and 300 < picture.height < 900
    with pytest.raises(DataError, match="no text to show"):
        TEXT.picture(frame.head(0), schema())


def test_the_suffix_tells_texts(tmp_path: Path) -> None:
    (tmp_path / "a.TXT").write_text("x\n")
    assert modality_of(tmp_path / "a.TXT").name == "text"
