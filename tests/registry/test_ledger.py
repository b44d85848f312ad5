import json
import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from guardrail.privacy_accounting.rdp import curve
from guardrail.privacy_accounting.rdp import epsilon as epsilon_of
from guardrail.registry.home import Home
from guardrail.registry.ledger import Ledger, Reservation
from guardrail.vocabulary.errors import ArtifactError, BudgetExceeded, GuardrailError, SpecError
from guardrail.vocabulary.receipt import GaussianQuery, SampledGaussian

DATA = "hmac-sha256:" + "a" * 64
OTHER = "hmac-sha256:" + "b" * 64
THIRD = "hmac-sha256:" + "c" * 64
RELATION = "add-or-remove one unit"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("GUARDRAIL_DATABASE_URL", raising=False)
    return Home(tmp_path / "home")


def training(steps=400, noise=5.0):
    return (
        GaussianQuery(what="counts", sensitivity=1, noise_multiplier=30),
        SampledGaussian(what="gradients", noise_multiplier=noise, sample_rate=0.1, steps=steps, clip=1, normaliser=100),
    )


def reserve(ledger, data=DATA, *, mechanisms=None, unit="row", epsilon=None, delta=1e-5, parent=None) -> Reservation:
    mechanisms = mechanisms or training()
    claimed = epsilon_of(curve(mechanisms), delta) if epsilon is None else epsilon
    return ledger.reserve(
        data, mechanisms=mechanisms, unit=unit, relation=RELATION, epsilon=claimed, delta=delta, what="run 1", parent=parent
    )


def spent(ledger, data=DATA) -> float:
    (group,) = ledger.summary(data).groups
    return group.epsilon


def database(home) -> sqlite3.Connection:
    return sqlite3.connect(home.path / "registry.sqlite")


def test_runs_without_a_limit_are_added_up_by_renyi_accounting(home):
    ledger = Ledger(home)
    reserve(ledger)
    reserve(ledger)
    summary = ledger.summary(DATA)
    assert summary.groups[0].epsilon == pytest.approx(epsilon_of(curve(training() * 2), 1e-5))
    assert summary.groups[0].left is None and summary.groups[0].runs == 2
    assert [entry.state for entry in summary.entries] == ["reserved", "reserved"]
    assert summary.home == home.id


def test_an_unknown_data_set_has_spent_nothing(home):
    summary = Ledger(home).summary(DATA)
    assert summary.groups == () and summary.entries == () and summary.limit is None


def test_a_run_beyond_the_limit_is_refused_with_the_numbers_and_leaves_no_trace(home):
    ledger = Ledger(home)
    reserve(ledger)
    ledger.limit(DATA, 2.5)
    before = spent(ledger)
    with pytest.raises(BudgetExceeded) as refused:
        reserve(ledger)
    assert refused.value.exit_code == 3
    for number in ("epsilon 2.5", f"Spent {before:.4g}", f"left {2.5 - before:.4g}", "delta 1e-05"):
        assert number in str(refused.value)
    assert spent(ledger) == before and len(ledger.entries(DATA)) == 1


def test_a_limit_of_three_admits_one_run_of_three_and_then_nothing(home):
    """The training's own accountant is tighter than the filter; alone it decides."""
    ledger = Ledger(home)
    ledger.limit(DATA, 3)
    rdp_alone = epsilon_of(curve(training(noise=3)), 1e-5)
    assert rdp_alone > 3
    reserve(ledger, mechanisms=training(noise=3), epsilon=3.0)
    assert spent(ledger) == 3.0
    with pytest.raises(BudgetExceeded):
        reserve(ledger, mechanisms=training(steps=1, noise=50))


def test_a_run_stated_at_a_larger_delta_cannot_use_its_own_epsilon(home):
    ledger = Ledger(home)
    ledger.limit(DATA, 3)
    with pytest.raises(BudgetExceeded):
        reserve(ledger, mechanisms=training(noise=3), epsilon=2.5, delta=1e-3)


