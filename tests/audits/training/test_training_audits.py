"""Stability, mode collapse and duality gap, read by hand from records of trainings that went well and badly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.monitor import MonitorModes, MonitorRecord
from guardrail.vocabulary.plugins import resolve
from guardrail.vocabulary.schema import Schema

SCHEMA = Schema.model_validate({"columns": {"x": {"kind": "boolean"}}})
STEPS = range(5, 1001, 5)
NOISE = np.random.default_rng(0).normal(size=200)
FALLING = np.exp(-np.arange(200) / 60) + 0.02 * NOISE


def curve(values: np.ndarray) -> tuple[tuple[int, float], ...]:
    return tuple(zip(STEPS, map(float, values), strict=True))


def record(losses: np.ndarray = FALLING, norms: np.ndarray | None = None, **more: object) -> MonitorRecord:
    norms = 1 + 0.1 * np.abs(NOISE) if norms is None else norms
    return MonitorRecord(steps=1000, losses={"net": curve(losses)}, gradient_norms={"net": curve(norms)}, **more)


def measured(name: str, monitor: MonitorRecord | None) -> Finding:
    (finding,) = resolve("audits", name)().measure(Evidence(schema=SCHEMA, monitor=monitor), np.random.default_rng(0))
    return finding


def test_a_quiet_training_is_steady_throughout():
    finding = measured("stability", record())
    assert (finding.value, finding.high) == (1.0, 1.0)
    assert finding.low == pytest.approx(0.8389, abs=1e-3)  # Wilson, 20 of 20
    assert [plot.title for plot in finding.plots] == ["Loss of each player", "Norm of each player's gradient"]


def test_a_loss_that_swings_on_and_on_is_not():
    assert measured("stability", record(np.sin(np.arange(200) / 3) + 0.02 * NOISE)).value == 0.0


def test_a_gradient_that_explodes_halfway_through_the_second_half_leaves_half_of_it_steady():
    norms = np.where(np.arange(200) < 150, 1.0, 1000.0)
    assert measured("stability", record(norms=norms)).value == pytest.approx(0.5, abs=0.051)


def test_a_gradient_that_fades_is_a_sign():
    assert measured("stability", record(norms=np.where(np.arange(200) < 90, 1.0, 1e-5))).value == 0.0


def test_each_player_is_judged_by_itself_and_all_together():
    both = record().model_copy(update={"losses": {"one": curve(FALLING), "two": curve(np.sin(np.arange(200) / 3))}})
    finding = measured("stability", both)
    assert finding.value == 0.0
    assert {name: group.value for name, group in finding.groups.items()} == {"player=one": 1.0, "player=two": 0.0}


def test_steps_without_a_finite_loss_are_unsteady_and_said():
    finding = measured("stability", record(lost=100, warnings=("step 7: it swings",)))
    assert finding.value == pytest.approx(1 - 2 / 20)
    assert any("100 of 1,000 steps" in caveat for caveat in finding.caveats) and any("it swings" in caveat for caveat in finding.caveats)


def test_a_few_steps_are_not_judged():
    finding = measured("stability", record().model_copy(update={"steps": 60}))
    assert finding.status == "not_assessable" and "100 are the least" in str(finding.reason)


def test_collapse_is_the_share_of_clusters_without_samples():
    finding = measured("collapse", record(mode_counts=MonitorModes(found=6, total=8, n_samples=512), modes=((500, 0.5), (1000, 0.75))))
    assert finding.value == 0.25 and finding.n == 8
    assert finding.low < 0.25 < finding.high
    assert finding.plots[0].series["missing"] == ((500, 0.5), (1000, 0.25))
    assert measured("collapse", record()).status == "not_assessable"


def test_the_gap_is_the_last_one_with_the_spread_of_those_before():
    finding = measured("duality", record(duality_gap=((250, 0.9), (500, 0.2), (750, 0.3), (1000, 0.25)), duality_reference=2.0))
    assert (finding.value, finding.reference, finding.n) == (0.25, 2.0, 3)
    spread = np.std([0.2, 0.3, 0.25], ddof=1)
    assert finding.high == pytest.approx(0.25 + 4.3027 * spread, abs=1e-3)  # Student, two degrees of freedom
    assert finding.low == pytest.approx(max(0.0, 0.25 - 4.3027 * spread), abs=1e-3)


def test_a_single_gap_has_no_upper_end():
    finding = measured("duality", record(duality_gap=((1000, 0.25),)))
    assert (finding.value, finding.low, finding.high) == (0.25, 0.0, None)


def test_a_family_without_a_game_has_no_gap():
    assert "no zero-sum game" in str(measured("duality", record()).reason)


@pytest.mark.parametrize("name", ["stability", "collapse", "duality"])
def test_samples_from_elsewhere_are_told_from_a_training_that_was_not_watched(name: str):
    assert "come from elsewhere" in str(measured(name, None).reason)


def test_why_there_is_no_record_is_said_by_what_is_known_of_the_training():
    class Plain:
        privacy = None

    class Private:
        privacy = object()

    evidence = Evidence(schema=SCHEMA)
    assert "learns in closed form" in str(dataclasses.replace(evidence, receipt=Plain()).lacks("monitor"))
    assert "nobody paid" in str(dataclasses.replace(evidence, receipt=Private()).lacks("monitor"))
