import datetime as dt
import json

from guardrail.__main__ import run
from guardrail.registry.runs import Registry, RunRecord, read_folder


def test_an_empty_registry_says_how_to_begin(own_home, capsys):
    assert run(["runs"]) == 0
    assert "guardrail demo" in capsys.readouterr().out
    assert run(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"home": own_home.id, "runs": []}


def test_runs_are_listed_with_cost_and_verdict(own_home, make_run, capsys):
    registry = Registry(own_home)
    registry.add_run(read_folder(make_run()))
    registry.add_run(read_folder(make_run("20261124-plain", private=False)))
    assert run(["runs"]) == 0
    out = capsys.readouterr().out
    assert "2.97" in out and "no claim" in out and out.count("release: fail") == 2
    assert run(["runs", "--json"]) == 0
    assert [one["epsilon"] for one in json.loads(capsys.readouterr().out)["runs"]] == [None, 2.97]


def test_hostile_names_do_not_reach_the_terminal(own_home, capsys):
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    Registry(own_home).add_run(RunRecord(id="x", name="\x1b[2J\u202e=cmd()", created=moment, path="/x", family="\nmade", verdicts={}))
    assert run(["runs"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\u202e" not in out and len(out.splitlines()) == 3