def test_what_fits_one_by_one_does_not_fit_together(home):
    ledger = Ledger(home)
    ledger.limit(DATA, 4)
    taken = 0
    with pytest.raises(BudgetExceeded):
        for _ in range(100):
            reserve(ledger)
            taken += 1
    assert 2 <= taken < 20
    assert epsilon_of(curve(training() * taken), 1e-5) <= spent(ledger) <= 4


def test_the_limit_of_one_data_set_leaves_others_alone(home):
    ledger = Ledger(home)
    ledger.limit(DATA, 0.01)
    reserve(ledger, OTHER)
    with pytest.raises(BudgetExceeded):
        reserve(ledger, DATA)


def test_units_are_kept_apart_and_said_to_be(home):
    ledger = Ledger(home)
    ledger.limit(DATA, 3)
    reserve(ledger, unit="row")
    second = reserve(ledger, unit="patient_id")
    assert "not added up" in second.warnings[0]
    summary = ledger.summary(DATA)
    assert {group.unit for group in summary.groups} == {"row", "patient_id"}
    assert all(group.runs == 1 for group in summary.groups) and summary.warnings == second.warnings


def test_a_declared_child_spends_the_parents_budget(home):
    ledger = Ledger(home)
    reserve(ledger, DATA)
    ledger.limit(DATA, 2.5)
    with pytest.raises(BudgetExceeded):
        reserve(ledger, OTHER, parent=DATA)
    ledger.limit(DATA, 10)
    reserve(ledger, OTHER, parent=DATA)
    assert ledger.summary(OTHER).related == (DATA,) and ledger.summary(DATA).related == (OTHER,)
    assert spent(ledger, DATA) == spent(ledger, OTHER)
    assert any("data.parent" in warning for warning in ledger.summary(DATA).warnings)


def test_a_data_set_is_not_its_own_parent(home):
    with pytest.raises(SpecError):
        reserve(Ledger(home), parent=DATA)


@pytest.mark.parametrize("limited", [False, True])
def test_a_parent_that_this_home_does_not_know_is_refused_and_nothing_is_written(home, limited):
    ledger = Ledger(home)
    if limited:
        ledger.limit(DATA, 4)
    mistyped = DATA[:-1] + "c"
    with pytest.raises(SpecError, match=r"knows no data set of that name.*guardrail budget"):
        reserve(ledger, OTHER, parent=mistyped)
    with pytest.raises(SpecError, match="knows no data set of that name"):
        ledger.record_unbounded(OTHER, reason="no privacy", unit="row", what="run", parent=mistyped)
    assert ledger.entries(OTHER) == () and ledger.summary(OTHER).related == ()
    with pytest.raises(SpecError):  # not even its own child makes it known
        reserve(ledger, OTHER, parent=OTHER[:-1] + "d")


@pytest.mark.parametrize("make", ["asked for", "limited", "trained on", "a child of another"])
def test_a_data_set_is_known_by_being_asked_for_limited_or_trained_on(home, make):
    ledger = Ledger(home)
    if make == "asked for":
        ledger.know(DATA)
        ledger.know(DATA)
        assert len(ledger._chain.links()) == 1
    elif make == "limited":
        ledger.limit(DATA, 100)
    elif make == "trained on":
        reserve(ledger, DATA)
    else:
        ledger.know(OTHER)
        reserve(ledger, DATA, parent=OTHER)
    reserve(ledger, THIRD, parent=DATA)
    assert DATA in ledger.summary(THIRD).related and THIRD in ledger.summary(DATA).related


def test_a_run_that_finished_early_frees_the_rest(home):
    ledger = Ledger(home)
    reservation = reserve(ledger, mechanisms=training(steps=400))
    ledger.settle(reservation, training(steps=100))
    assert ledger.entries(DATA)[0].state == "spent"
    assert spent(ledger) == pytest.approx(epsilon_of(curve(training(steps=100)), 1e-5))


