"""Schema files: what is written is read back, what was read from records is refused with the lines that would mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.data.builtin import load
from guardrail.data.draft import draft_schema
from guardrail.data.schema_file import dump_schema, load_schema, parse_schema, require_public
from guardrail.vocabulary.documents import parse_yaml
from guardrail.vocabulary.errors import PrivacyRefused, SchemaError
from guardrail.vocabulary.schema import Schema


def reread(schema: Schema) -> Schema:
    return parse_schema(parse_yaml(dump_schema(schema), where="s.yaml"), where="s.yaml")


WORDS = [
    "no",
    "Yes",
    "true",
    "null",
    "~",
    "1e5",
    "01",
    "1.5",
    "-",
    "?",
    "<=50K",
    "a: b",
    "#x",
    " x ",
    "'",
    '"',
    "\\",
    "=",
    ".inf",
    "0x1f",
    "1:30",
    "é",
    "{{7*7}}",
]
HOSTILE = ["<script>", "a\0b", "\u202egnp.exe", "\x1b[31m", "x" * 300, "l\nl", "\U0001f600", "\x85", "\ufeff", "2024-01-01", "on"]


def test_words_that_yaml_misreads_and_hostile_names_come_back() -> None:
    columns = {name: {"kind": "categorical", "categories": WORDS + HOSTILE} for name in WORDS + HOSTILE}
    schema = Schema.model_validate({"columns": columns, "target": "no", "sensitive": ["1e5", "a\0b"]})
    assert reread(schema) == schema
    assert dump_schema(schema).isascii() is False and all(line.isprintable() for line in dump_schema(schema).split("\n"))


names = st.text(st.characters(exclude_categories=["Cs", "Cn"]), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    categories=st.lists(names, min_size=1, max_size=4),
    low=st.floats(-1e308, 1e308),
    points=st.lists(st.floats(-1, 1), max_size=2, unique=True),
    name=names,
)
def test_every_schema_comes_back(categories: list[str], low: float, points: list[float], name: str) -> None:
    document: dict[str, Any] = {
        "columns": {
            f"c{name}": {"kind": "categorical", "categories": categories},
            f"n{name}": {"kind": "numeric", "low": low, "high": 1.7e308},
        }
    }
    document["columns"][f"p{name}"] = {"kind": "numeric", "low": -1, "high": 1, "points": points, "source": "data", "missing": True}
    try:
        schema = parse_schema(document, where="test")
    except SchemaError:  # Unicode twins among the categories
        return
    assert reread(schema) == schema


def test_every_column_has_one_line_that_shows_its_source() -> None:
    _, schema = load("adult")
    lines = [line for line in dump_schema(schema).splitlines() if line.startswith("  ")]
    assert len(lines) == len(schema.columns) and all("source: public" in line for line in lines)
    assert reread(schema) == schema


def test_a_json_schema_of_a_run_folder_is_read_too(tmp_path: Path) -> None:
    _, schema = load("adult")
    (tmp_path / "schema.json").write_text(schema.model_dump_json())
    assert load_schema(tmp_path / "schema.json") == schema


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("columns: {a: {kind: integer, low: ?, high: 3}}", "still to be filled in"),
        ("columns: {a: {kind: integer, low: 3, high: 1}}", "must not exceed"),
        ("columns: {a: {kind: integer, low: 0.5, high: 1}}", "whole bounds"),
        ("columns: {a: {kind: integer, low: 0, high: 1.0e+20}}", "declare the column numeric"),
        ("columns: {a: {kind: integer, low: 0, high: 9, points: [0.5]}}", "whole points"),
        ("columns: {a: {kind: numeric, low: 0, high: .inf}}", "finite"),
        ("columns: {a: {kind: numeric, low: 0, high: .nan}}", "finite"),
        ("columns: {a: {kind: datetime, low: 2024-02-01, high: 2024-01-01}}", "later"),
        ("columns: {a: {kind: datetime, low: soon, high: 2024-01-01}}", "ISO 8601"),
        ("columns: {a: {kind: categorical, categories: [x, x]}}", "twice"),
        ('columns: {a: {kind: categorical, categories: ["\\u00e9", "e\\u0301"]}}', "twice"),
        ("columns: {a: {kind: categorical, categories: []}}", "at least 1"),
        ("columns: {a: {kind: boolean, bounds: 3}}", "unknown key"),
        ("columns: {1: {kind: boolean}}", "in quotes"),
        ("columns: {a: {kind: boolean}, a: {kind: boolean}}", "twice"),
        ('columns: {"\\u00e9": {kind: boolean}, "e\\u0301": {kind: boolean}}', "two Unicode spellings"),
        ("columns: {a: {kind: boolean}}\ntarget: b", "not among the columns"),
        ("columns: {a: {kind: boolean}}\nunit: a", "names persons"),
        ("columns: {}", "at least one"),
        ("- a", "not a schema"),
        ("columns: [a]", "not a schema"),
        ("a: &x [1]\ncolumns: *x", "aliases"),
        ("columns: !!python/object/apply:os.system [ls]", "not valid YAML"),
    ],
)
def test_a_schema_that_cannot_be_meant_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SchemaError, match=says) as caught:
        load_schema(tmp_path / "s.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_schema_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"nowhere\.yaml"):
        load_schema(tmp_path / "nowhere.yaml")


def test_a_public_schema_is_accepted() -> None:
    require_public(load("adult")[1])


def test_entries_read_from_the_records_are_refused_and_the_others_not_mentioned() -> None:
    document = {
        "declared_by": "form 7",
        "columns": {
            "age": {"kind": "integer", "low": 31, "high": 77, "source": "data"},
            "sex": {"kind": "categorical", "categories": ["f"]},
        },
    }
    with pytest.raises(PrivacyRefused) as caught:
        require_public(Schema.model_validate(document))
    message = str(caught.value)
    assert "  age: {kind: integer, low: ?, high: ?, missing: ?, source: public, declared_by: ?}" in message
    assert "31" not in message and "77" not in message and "sex" not in message


def entries(**columns: dict[str, Any]) -> Schema:
    flag = {"kind": "boolean"}
    return Schema.model_validate({"columns": {name: {**flag, **said} for name, said in columns.items()}})


def refusal(schema: Schema) -> str:
    with pytest.raises(PrivacyRefused) as caught:
        require_public(schema)
    return str(caught.value)


def test_a_claim_to_have_paid_is_refused_where_nothing_was_measured() -> None:
    paid, public = {"source": "private-paid", "declared_by": "us"}, {"declared_by": "us"}
    message = refusal(entries(a=paid, b=public))
    assert "1 of 2 columns is marked private-paid" in message
    assert "  a: {kind: boolean, missing: ?, source: public, declared_by: ?}" in message and "  b:" not in message


@pytest.mark.parametrize("nobody", ["", " "])
def test_a_public_entry_that_nobody_declared_is_refused_with_the_line_to_fill_in(nobody: str, tmp_path: Path) -> None:
    declared = {"declared_by": "form 7"}
    message = refusal(entries(a=declared, b={"declared_by": nobody}, c={}))
    assert "2 of 3 columns" in message and "'b', 'c'" in message and message.endswith("\ndeclared_by: ?")
    require_public(entries(a=declared, b=declared))
    require_public(entries(a={}, b={}).model_copy(update={"declared_by": "form 7"}))
    assert "'a', 'b'" in refusal(entries(a={}, b={}).model_copy(update={"declared_by": nobody}))
    (tmp_path / "s.yaml").write_text("declared_by: ?\ncolumns: {a: {kind: boolean}}\n")
    with pytest.raises(SchemaError, match="still to be filled in"):
        load_schema(tmp_path / "s.yaml")


def test_a_drafted_file_asks_who_stands_for_it_and_declared_it_is_accepted(tmp_path: Path) -> None:
    draft = dump_schema(draft_schema(pd.DataFrame({"a": [1, 2]})))
    assert 'declared_by: ""  # who stands' in draft
    for text, said in ((draft, "read from the records"), (draft.replace("source: data", "source: public"), "nobody is named")):
        (tmp_path / "s.yaml").write_text(text)
        assert said in refusal(load_schema(tmp_path / "s.yaml"))
    (tmp_path / "s.yaml").write_text(draft.replace("source: data", "source: public").replace('""', "form 7"))
    require_public(load_schema(tmp_path / "s.yaml"))


def test_without_a_schema_names_and_kinds_are_printed_and_no_value_of_any_record() -> None:
    frame = pd.DataFrame(
        {
            "when": ["2031-05-06", None],
            "city": ["Secretville", "Hiddentown"],
            "pay": [98765.4321, 0.5],
            "k": [424242, 1],
            "ok": ["true", None],
        }
    )
    with pytest.raises(PrivacyRefused) as caught:
        require_public(draft_schema(frame))
    message = str(caught.value)
    for value in ("2031", "Secretville", "Hiddentown", "98765", "4321", "424242", "decimals"):
        assert value not in message
    for name, column in draft_schema(frame).columns.items():
        assert f"  {name}: {{kind: {column.kind}, " in message


def test_the_printed_lines_filled_in_are_a_schema(tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": [3, 4], "city": ["a", "b"], "day": ["2024-01-01"] * 2, "ok": ["true", "false"]})
    with pytest.raises(PrivacyRefused) as caught:
        require_public(draft_schema(frame))
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    for question, answer in (
        ("low: ?, high: ?", "low: 1, high: 9"),
        ("[?]", "[a, b]"),
        ("missing: ?", "missing: false"),
        ("declared_by: ?", "declared_by: me"),
    ):
        lines = [line.replace(question, answer) for line in lines]
    lines = [line.replace("low: 1, high: 9", "low: 2020-01-01, high: 2030-01-01") if "datetime" in line else line for line in lines]
    (tmp_path / "s.yaml").write_text("columns:\n" + "\n".join(lines))
    require_public(load_schema(tmp_path / "s.yaml"))


CONTENTS: dict[str, dict[str, Any]] = {
    "image": {"height": 28, "width": 20, "channels": 3},
    "text": {"vocabulary": "characters", "alphabet": ' "#:{}?no\u2028é“', "length": 64},
    "music": {"encoding": "grid", "voices": ["no", "bass: low"], "low": 36, "high": 84},
    "series": {"channels": {"é": {"low": -5, "high": 5.5}, "1": {"low": 0, "high": 1}}, "steps": 24, "missing": True},
}


def with_content(modality: str, **said: Any) -> Schema:
    """A schema of these contents, without columns unless some are said."""
    content = CONTENTS[modality] | {key: said.pop(key) for key in ("source", "declared_by") if key in said}
    return Schema.model_validate({"modality": modality, modality: content, **said})


@pytest.mark.parametrize("modality", CONTENTS)
def test_what_is_no_table_comes_back_with_its_content(modality: str, tmp_path: Path) -> None:
    columns = {"digit": {"kind": "categorical", "categories": ["no", "1"]}}
    for schema in (
        with_content(modality),
        with_content(modality, declared_by="form 7", records=9, unit="who"),
        with_content(modality, source="data", columns=columns, target="digit", sensitive=["digit"]),
    ):
        assert reread(schema) == schema
        text = dump_schema(schema)
        assert f"modality: {modality}\n" in text and ("columns:" in text) == bool(schema.columns)
        (tmp_path / "schema.json").write_text(schema.model_dump_json())
        assert load_schema(tmp_path / "schema.json") == schema


def test_merges_come_back() -> None:
    merges = ["Ġ t", "h e", '" #', "\\ Ń"]
    merged = Schema.model_validate({"modality": "text", "text": {"vocabulary": "bpe", "merges": merges}})
    assert reread(merged) == merged


@pytest.mark.parametrize("modality", CONTENTS)
def test_a_content_read_from_the_records_is_refused_with_the_line_that_would_declare_it(modality: str, tmp_path: Path) -> None:
    said = refusal(with_content(modality, source="data", columns={"ok": {"kind": "boolean", "declared_by": "form 7"}}))
    assert f"the schema of the {modality} itself was read from the records" in said and "under `columns:`" not in said
    [line] = [line for line in said.splitlines() if line.startswith(f"{modality}: {{")]
    for private in ("28", "alphabet", "36", "84", "5.5", "24", "64"):
        assert private not in line
    filled = (
        line.replace("low: ?", "low: 1")
        .replace("channels: ?", "channels: 3")
        .replace("declared_by: ?", "declared_by: me")
        .replace("missing: ?", "missing: true")
    )
    (tmp_path / "s.yaml").write_text(f"modality: {modality}\n" + filled.replace("variable: ?", "variable: false").replace("?", "9") + "\n")
    require_public(load_schema(tmp_path / "s.yaml"))
    (tmp_path / "s.yaml").write_text(f"modality: {modality}\n{line}\n")
    with pytest.raises(SchemaError, match="still to be filled in"):
        load_schema(tmp_path / "s.yaml")


def test_content_and_columns_are_refused_together() -> None:
    said = refusal(with_content("image", source="data", columns={"a": {"kind": "boolean", "source": "data"}, "b": {"kind": "boolean"}}))
    assert "the schema of the image itself and 1 of 2 columns was read" in said
    assert "\nimage: {height: ?" in said and "\n  a: {kind: boolean" in said and "\n  b:" not in said


def test_a_content_that_nobody_declared_is_refused() -> None:
    assert "nobody is named who declared it: the text itself" in refusal(with_content("text"))
    require_public(with_content("text", declared_by="us"))
    require_public(with_content("text").model_copy(update={"declared_by": "us"}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modality: image\ncolumns: {}", "needs a section image:"),
        ("modality: text\ntext: {}\ncolumns: [a]", "not a schema"),
        ("modality: text\ntext: {}\nimage: {height: 1, width: 1}", "has no image:"),
        ("text: {}", "not a schema"),
        ("modality: text\ntext: {}\ncolumns: {text: {kind: boolean}}", "is the content"),
        ("modality: text\ntext: {words: 3}", "unknown key 'text.words'"),
        ("modality: music\nmusic: {low: 9, high: 3}", "must not exceed"),
        ("modality: series\nseries: {steps: 4, channels: [a]}", "series.channels"),
        ("modality: poetry\ncolumns: {}", "modality"),
    ],
)
def test_a_broken_content_is_refused_in_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SchemaError, match=says):
        load_schema(tmp_path / "s.yaml")
