"""Stopped at any moment: nothing half-written, what was reserved stays spent and is said to, and the next run works.

Inside one process a listener stops the run at a stage or a step of its choice; real signals, sent to a real process,
are the slower truth beside it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guardrail.registry.runs import Registry
from guardrail.run.folder import RunFolder
from guardrail.run.pipeline import Listener, read_order, run
from guardrail.training.loop import Progress

PRIVATE = {"epsilon": 3, "records": 500}
STAGES = ("reading", "training", "sampling", "auditing", "  validity", "writing the model card")
KEPT = re.compile(r"kept in (\S+);")


def stop_at(word: str) -> Listener:
    """Ctrl-C when a stage begins, or at a step of the training: `step 3`."""

    def stage(what: str) -> None:
        if what.startswith(word):
            raise KeyboardInterrupt

    def training(progress: Progress) -> None:
        if word == f"step {progress.step}":
            raise KeyboardInterrupt

    return Listener(training=training, stage=stage)


def stopped(clinic, word: str) -> str:
    """What the user is told."""
    with clinic.environment(), pytest.raises(KeyboardInterrupt) as stop:
        run(read_order(Path("spec.yaml")), home=clinic.home, runs=Path("runs"), listener=stop_at(word))
    return str(stop.value)


def whole(path: Path) -> bool:
    """A run folder with all that its stage had to leave, and nothing on its way."""
    RunFolder.at(path)
    leftovers = [entry for entry in path.rglob("*") if entry.name.startswith(".")]
    return (path / "weights.safetensors").is_file() and not leftovers


@pytest.mark.parametrize("word", STAGES)
def test_stopped_at_any_stage_nothing_is_half_written_and_the_message_says_what_stays(clinic, word):
    clinic.spec(privacy=PRIVATE, audit={"only": ["validity", "accounting"]})
    message = stopped(clinic, word)
    trained = word not in ("reading", "training")
    assert [entry["state"] for entry in clinic.ledger()] == (["spent"] if trained else [])
    assert len(clinic.runs) == len(Registry(clinic.home).runs()) == trained
    assert all(whole(path) for path in clinic.runs)
    if trained:
        assert "epsilon 3 at delta 1e-05 was spent and stays spent" in message
        assert str(clinic.runs[0].relative_to(clinic.folder)) in message and "guardrail sample" in message
    else:
        assert message == "interrupted; nothing was written and no epsilon was spent"


def test_stopped_in_training_no_folder_is_left_and_what_was_reserved_counts_as_spent(clinic):
    clinic.spec(generator={"name": "made", "options": {"hidden": [8]}}, training={"epochs": 1}, privacy=PRIVATE)
    message = stopped(clinic, "step 5")
    assert "no model was written, but epsilon 3 at delta 1e-05 was reserved" in message and "stays spent" in message
    assert clinic.runs == [] and not (clinic.home.path / "artifacts").exists()
    (entry,) = clinic.ledger()
    assert entry["state"] == "reserved" and entry["epsilon"] == 3


def test_without_privacy_the_message_speaks_of_no_epsilon_spent(clinic):
    clinic.spec(generator={"name": "made"}, training={"epochs": 1})
    message = stopped(clinic, "step 2")
    assert message.startswith("interrupted; no model was written") and "epsilon 3" not in message
    assert clinic.runs == []


def test_after_a_stop_the_same_command_works_and_both_are_counted(clinic):
    clinic.spec(privacy=PRIVATE, audit={"only": ["validity"]})
    for word in ("auditing", "sampling"):
        stopped(clinic, word)
    assert clinic("run", "spec.yaml").code == 0
    assert [entry["state"] for entry in clinic.ledger()] == ["spent"] * 3
    records = {record.id: record.verdicts for record in Registry(clinic.home).runs()}
    assert len(records) == 3 and sorted(map(len, records.values())) == [0, 0, 1]


def test_a_run_that_was_stopped_goes_on_stage_by_stage(clinic):
    clinic.spec(privacy=PRIVATE, audit={"only": ["validity"]})
    folder = KEPT.search(stopped(clinic, "sampling"))[1]
    assert clinic("sample", folder).code == 0
    assert clinic("audit", folder, "--out", f"{folder}/report").code == 0
    assert clinic("card", folder).code == 0
    (record,) = Registry(clinic.home).runs()
    assert record.verdicts == {"house": "pass"} and len(clinic.ledger()) == 1


def test_the_hint_names_the_home_where_it_is_not_the_usual_one(clinic):
    clinic.spec()
    other = type(clinic.home)(clinic.folder / "other")
    with clinic.environment(), pytest.raises(KeyboardInterrupt) as stop:
        run(read_order(Path("spec.yaml")), home=other, runs=Path("runs"), listener=stop_at("sampling"))
    assert f"GUARDRAIL_HOME={other.path} guardrail sample" in str(stop.value)


def started(clinic, *words: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GUARDRAIL_")}
    return subprocess.Popen(
        [sys.executable, "-m", "guardrail", *words],
        cwd=clinic.folder,
        env=clean | {"GUARDRAIL_HOME": str(clinic.home.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore Ctrl-C, and the child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(process: subprocess.Popen[str], word: str) -> str:
    """What it has said on stderr, up to the line with `word`."""
    said = ""
    for line in process.stderr:
        said += line
        if word in line:
            return said
    raise AssertionError(f"ended before {word!r}: {said}")


def ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert out == "" and "Traceback" not in err, err
    return err


IMPORTS = """
import importlib.abc, importlib.machinery, os, signal, sys, time
from guardrail.interrupts import wait_for_imports

