"""Faults planted in real trainings, from the spec to the audit: the attack on canaries finds them, and leaves honest trainings alone."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.proof.faults import FAULTS, attacked, families_of_gradients

FAMILIES = families_of_gradients()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_training_is_found(fault: str):
    assert attacked("made", "tabular", epsilon=1.0, fault=FAULTS[fault])["privacy.claim"].value == 1


def test_an_honest_training_withstands():
    found = attacked("made", "tabular", epsilon=1.0)
    assert found["privacy.claim"].value == 0 and found["privacy.empirical_epsilon"].low < 1.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a record's gradient was not finite")
@pytest.mark.parametrize("fault", ["none", *FAULTS])
@pytest.mark.parametrize(("name", "modality"), FAMILIES)
def test_with_400_canaries_it_is_found_in_every_family(name: str, modality: str, fault: str):
    """At a claim of epsilon 3, in one training each; `tests/benchmarks/canary_power.py` counts over twenty."""
    found = attacked(name, modality, epsilon=3.0, canaries=400, fault=FAULTS.get(fault, ExitStack))
    assert found["privacy.claim"].value == (fault != "none")
