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


def test_hostile_words_do_not_reach_the_terminal(visits, own_home, capsys):
    spend(own_home, visits, what="\x1b[2J\u202egnp", unit="\x1b[31mid")
    assert run(["budget", str(visits)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\u202e" not in out
