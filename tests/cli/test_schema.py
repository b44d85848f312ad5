"""`guardrail schema` from the outside: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardrail.__main__ import run
from guardrail.data.schema_file import load_schema


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    path = tmp_path / "visits.csv"
    path.write_text("who,age,sex,again\np1,30,f,no\np2,41,m,yes\np2,42,m,no\n")
    return path


def test_the_draft_is_printed_and_the_warning_goes_to_stderr(visits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", str(visits), "--target", "again", "--sensitive", "sex", "--unit", "who"]) == 0
    out, err = capsys.readouterr()
    assert "  age: {kind: integer, low: 30, high: 42, source: data}" in out
    assert 'again: {kind: categorical, categories: ["no", "yes"], source: data}' in out
    assert "unit: who" in out and "who:" not in out.replace("unit: who", "")
    assert "3 entries were read from the records" in err and "private run refuses" in err


def test_the_file_it_writes_is_a_schema_and_is_not_overwritten_by_accident(
    visits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "visits.schema.yaml"
    assert run(["schema", str(visits), "-o", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert set(load_schema(out).columns) == {"who", "age", "sex", "again"}
    out.write_text("edited by hand")
    assert run(["schema", str(visits), "-o", str(out)]) == 2
    assert out.read_text() == "edited by hand" and "--force" in capsys.readouterr().err
    assert run(["schema", str(visits), "-o", str(out), "--force"]) == 0
    assert "age" in load_schema(out).columns


def test_json_is_one_object_on_stdout(visits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", str(visits), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["columns"]["age"]["source"] == "data"


def test_the_example_of_the_help_runs_and_prints_the_public_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "--help"]) == 0
    example = next(line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("guardrail schema"))
    assert run(example[1:]) == 0
    out, err = capsys.readouterr()
    assert "source: data" not in out and "every entry is public" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.csv"], "no such file"),
        (["builtin:adlt"], "did you mean 'adult'"),
        (["{visits}", "--target", "agian"], "did you mean 'again'"),
        (["{visits}", "--sensitive", "sex,gender"], "no column 'gender'"),
        (["{visits}", "--unit", "nobody"], "no column 'nobody'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    visits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    out = tmp_path / "s.yaml"
    assert run(["schema", *[word.format(visits=visits) for word in arguments], "-o", str(out)]) == 2
    printed = capsys.readouterr()
    assert says in printed.err and "Traceback" not in printed.err and printed.out == "" and not out.exists()


def test_a_column_of_names_is_refused_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("name\n" + "".join(f"n{i}x\n" for i in range(10_001)))
    assert run(["schema", str(tmp_path / "t.csv"), "-o", str(tmp_path / "s.yaml")]) == 2
    assert "drop the column" in capsys.readouterr().err and not (tmp_path / "s.yaml").exists()


def test_hostile_column_names_cannot_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("\x1b[31mred,a\0b,\u202egnp\n1,2,3\n")
    assert run(["schema", str(tmp_path / "t.csv")]) == 0
    out = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in out)


def test_a_vocabulary_learned_from_texts_says_so_and_is_refused_where_privacy_is_asked_for(clinic):
    """The words that a byte-pair vocabulary merges give away what the texts say."""
    (clinic.folder / "notes.txt").write_text("the patient sleeps well\nthe patient eats well\nthe ward is quiet\n" * 30)
    said = clinic("schema", "notes.txt", "--merges", "20", "-o", "notes.yaml")
    assert said.code == 0 and "source: data" in (clinic.folder / "notes.yaml").read_text()
    assert clinic("schema", "visits.csv", "--merges", "20").code == 2
    spec = clinic.spec(
        data={"source": "notes.txt", "schema": "notes.yaml", "target": None, "sensitive": None},
        generator={"name": "lstm"},
        privacy={"epsilon": 3, "records": 90},
    )
    refused = clinic("train", spec)
    assert refused.code == 2 and "read from the records" in refused.err and not clinic.runs
