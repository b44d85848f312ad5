"""Trainings that no epsilon bounds: without privacy, or with noise that whoever knows the seed removes."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from guardrail.registry.home import Home
from guardrail.registry.ledger import Ledger, Reservation
from guardrail.vocabulary.errors import ArtifactError, BudgetExceeded, SpecError
from guardrail.vocabulary.receipt import GaussianQuery

DATA = "hmac-sha256:" + "a" * 64
OTHER = "hmac-sha256:" + "b" * 64
THIRD = "hmac-sha256:" + "c" * 64


@pytest.fixture
def ledger(own_home) -> Ledger:
    return Ledger(own_home)


def plain(ledger: Ledger, data=DATA, *, reason="no privacy", parent=None) -> Reservation:
    return ledger.record_unbounded(data, reason=reason, unit="row", what="train made (run)", parent=parent)


def private(ledger: Ledger, data=DATA, *, parent=None) -> Reservation:
    mechanisms = (GaussianQuery(what="counts", sensitivity=1, noise_multiplier=6),)
    return ledger.reserve(
        data,
        mechanisms=mechanisms,
        unit="row",
        relation="add-or-remove one unit",
        epsilon=0.7,
        delta=1e-5,
        what="train made (private)",
        parent=parent,
    )


def test_a_training_without_a_bound_is_an_entry_without_an_epsilon(ledger, own_home):
    reservation = plain(ledger)
    summary = ledger.summary(DATA)
    (entry,) = summary.model_dump(mode="json")["entries"]
    assert reservation.reference == f"{own_home.id}/1" and reservation.warnings == ()
    assert entry["epsilon"] is None and entry["delta"] is None
    assert (entry["what"], entry["unit"], entry["reason"], entry["state"]) == ("train made (run)", "row", "no privacy", "spent")
    assert entry["time"]
    assert summary.groups == () and summary.unbounded == 1


def test_the_summary_says_that_no_epsilon_covers_the_whole_and_keeps_the_private_total_beside_it(ledger):
    private(ledger)
    alone = ledger.summary(DATA)
    assert alone.uncovered is None and alone.unbounded == 0
    plain(ledger)
    plain(ledger)
    summary = ledger.summary(DATA)
    assert summary.uncovered == "2 trainings without privacy: no epsilon covers this data set as a whole"
    assert summary.groups == alone.groups
    assert [entry.epsilon for entry in summary.entries] == [0.7, None, None]
    plain(ledger, reason="seeded noise")
    assert ledger.summary(DATA).uncovered == (
        "2 trainings without privacy and 1 with seeded noise: no epsilon covers this data set as a whole"
    )
    plain(ledger, OTHER, reason="seeded noise")
    assert ledger.summary(OTHER).uncovered == "1 training with seeded noise: no epsilon covers this data set as a whole"


@pytest.mark.parametrize(
    "reason, cause, remedy",
    [("no privacy", "without privacy has no epsilon", "`privacy:`"), ("seeded noise", "knows the seed", "`noise: secure`")],
)
def test_no_limit_however_high_has_room_for_it(ledger, reason, cause, remedy):
    ledger.limit(DATA, 1000)
    with pytest.raises(BudgetExceeded) as refused:
        plain(ledger, reason=reason)
    assert refused.value.exit_code == 3
    for words in ("epsilon 1000 at delta 1e-05", "limit", cause, remedy):
        assert words in str(refused.value)
    assert ledger.entries(DATA) == ()


def test_a_limit_on_a_declared_relative_refuses_it_too(ledger):
    ledger.limit(DATA, 5)
    with pytest.raises(BudgetExceeded, match="hmac-sha256:aaaa"):
        plain(ledger, OTHER, parent=DATA)
    private(ledger, OTHER, parent=DATA)
    with pytest.raises(BudgetExceeded):
        plain(ledger, OTHER)
    with pytest.raises(BudgetExceeded):
        plain(ledger, THIRD, parent=OTHER)
    plain(ledger, THIRD)


def test_the_parent_of_a_training_without_a_bound_stays_declared(ledger):
    ledger.know(DATA)
    plain(ledger, OTHER, parent=DATA)
    summary = ledger.summary(DATA)
    assert summary.related == (OTHER,) and summary.unbounded == 1
    ledger.limit(DATA, 5)
    with pytest.raises(BudgetExceeded):
        plain(ledger, OTHER)


def test_a_data_set_is_not_its_own_parent_here_either(ledger):
    with pytest.raises(SpecError):
        plain(ledger, parent=DATA)
    assert ledger.entries(DATA) == ()


def test_a_limit_can_follow_and_says_that_what_came_before_stays(ledger):
    plain(ledger)
    ledger.limit(DATA, 2)
    summary = ledger.summary(DATA)
    assert summary.uncovered and any("stay" in warning and "limit" in warning for warning in summary.warnings)
    private(ledger)
    with pytest.raises(BudgetExceeded):
        plain(ledger)
    assert ledger.summary(DATA).unbounded == 1 and ledger.summary(DATA).groups[0].left is not None


def test_without_trainings_of_no_bound_a_limit_says_nothing_about_them(ledger):
    private(ledger)
    ledger.limit(DATA, 2)
    assert ledger.summary(DATA).warnings == ()


def test_whoever_mixes_both_is_warned_at_each_training(ledger):
    assert plain(ledger).warnings == ()
    assert plain(ledger).warnings == ()
    assert any("no epsilon covers" in warning for warning in private(ledger).warnings)
    assert any("3 trainings without privacy" in warning for warning in plain(ledger).warnings)


def test_there_is_nothing_to_settle(ledger):
    with pytest.raises(ArtifactError, match="no reservation 1"):
        ledger.settle(plain(ledger), ())


@pytest.mark.parametrize("how", ["dropped", "edited", "made private"])
def test_a_training_without_a_bound_cannot_be_taken_out_of_the_chain(ledger, own_home, how):
    private(ledger)
    plain(ledger)
    private(ledger)
    with sqlite3.connect(own_home.path / "registry.sqlite") as connection:
        if how == "dropped":
            connection.execute("DELETE FROM ledger WHERE number = 2")
            connection.execute("UPDATE ledger SET number = 2 WHERE number = 3")
        else:
            old, new = ("train made", "trial made") if how == "edited" else ('"unbounded"', '"reserve"')
            connection.execute("UPDATE ledger SET body = replace(body, ?, ?) WHERE number = 2", (old, new))
            assert connection.execute("SELECT count(*) FROM ledger WHERE number = 2 AND body LIKE ?", (f"%{new}%",)).fetchone() == (1,)
    for use in (lambda: ledger.summary(DATA), lambda: plain(ledger), lambda: private(ledger)):
        with pytest.raises(ArtifactError, match="cannot be believed"):
            use()


def _train_plainly(path: str, start, results) -> None:
    start.wait()
    try:
        results.put(plain(Ledger(Home(Path(path)))).number)
    except BudgetExceeded:
        results.put(None)


def _set_a_limit(path: str, start, results) -> None:
    start.wait()
    Ledger(Home(Path(path))).limit(DATA, 3)
    results.put(None)


def test_after_a_limit_of_another_process_nothing_of_no_bound_is_written(ledger, own_home):
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    jobs = [_train_plainly, _train_plainly, _set_a_limit, _train_plainly, _train_plainly]
    racers = [context.Process(target=job, args=(str(own_home.path), start, results)) for job in jobs]
    for racer in racers:
        racer.start()
    start.set()
    numbers = sorted(number for number in (results.get(timeout=60) for _ in racers) if number)
    for racer in racers:
        racer.join()
    entries = ledger.entries(DATA)
    # The limit is one entry of the chain: whatever was admitted stands before it, without a gap.
    assert numbers == [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    with pytest.raises(BudgetExceeded):
        plain(ledger)