class Slow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "slow" else None

    def exec_module(self, module):
        for _ in range(int(sys.argv[1])):
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        print("imported")

wait_for_imports()
sys.meta_path.insert(0, Slow())
try:
    import slow
    time.sleep(30)
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize(("presses", "said"), [(1, ["imported", "stopped"]), (2, ["stopped"])])
def test_an_interrupt_waits_until_an_import_is_over_but_not_twice(presses: int, said: list[str]):
    """Within one, Python may make another error of it, and the C++ of a library end the process."""
    command = [sys.executable, "-c", IMPORTS, str(presses)]
    hearing = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=20, **hearing).stdout.split() == said


def test_who_ignores_interrupts_goes_on_ignoring_them():
    command = [sys.executable, "-c", IMPORTS.replace("sleep(30)", "sleep(0)"), "2"]
    deaf = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=20, **deaf).stdout.split() == ["imported"]


LONG = {"generator": {"name": "made", "options": {"hidden": [16]}}, "training": {"epochs": 50}, "privacy": PRIVATE}


@pytest.mark.parametrize(
    ("number", "sections", "word", "expected"),
    [
        (
            signal.SIGINT,
            {"data": {"source": "builtin:adult", "schema": None, "target": None, "sensitive": None}},
            "reading",
            "no epsilon was spent",
        ),
        (signal.SIGINT, LONG, "  step ", "epsilon 3 at delta 1e-05 was reserved"),
        (signal.SIGTERM, LONG, "  step ", "epsilon 3 at delta 1e-05 was reserved"),
        (signal.SIGINT, {}, "auditing", "the trained model and its receipt are kept"),
    ],
    ids=["reading", "training", "told to end", "auditing"],
)
def test_a_real_signal_ends_with_130_one_line_and_nothing_half_written(clinic, number, sections, word, expected):
    clinic.spec(**sections)
    process = started(clinic, "run", "spec.yaml", "--json")
    wait_for(process, word)
    process.send_signal(number)
    message = ended(process)
    assert process.returncode == 130 and message.count("guardrail: interrupted") == 1 and expected in message
    assert [whole(path) for path in clinic.runs] == ([True] if word == "auditing" else [])
    clinic.spec(audit={"only": ["validity"]})
    assert clinic("run", "spec.yaml").code == 0


def test_a_kill_in_training_leaves_the_reservation_spent_and_no_run(clinic):
    assert clinic("budget", "visits.csv", "--limit", "4").code == 0
    clinic.spec(**LONG)
    process = started(clinic, "run", "spec.yaml")
    wait_for(process, "  step ")
    process.kill()
    process.communicate(timeout=60)
    (entry,) = clinic.ledger()
    (group,) = clinic("budget", "visits.csv", "--json").object["groups"]
    assert entry["state"] == "reserved" and group["epsilon"] == pytest.approx(3) and group["left"] == pytest.approx(1)
    assert clinic("runs", "--json").object["runs"] == [] and clinic.runs == []
    clinic.spec(privacy=PRIVATE)
    assert clinic("run", "spec.yaml").code == 3
    clinic.spec(privacy=PRIVATE | {"epsilon": 0.5}, audit={"only": ["validity"]})
    assert clinic("run", "spec.yaml").code == 0 and len(clinic.ledger()) == 2


def test_what_a_kill_left_of_a_folder_confuses_nobody(clinic):
    clinic.spec(audit={"only": ["validity"]})
    assert clinic("run", "spec.yaml").code == 0
    (first,) = clinic.runs
    stale = first.with_name(f".{first.name[:40]}.0123abcd.partial")
    stale.mkdir()
    for name in ("spec.yaml", "receipt.json"):
        (stale / name).write_bytes((first / name).read_bytes())
    (first / "samples" / ".synthetic.parquet.abc").write_bytes(b"PAR1")
    assert [record["id"] for record in clinic("runs", "--json").object["runs"]] == [first.name]
    assert clinic("verify", first / "samples").code == 0
    assert clinic("run", "spec.yaml").code == 0
    assert clinic("sample", first.name, "-n", "5", "-o", "five.csv").code == 0
    assert len(clinic("runs", "--json").object["runs"]) == 2 and stale.is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.5, 0.8, 1.2, 1.8, 2.5, 3.2, 4.0, 5.0, 6.0, 8.0])
def test_a_signal_at_any_moment_leaves_nothing_half_written(clinic, delay):
    clinic.spec(generator={"name": "made", "options": {"hidden": [8]}}, training={"epochs": 2}, privacy=PRIVATE)
    process = started(clinic, "run", "spec.yaml")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode in (0, 130, -signal.SIGINT), err  # before our first line the signal itself ends it
    assert not [path for path in clinic.runs if path.name.startswith(".")] and all(whole(path) for path in clinic.runs)
    if process.returncode == 130:
        assert "Traceback" not in err and "guardrail: interrupted" in err
    assert len(clinic.runs) <= len(clinic.ledger()) <= 1
