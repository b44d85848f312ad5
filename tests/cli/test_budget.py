import json

import pytest

from guardrail.__main__ import run
from guardrail.data.fingerprint import fingerprint
from guardrail.data.tables import read_table
from guardrail.registry.ledger import Ledger
from guardrail.vocabulary.receipt import GaussianQuery


@pytest.fixture
def visits(tmp_path, own_home):
    (tmp_path / "visits.csv").write_text("age,sex\n30,f\n41,m\n30,f\n")
    return tmp_path / "visits.csv"


def spend(home, path, **changes):
    values = {"unit": "row", "relation": "add-or-remove one unit", "epsilon": 1.0, "delta": 1e-5, "what": "train made (clinic)"} | changes
    mechanisms = (GaussianQuery(what="counts", sensitivity=1, noise_multiplier=6),)
    return Ledger(home).reserve(fingerprint(read_table(path), home.key()), mechanisms=mechanisms, **values)


def test_an_untouched_data_set_has_spent_nothing(visits, capsys):
    assert run(["budget", str(visits)]) == 0
    assert "nothing yet" in capsys.readouterr().out


def test_what_was_spent_is_shown_with_what_is_left(visits, own_home, capsys):
    spend(own_home, visits)
    assert run(["budget", str(visits), "--limit", "5", "--delta", "1e-6"]) == 0
    out = capsys.readouterr().out
    assert "limit  epsilon 5 at delta 1e-06" in out and "train made (clinic)" in out and "left" in out and "reserved" in out
    assert own_home.id in out