def test_a_run_that_reports_nothing_stays_spent_in_full(home):
    ledger = Ledger(home)
    reserve(ledger)
    (entry,) = Ledger(home).entries(DATA)
    assert entry.state == "reserved" and spent(ledger) == pytest.approx(epsilon_of(curve(training()), 1e-5))


def test_settling_with_an_empty_list_frees_nothing(home):
    ledger = Ledger(home)
    ledger.settle(reserve(ledger), ())
    assert spent(ledger) == pytest.approx(epsilon_of(curve(training()), 1e-5))


def test_a_run_that_spent_more_than_it_reserved_is_recorded_and_reported(home):
    ledger = Ledger(home)
    reservation = reserve(ledger)
    with pytest.raises(GuardrailError, match="more than"):
        ledger.settle(reservation, training(steps=500))
    assert spent(ledger) == pytest.approx(epsilon_of(curve(training(steps=500)), 1e-5))


def test_a_reservation_is_settled_once(home):
    ledger = Ledger(home)
    reservation = reserve(ledger)
    ledger.settle(reservation, training())
    with pytest.raises(ArtifactError, match="settled before"):
        ledger.settle(reservation, training(steps=1))
    with pytest.raises(ArtifactError, match="no reservation"):
        ledger.settle(Reservation(home=home.id, number=77, data=DATA), training())


def test_the_reservation_names_its_home_and_entry(home):
    assert reserve(Ledger(home)).reference == f"{home.id}/1"


@pytest.mark.parametrize("epsilon, delta", [(0, 1e-5), (-1, 1e-5), (float("nan"), 1e-5), (float("inf"), 1e-5), (1, 0), (1, 1)])
def test_senseless_limits_are_refused(home, epsilon, delta):
    with pytest.raises(SpecError):
        Ledger(home).limit(DATA, epsilon, delta)


def _grab(path: str, start, results) -> None:
    start.wait()
    try:
        reserve(Ledger(Home(Path(path))))
        results.put("taken")
    except BudgetExceeded:
        results.put("refused")


def test_two_processes_cannot_both_take_the_last_epsilon(home):
    ledger = Ledger(home)
    ledger.limit(DATA, 1.1 * epsilon_of(curve(training()), 1e-5))
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    racers = [context.Process(target=_grab, args=(str(home.path), start, results)) for _ in range(4)]
    for racer in racers:
        racer.start()
    start.set()
    outcomes = sorted(results.get(timeout=60) for _ in racers)
    for racer in racers:
        racer.join()
    assert outcomes == ["refused", "refused", "refused", "taken"]
    assert len(ledger.entries(DATA)) == 1


def _reserve_and_die(path: str) -> None:
    reserve(Ledger(Home(Path(path))))
    os.kill(os.getpid(), signal.SIGKILL)


def test_epsilon_reserved_by_a_killed_process_stays_spent(home):
    victim = multiprocessing.get_context("fork").Process(target=_reserve_and_die, args=(str(home.path),))
    victim.start()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    assert spent(Ledger(home)) == pytest.approx(epsilon_of(curve(training()), 1e-5))


def three_entries(home) -> Ledger:
    ledger = Ledger(home)
    for steps in (100, 200, 300):
        reserve(ledger, mechanisms=training(steps=steps))
    return ledger


def _edit(rows):
    body = json.loads(rows[1][2])
    body["mechanisms"][1]["steps"] = 1
    rows[1] = (*rows[1][:2], json.dumps(body, sort_keys=True, separators=(",", ":")), rows[1][3])


def _swap(rows):
    rows[0], rows[1] = (*rows[0][:2], *rows[1][2:]), (*rows[1][:2], *rows[0][2:])


def _drop_the_middle(rows):
    rows[1] = (*rows[1][:2], *rows[2][2:])
    del rows[2]


def _double(rows):
    rows.append((rows[2][0], 4, *rows[2][2:]))


