"""`guardrail init` as a newcomer meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardrail.__main__ import run
from guardrail.data.schema_file import load_schema
from guardrail.judging.policies import load
from guardrail.run.starter import Table, starter_files
from guardrail.vocabulary.card import Words
from guardrail.vocabulary.documents import parse_yaml, read_yaml
from guardrail.vocabulary.frozen import parse
from guardrail.vocabulary.spec import Spec

ROWS = [f"p{k % 40},{20 + k * 7 % 60},{'ABC'[k % 3]},{'yes' if k % 4 else 'no'}" for k in range(120)]
TABLE = "\n".join(["patient,age,ward,readmitted", *ROWS]) + "\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _spec(path: str = "spec.yaml") -> Spec:
    return parse(Spec, read_yaml(Path(path)), where=path)


def _files() -> set[str]:
    return {path.as_posix() for path in Path().rglob("*") if path.is_file()}


def test_a_spec_to_start_from_parses_and_is_private_at_epsilon_3():
    assert run(["init", "tabular"]) == 0
    assert _files() == {"spec.yaml", "card.yaml", "policy.yaml"}
    spec = _spec()
    assert spec.privacy is not None
    assert (spec.privacy.epsilon, spec.privacy.delta, spec.privacy.noise) == (3, 1e-5, "secure")
    assert (spec.data.target, spec.data.sensitive, spec.data.unit) == (None, None, None)
    assert (spec.data.schema_, spec.policy, spec.card) == ("schema.yaml", "release", "card.yaml")


def test_every_key_of_the_card_is_asked_for_and_none_is_answered_for_people():
    assert run(["init", "tabular"]) == 0
    words = parse(Words, read_yaml(Path("card.yaml")), where="card.yaml")
    assert set(read_yaml(Path("card.yaml"))) == set(Words.model_fields)
    assert {value for name, value in words if name != "title"} == {""}


def test_the_policy_of_ones_own_has_the_rules_of_release_and_another_name():
    assert run(["init", "tabular"]) == 0
    own, release = load(Path("policy.yaml")).policy, load("release").policy
    assert own.rules == release.rules
    assert own.name != release.name


def test_roles_named_without_a_table_stand_in_the_spec():
    assert run(["init", "tabular", "--target", "no", "--sensitive", "sex: at birth,on", "--unit", "#id"]) == 0
    data = _spec().data
    assert (data.target, data.sensitive, data.unit) == ("no", ("sex: at birth", "on"), "#id")


def test_with_a_table_the_schema_is_drafted_and_nothing_in_it_claims_to_be_public():
    Path("sub").mkdir()
    Path("Visits 2024.csv").write_text(TABLE)
    table = ["--data", "Visits 2024.csv", "--target", "readmitted", "--sensitive", "ward", "--unit", "patient", "--dir", "sub"]
    assert run(["init", "tabular", *table]) == 0
    assert _spec("sub/spec.yaml").data.source == "../Visits 2024.csv"
    assert _spec("sub/spec.yaml").name == "Visits-2024"
    schema = load_schema(Path("sub/schema.yaml"))
    assert (schema.target, schema.sensitive, schema.unit) == ("readmitted", ("ward",), "patient")
    assert list(schema.columns) == ["age", "ward", "readmitted"]
    assert {column.source for column in schema.columns.values()} == {"data"}


def test_the_drafted_schema_is_refused_by_a_private_run_until_it_is_declared_public(capsys):
    Path("visits.csv").write_text(TABLE)
    assert run(["init", "tabular", "--data", "visits.csv", "--target", "readmitted", "--unit", "patient"]) == 0
    assert run(["train", "spec.yaml"]) == 2
    assert "age: {kind: integer, low: ?, high: ?" in capsys.readouterr().err


@pytest.mark.parametrize("template", ["tabular", "ci"])
def test_nothing_is_overwritten_and_nothing_written_beside_what_is_there(template: str, capsys):
    there = Path("card.yaml") if template == "tabular" else Path(".github/workflows/guardrail.yml")
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text("mine")
    assert run(["init", template]) == 2
    assert str(there) in capsys.readouterr().err
    assert _files() == {there.as_posix()}
    assert there.read_text() == "mine"


def test_a_dangling_link_is_something_that_is_there():
    Path("spec.yaml").symlink_to("nowhere.yaml")
    assert run(["init", "tabular"]) == 2
    assert not Path("nowhere.yaml").exists()


def test_the_workflow_is_yaml_that_audits_verifies_and_asks_for_no_rights():
    assert run(["init", "ci", "--dir", "new"]) == 0
    workflow = yaml.safe_load(Path("new/.github/workflows/guardrail.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    steps = " ".join(step.get("run", "") for step in workflow["jobs"]["audit"]["steps"])
    assert "guardrail audit --train" in steps
    assert "guardrail verify" in steps
    assert "secrets." not in Path("new/.github/workflows/guardrail.yml").read_text()


def test_the_audit_line_of_the_workflow_is_one_the_command_takes():
    from guardrail.cli.audit import audit

    assert run(["init", "ci"]) == 0
    workflow = yaml.safe_load(Path(".github/workflows/guardrail.yml").read_text())
    (line,) = [step["run"] for step in workflow["jobs"]["audit"]["steps"] if "guardrail audit" in step.get("run", "")]
    for name, value in workflow["env"].items():
        line = line.replace(f'"${name}"', value)
    assert "$" not in line
    audit.make_context("audit", line.split()[2:])


@pytest.mark.parametrize("template", ["image", "text", "music", "series"])
def test_a_template_runs_as_it_is_on_built_in_data(template: str, capsys):
    """That its spec is one: names, options, policy and card exist and fit."""
    from guardrail.run.pipeline import read_order

    assert run(["init", template]) == 0
    assert _files() == {"spec.yaml", "card.yaml", "policy.yaml"}
    assert f"guardrail run {Path('spec.yaml')}" in capsys.readouterr().out
    order = read_order(Path("spec.yaml"))
    assert order.spec.data.source.startswith("builtin:") and order.spec.privacy is None


def test_roles_beside_built_in_data_are_refused(capsys):
    assert run(["init", "image", "--target", "label"]) == 2
    assert "bring their own roles" in capsys.readouterr().err
    assert _files() == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tabluar"], "did you mean 'tabular'?"),
        (["ci", "--target", "x"], "takes no table"),
        (["tabular", "--data", "absent.csv"], "absent.csv"),
        (["tabular", "--data", "visits.csv", "--target", "readmited"], "did you mean 'readmitted'?"),
        (["tabular", "--data", "visits.csv", "--sensitive", "ward,sex"], "no column 'sex'"),
    ],
)
def test_what_cannot_be_meant_exits_2_and_writes_nothing(arguments: list[str], said: str, capsys):
    Path("visits.csv").write_text(TABLE)
    assert run(["init", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert _files() == {"visits.csv"}


@given(st.lists(st.text(min_size=1, max_size=30), min_size=4, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_of_a_column_comes_back_from_the_spec_unchanged(names: list[str]):
    target, first, second, unit = names
    files = starter_files("tabular", Path(), Table(target=target, sensitive=(first, second), unit=unit))
    data = parse(Spec, parse_yaml(files[Path("spec.yaml")], where="spec"), where="spec").data
    assert (data.target, data.sensitive, data.unit) == (target, (first, second), unit)


@pytest.mark.parametrize("name", ["a: b #c.csv", "line\nbreak.csv", "next\x85line.csv", 'quote".csv', "$source.csv", "no.csv"])
def test_any_name_of_a_file_comes_back_from_the_spec_unchanged(name: str):
    Path(name).write_text(TABLE)
    assert run(["init", "tabular", "--data", name, "--unit", "patient"]) == 0
    assert _spec().data.source == name
    assert load_schema(Path("schema.yaml")).unit == "patient"