def test_row_order_and_format_do_not_hide_what_was_spent(visits, own_home, capsys, tmp_path):
    spend(own_home, visits)
    frame = read_table(visits)
    frame.iloc[::-1].to_parquet(tmp_path / "same.parquet")
    assert run(["budget", str(tmp_path / "same.parquet"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["entries"]) == 1


def test_json_is_one_object_with_units_apart(visits, own_home, capsys):
    spend(own_home, visits)
    spend(own_home, visits, unit="patient_id")
    assert run(["budget", str(visits), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [group["unit"] for group in found["groups"]] == ["row", "patient_id"] and found["warnings"]


@pytest.mark.parametrize(
    "words", [["--limit", "0"], ["--limit", "-1"], ["--limit", "nan"], ["--delta", "0"], ["--delta", "1"], ["--delta", "nan"]]
)
def test_senseless_numbers_exit_2_and_change_nothing(visits, own_home, capsys, words):
    assert run(["budget", str(visits), *words]) == 2
    assert capsys.readouterr().out == ""
    assert run(["budget", str(visits)]) == 0
    assert "limit  none" in capsys.readouterr().out


def test_data_that_are_not_there_exit_2(own_home, capsys):
    assert run(["budget", "missing.csv"]) == 2
    assert run(["budget", "builtin:nothing"]) == 2


def unbounded(home, path, reason="no privacy", **changes):
    values = {"unit": "row", "what": "train made (plain)"} | changes
    return Ledger(home).record_unbounded(fingerprint(read_table(path), home.key()), reason=reason, **values)


def test_trainings_that_no_epsilon_bounds_are_shown_beside_the_private_ones(visits, own_home, capsys):
    unbounded(own_home, visits)
    assert run(["budget", str(visits)]) == 0
    out = capsys.readouterr().out
    assert "1 training without privacy: no epsilon covers this data set as a whole" in out
    assert "nothing yet" not in out and "spent  epsilon" not in out and "private trainings alone" not in out
    spend(own_home, visits)
    unbounded(own_home, visits)
    unbounded(own_home, visits, "seeded noise")
    assert run(["budget", str(visits)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("2 trainings without privacy and 1 with seeded noise: no epsilon covers this data set as a whole" in line for line in lines)
    assert any(line.startswith("spent  epsilon") and "private trainings alone" in line for line in lines)
    assert sum("no bound" in line and "no privacy" in line for line in lines) == 2
    assert sum("no bound" in line and "seeded noise" in line for line in lines) == 1


def test_json_has_a_null_epsilon_for_them(visits, own_home, capsys):
    unbounded(own_home, visits)
    spend(own_home, visits)
    assert run(["budget", str(visits), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["epsilon"] for entry in found["entries"]] == [None, 1.0]
    assert found["unbounded"] == 1 and "no epsilon covers" in found["uncovered"]
    assert [group["runs"] for group in found["groups"]] == [1]


def test_a_limit_set_afterwards_says_that_what_was_taken_stays_taken(visits, own_home, capsys):
    unbounded(own_home, visits)
    assert run(["budget", str(visits), "--limit", "3"]) == 0
    out = capsys.readouterr().out
    assert "limit  epsilon 3" in out and "stays taken" in out


SPEC = """
name: clinic
data: {source: visits.csv, schema: visits.schema.yaml, holdout: 0}
generator: {name: marginals}
training: {epochs: 1, device: cpu}
sample: {marks: []}
"""
SCHEMA = """
declared_by: the clinic
columns:
  age: {kind: integer, low: 0, high: 120}
  sex: {kind: categorical, categories: [f, m]}
"""


def test_a_plain_run_on_limited_data_exits_3_and_writes_nothing(visits, own_home, capsys, tmp_path):
    (tmp_path / "visits.schema.yaml").write_text(SCHEMA)
    spec, runs = tmp_path / "spec.yaml", tmp_path / "runs"
    seeded, private = (f"privacy: {{epsilon: 1, records: 3, noise: {noise}}}\n" for noise in ("seeded", "secure"))
    assert run(["budget", str(visits), "--limit", "3"]) == 0
    for section, remedy in (("", "`privacy:`"), (seeded, "`noise: secure`")):
        spec.write_text(SPEC + section)
        for command in ("train", "run"):
            capsys.readouterr()
            assert run([command, str(spec), "--runs", str(runs)]) == 3
            error = capsys.readouterr().err
            assert "refused by the limit" in error and "epsilon 3" in error and remedy in error and "Traceback" not in error
    assert not runs.exists()
    spec.write_text(SPEC + private)
    assert run(["train", str(spec), "--runs", str(runs)]) == 0
    assert run(["budget", str(visits), "--json"]) == 0
    found = capsys.readouterr().out
    assert json.loads(found[found.index("{") :])["unbounded"] == 0


def test_a_plain_run_is_in_the_budget_and_the_next_private_one_says_so(visits, own_home, capsys, tmp_path):
    (tmp_path / "visits.schema.yaml").write_text(SCHEMA)
    spec, runs = tmp_path / "spec.yaml", tmp_path / "runs"
    spec.write_text(SPEC)
    assert run(["train", str(spec), "--runs", str(runs)]) == 0
    assert "without a privacy claim" in capsys.readouterr().out
    assert run(["budget", str(visits)]) == 0
    assert "train marginals (clinic)" in capsys.readouterr().out
    spec.write_text(SPEC + "privacy: {epsilon: 1, records: 3}\n")
    assert run(["train", str(spec), "--runs", str(runs)]) == 0
    assert "note: 1 training without privacy: no epsilon covers this data set as a whole" in capsys.readouterr().err


def test_a_parent_that_is_no_fingerprint_is_refused_before_it_joins_nothing(visits, own_home, capsys, tmp_path):
    (tmp_path / "visits.schema.yaml").write_text(SCHEMA)
    (tmp_path / "spec.yaml").write_text(SPEC.replace("holdout: 0", "holdout: 0, parent: all-visits.csv"))
    assert run(["train", str(tmp_path / "spec.yaml"), "--runs", str(tmp_path / "runs")]) == 2
    assert "all-visits.csv" in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_the_name_that_is_printed_is_a_parent_and_one_wrong_digit_is_none(visits, own_home, capsys, tmp_path):
    (tmp_path / "visits.schema.yaml").write_text(SCHEMA)
    (tmp_path / "all.csv").write_text(visits.read_text() + "50,m\n")
    assert run(["budget", str(tmp_path / "all.csv"), "--json"]) == 0
    name = json.loads(capsys.readouterr().out)["data"]
    for parent, code in ((name[:-1] + ("0" if name[-1] != "0" else "1"), 2), (name, 0)):
        (tmp_path / "spec.yaml").write_text(SPEC.replace("holdout: 0", f'holdout: 0, parent: "{parent}"'))
        assert run(["train", str(tmp_path / "spec.yaml"), "--runs", str(tmp_path / "runs")]) == code
        assert ("guardrail budget" in capsys.readouterr().err) == bool(code)
    assert run(["budget", str(visits)]) == 0
    assert name in capsys.readouterr().out


def test_hostile_words_do_not_reach_the_terminal(visits, own_home, capsys):
    spend(own_home, visits, what="\x1b[2J\u202egnp", unit="\x1b[31mid")
    assert run(["budget", str(visits)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\u202e" not in out
