"""The demo empties what a demo made and nothing else; the whole of it, on the census, is slow and marked so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardrail.registry.home import Home
from guardrail.registry.runs import Registry
from guardrail.run.demo import HOME, RUNS, demo_order, run_demo
from guardrail.run.pipeline import Listener, train_run
from guardrail.vocabulary.errors import InputError, SpecError


class Stopped(Exception):
    """Raised by a listener, once it has seen enough."""


def stop_at(word: str) -> Listener:
    def stage(what: str) -> None:
        if word in what:
            raise Stopped

    return Listener(stage=stage)


def start(out: Path, word: str = "reading") -> None:
    """A demo up to a stage: what it does before costs next to nothing."""
    with pytest.raises(Stopped):
        run_demo(out, epsilon=3, listener=stop_at(word))


def leave(out: Path, name: str) -> Path:
    (out / RUNS / name).mkdir(parents=True)
    (out / RUNS / name / "spec.yaml").write_text("x")
    return out / RUNS / name


def test_the_order_of_the_demo_is_private_public_data_with_both_verdicts():
    order = demo_order(2.5)
    assert order.spec.data.source == "builtin:adult" and order.spec.generator.name == "made"
    assert order.spec.privacy.epsilon == 2.5 and order.spec.privacy.noise == "secure"
    assert (order.spec.policy, order.also) == ("research", ("release",))
    assert all(getattr(order.words, field) for field in ("title", "intended_use", "prohibited_use", "limits", "licence"))


@pytest.mark.parametrize("epsilon", [0, -1, float("nan"), float("inf"), 1e6])
def test_a_senseless_epsilon_is_refused_before_anything_is_emptied(tmp_path, epsilon):
    start(tmp_path)
    old = leave(tmp_path, "old")
    with pytest.raises(SpecError, match="epsilon"):
        run_demo(tmp_path, epsilon=epsilon, listener=Listener())
    assert old.is_dir()


def test_a_second_demo_empties_home_and_runs_of_the_first(tmp_path):
    start(tmp_path)
    first, old = Home(tmp_path / HOME).id, leave(tmp_path, "old")
    (tmp_path / "notes.txt").write_text("mine")
    start(tmp_path)
    assert Home(tmp_path / HOME).id != first and not old.exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_runs_that_no_demo_made_are_kept_and_named(tmp_path):
    old = leave(tmp_path, "mine")
    with pytest.raises(InputError, match="no demo made"):
        run_demo(tmp_path, epsilon=3, listener=Listener())
    assert old.is_dir() and not (tmp_path / HOME).exists()


def test_runs_beside_an_empty_folder_for_a_home_are_kept(tmp_path):
    old = leave(tmp_path, "mine")
    (tmp_path / HOME).mkdir()
    with pytest.raises(InputError, match="no demo made"):
        run_demo(tmp_path, epsilon=3, listener=Listener())
    assert old.is_dir()


def test_a_home_with_a_ledger_and_its_runs_are_kept(tmp_path):
    home, old = Home(tmp_path / HOME), leave(tmp_path, "mine")
    before = home.id, home.key()
    with pytest.raises(InputError):
        run_demo(tmp_path, epsilon=3, listener=Listener())
    old.joinpath("spec.yaml").unlink()
    old.rmdir()
    old.parent.rmdir()
    with pytest.raises(InputError, match="would forget what was spent"):
        run_demo(tmp_path, epsilon=3, listener=Listener())
    assert (home.id, home.key()) == before


def test_runs_behind_a_link_are_not_followed(tmp_path):
    start(tmp_path / "demo")
    mine = leave(tmp_path / "other", "mine")
    (tmp_path / "demo" / RUNS).symlink_to(mine.parent)
    with pytest.raises(InputError):
        run_demo(tmp_path / "demo", epsilon=3, listener=Listener())
    assert mine.is_dir()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        run_demo(tmp_path / "demo", epsilon=3, listener=Listener())
    assert (tmp_path / "demo").read_text() == "mine"


def test_a_demo_that_was_stopped_while_it_emptied_goes_on_the_next_time(tmp_path):
    start(tmp_path)
    (tmp_path / HOME / "home.json").unlink()  # what a kill leaves between the emptying of a home and its making
    start(tmp_path)
    assert Home(tmp_path / HOME).throwaway


def test_the_demo_trains_on_the_census_in_its_own_home(tmp_path, monkeypatch):
    """The demo's order with fewer epochs and the smallest model, up to the receipt."""
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "other"))
    order, home = demo_order(3), Home.empty(tmp_path / HOME)
    quick = order.spec.model_copy(update={"generator": order.spec.generator.model_copy(update={"name": "marginals"})})
    made = train_run(type(order)(quick, order.base, order.words, order.also), home=home, runs=tmp_path / RUNS)
    claim = made.model.receipt.privacy
    assert claim.epsilon <= 3 and len(claim.schema_sources) == 15
    assert all(source.startswith("public") for source in claim.schema_sources.values())
    assert [record.id for record in Registry(home).runs()] == [made.folder.id]
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_the_whole_demo_twice_in_the_same_folder(tmp_path):
    for _ in range(2):
        made = run_demo(tmp_path, epsilon=3, listener=Listener())
    assert [path.name for path in (tmp_path / RUNS).iterdir()] == [made.folder.id]
    assert [record.id for record in Registry(made.home).runs()] == [made.folder.id]
    assert {verdict.policy for verdict in made.verdicts} == {"research", "release"}
    card = json.loads((made.folder.path / "card.json").read_text())
    assert card["privacy"]["claimed"] and len(card["verdicts"]) == 2
    assert all(finding.status == "measured" or finding.reason for finding in made.report.findings)
