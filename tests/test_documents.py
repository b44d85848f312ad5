"""What `dump_yaml` writes, `parse_yaml` reads back as the same value of the same type."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardrail.vocabulary.documents import dump_yaml, parse_yaml
from guardrail.vocabulary.errors import InputError


def reread(value: Any) -> Any:
    return parse_yaml(dump_yaml(value), where="spec.yaml")


def typed(value: Any) -> Any:
    """Told apart by type too: 1, 1.0 and True are three values, -0.0 and 0.0 two."""
    if isinstance(value, dict):
        return [(typed(key), typed(inner)) for key, inner in value.items()]
    return [typed(item) for item in value] if isinstance(value, list) else (type(value), repr(value))


MISREAD = [
    "1e5", "1E5", "1.e5", "+1e-5", "1e999", "1_000", "0x1f", "0o17", "017", "1:30", "190:20:30.15", ".inf", ".5", ".nan", "-", "~", "null",
    "true", "True", "yes", "on", "n", "=", "<<", "2024-01-01", "2024-01-01 10:00:00", "",
    " ", " x", "x ", "x: y", "x #y", "#", "&a", "*a", "!t",
    "%", "@", "`", "?", "? a", "- a", "[", "{", "|", ">", "'", '"', "\\", "\\ud800", "\\udabc x", "a\nb", "\n", "\ta", "a\tb", "\r", "\x85",
    "\u2028", "\ufeff", "\0", "\x1b", "\U0001f600", "é", "x" * 300, "word " * 60, "---", "...", "--- a", "\ufffe", "a\n\nb", "a  b",
]  # fmt: skip
texts = (
    st.sampled_from(MISREAD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.from_regex(r"\A[-+.0-9eE_:xo]{1,8}\Z")
)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12)


@pytest.mark.parametrize("word", MISREAD)
def test_words_that_a_reader_could_take_for_something_else_stay_words(word: str) -> None:
    document = {word: [word, {word: word}], "list": [word] * 3}
    assert typed(reread(document)) == typed(document)


@settings(max_examples=400, deadline=None)
@given(values)
@example(1e5)
@example([1e-5, 1e300, -0.0, math.inf, -math.inf, 10**30, -1])
@example([[], {}, [[]], {"a": {}}, None])
def test_every_value_comes_back(value: Any) -> None:
    assert typed(reread(value)) == typed(value)


def test_a_value_that_stands_twice_is_written_twice() -> None:
    shared = [1, 2]
    assert reread({"a": shared, "b": [shared, shared]}) == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@pytest.mark.parametrize("text", ['"\\ud800"', 'a: "\\udfff"', '{"\\udc00": 1}', '"\\U0000d800"', '["\\uD83D\\uDE00"]'])
def test_half_a_character_is_refused_and_its_spelling_is_not(text: str) -> None:
    with pytest.raises(InputError, match="no characters"):
        parse_yaml(text, where="spec.yaml")
    assert parse_yaml("'\\ud800'", where="spec.yaml") == "\\ud800"
