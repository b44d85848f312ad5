"""Killed at any moment, a training costs at least what it took from the records, and the ledger stays whole.

In one process: while reservations are made and settled, the home's files are copied before every line of the code that writes
them. Such a copy is what a kill at that line leaves, since what the kernel holds outlives the process; each is then opened as the next
run would open it. Real kills of real trainings stand beside it. Power failures, which take what was not yet on the disk, are not
covered here.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import sqlalchemy

import guardrail.registry
import guardrail.vocabulary.documents as documents
from guardrail.privacy_accounting.rdp import curve
from guardrail.privacy_accounting.rdp import epsilon as epsilon_of
from guardrail.registry.home import Home
from guardrail.registry.ledger import Ledger
from guardrail.vocabulary.errors import BudgetExceeded
from tests.registry.test_ledger import DATA, reserve, spent, training
from tests.run.test_interrupt import LONG, PRIVATE, started

WRITERS = (Path(guardrail.registry.__file__).parent, Path(documents.__file__), Path(sqlalchemy.__file__).parent / "engine" / "default.py")
"""Whose lines are crash points."""
DELTA = 1e-5


@dataclass
class Crashes:
    """Copies of a home, one for each line at which its files were not what they were before."""

    home: Path
    into: Path
    least: float = 0.0
    """Epsilon that records have given by now, at least."""
    points: int = 0
    copies: list[tuple[Path, float]] = field(default_factory=list)
    _seen: set[tuple[str, float]] = field(default_factory=set)

    @contextmanager
    def watched(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._entered)
        try:
            yield
        finally:
            sys.settrace(before)

    def _entered(self, frame: FrameType, event: str, argument: Any) -> Any:
        file = Path(frame.f_code.co_filename)
        return self._at if any(file == writer or writer in file.parents for writer in WRITERS) else None

    def _at(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.points += 1
        held = hashlib.sha256()
        for file in sorted(path for path in self.home.rglob("*") if path.is_file()):
            held.update(str(file).encode() + file.read_bytes())
        if (key := (held.hexdigest(), self.least)) not in self._seen:
            self._seen.add(key)
            copy = self.into / str(len(self.copies))
            shutil.copytree(self.home, copy)
            self.copies.append((copy, self.least))
        return self._at


def cost(*steps: int) -> float:
    return epsilon_of(curve(sum((training(steps=one) for one in steps), ())), DELTA)


def total(ledger: Ledger) -> float:
    return spent(ledger) if ledger.entries(DATA) else 0.0


def test_a_crash_at_any_of_a_thousand_points_never_hides_what_was_spent(tmp_path: Path):
    ledger = Ledger(Home(tmp_path / "home"))
    reserve(ledger)  # the home exists; what comes is what every later run does
    crashes = Crashes(tmp_path / "home", tmp_path, least=cost(400))
    done = [400]
    for steps, ran in ((400, 150), (300, 300), (200, 20)):
        with crashes.watched():
            reservation = reserve(ledger, mechanisms=training(steps=steps))
        crashes.least = cost(*done, ran)  # from here on the training may read records, and in the end it has taken `ran` steps
        with crashes.watched():
            ledger.settle(reservation, training(steps=ran))
        done.append(ran)
    assert crashes.points >= 1000 and len(crashes.copies) >= 10
    for copy, least in crashes.copies:
        again = Ledger(Home(copy))
        found = total(again)
        assert least - 1e-9 <= found <= cost(400, 400, 300, 200) + 1e-9
        reserve(again)  # the next run goes on from there
        assert total(again) > found
    assert total(ledger) == pytest.approx(cost(*done))


def test_a_limit_holds_in_whatever_a_crash_left(tmp_path: Path):
    """Half of what is allowed was reserved when the process died: there is room for one more such training and not for two."""
    ledger = Ledger(Home(tmp_path / "home"))
    ledger.limit(DATA, 1.05 * cost(400, 400))
    crashes = Crashes(tmp_path / "home", tmp_path)
    with crashes.watched():
        reserve(ledger)
    for copy, _ in crashes.copies:
        again = Ledger(Home(copy))
        taken = len(again.entries(DATA))
        for _ in range(2 - taken):
            reserve(again)
        with pytest.raises(BudgetExceeded):
            reserve(again)


@pytest.mark.slow
def test_twenty_real_kills_and_every_training_that_had_begun_is_in_the_ledger(clinic: Any):
    """Half of them at a random moment from the start on, half soon after the first step."""
    rng = random.Random(0)
    begun = 0
    for i in range(20):
        clinic.spec(**LONG)
        process = started(clinic, "run", "spec.yaml")
        begun += _killed(process, after=rng.uniform(0, 6) if i % 2 else None, pause=rng.uniform(0, 0.3))
        entries = clinic.ledger()
        assert len(entries) >= begun and all(entry["epsilon"] == 3 for entry in entries)
        assert clinic.runs == [] and clinic("runs", "--json").object["runs"] == []
    assert begun >= 10
    (group,) = clinic("budget", "visits.csv", "--json").object["groups"]
    assert group["runs"] == len(clinic.ledger()) >= begun and group["epsilon"] > 3
    clinic.spec(privacy=PRIVATE, audit={"only": ["validity"]})
    assert clinic("run", "spec.yaml").code == 0


def _killed(process: subprocess.Popen[str], *, after: float | None, pause: float) -> bool:
    """Whether it had taken a step before it was killed."""
    said = ""
    if after is None:
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if "  step " in line:
                break
        time.sleep(pause)
    else:
        time.sleep(after)
    process.kill()
    said += process.communicate(timeout=60)[1]
    return "  step " in said