TAMPERINGS = {
    "edited": _edit,
    "reordered": _swap,
    "middle dropped": _drop_the_middle,
    "gap": lambda rows: rows.pop(1),
    "doubled": _double,
    "end cut off": lambda rows: rows.pop(),
    "emptied": lambda rows: rows.clear(),
    "other home": lambda rows: rows.__setitem__(2, ("f" * 16, *rows[2][1:])),
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_ledger_that_was_tampered_with_is_not_believed(home, tampering):
    ledger = three_entries(home)
    with database(home) as connection:
        rows = connection.execute("SELECT home, number, body, mac FROM ledger ORDER BY number").fetchall()
        tampering(rows)
        connection.execute("DELETE FROM ledger")
        connection.executemany("INSERT INTO ledger VALUES (?, ?, ?, ?)", rows)
    for use in (lambda: ledger.summary(DATA), lambda: reserve(ledger), lambda: ledger.limit(DATA, 99)):
        with pytest.raises(ArtifactError, match="cannot be believed"):
            use()


def test_an_older_copy_of_the_database_is_noticed(home):
    ledger = Ledger(home)
    reserve(ledger)
    old = (home.path / "registry.sqlite").read_bytes()
    reserve(ledger)
    (home.path / "registry.sqlite").write_bytes(old)
    with pytest.raises(ArtifactError, match="ends at entry 1, but entry 2"):
        Ledger(home).summary(DATA)


def test_another_database_does_not_start_an_empty_ledger(home, monkeypatch, tmp_path):
    three_entries(home)
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", f"sqlite:///{tmp_path / 'second.sqlite'}")
    with pytest.raises(ArtifactError, match="GUARDRAIL_DATABASE_URL"):
        Ledger(home).summary(DATA)


@pytest.mark.parametrize(
    "damage", [lambda p: p.unlink(), lambda p: p.write_text('{"number": 0, "mac": "0", "seal": "0"}'), lambda p: p.write_text("[")]
)
def test_a_lost_or_edited_head_is_noticed(home, damage):
    ledger = three_entries(home)
    damage(home.path / "ledger.head")
    with pytest.raises(ArtifactError):
        ledger.summary(DATA)


def test_a_crash_between_commit_and_head_is_no_tampering(home):
    ledger = Ledger(home)
    reserve(ledger)
    old = (home.path / "ledger.head").read_text()
    reserve(ledger)
    (home.path / "ledger.head").write_text(old)
    assert len(ledger.entries(DATA)) == 2
    reserve(ledger)
    assert json.loads((home.path / "ledger.head").read_text())["number"] == 3


def test_any_database_url_will_do_and_two_homes_share_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", f"sqlite:///{tmp_path / 'shared' / 'team.sqlite'}")
    one, two = Ledger(Home(tmp_path / "one")), Ledger(Home(tmp_path / "two"))
    reserve(one)
    assert len(one.entries(DATA)) == 1 and two.entries(DATA) == ()
    assert (tmp_path / "shared" / "team.sqlite").exists() and not (tmp_path / "one" / "registry.sqlite").exists()


@pytest.mark.parametrize("url", ["no url", "postgresql+nosuchdriver://x/y", "sqlite:////proc/nowhere/x.db"])
def test_a_database_that_cannot_be_opened_is_one_clear_error(home, monkeypatch, url):
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", url)
    with pytest.raises((ArtifactError, ValueError)) as refused:
        Ledger(home)
    assert isinstance(refused.value, GuardrailError)


def test_a_file_that_is_no_database_is_one_clear_error(home):
    home.key()
    (home.path / "registry.sqlite").write_bytes(b"not a database " * 100)
    with pytest.raises(ArtifactError, match="not a database"):
        Ledger(home)


def test_the_database_is_readable_by_its_owner_only(home):
    Ledger(home)
    assert (home.path / "registry.sqlite").stat().st_mode & 0o077 == 0
