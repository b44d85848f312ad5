"""The share of rows that obeyed the schema, and what happens when nobody looked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from guardrail.audits.quality.validity import Validity
from guardrail.vocabulary.evidence import Audit, Evidence
from guardrail.vocabulary.finding import Finding


def measure(evidence: Evidence) -> Finding:
    (finding,) = Validity().measure(evidence, np.random.default_rng(0))
    return finding


def test_three_of_four_rows(honest: Evidence) -> None:
    assert isinstance(Validity(), Audit)
    finding = measure(replace(honest, synthetic_valid=np.array([True, True, False, True])))
    assert (finding.value, finding.n, finding.reference) == (0.75, 4, 1.0)
    # Wilson: (0.75 + 0.48024 ± 1.96 sqrt(0.046875 + 0.06003)) / 1.96048, with z² = 3.8415.
    assert finding.low == pytest.approx(0.3006, abs=1e-4)
    assert finding.high == pytest.approx(0.9544, abs=1e-4)


def test_all_valid_rows_reach_one_with_room_for_doubt(honest: Evidence) -> None:
    finding = measure(honest)
    assert (finding.value, finding.high) == (1, 1)
    assert 0.998 < (finding.low or 0) < 1


def test_rows_nobody_checked_are_unknown_and_not_valid(honest: Evidence) -> None:
    assert measure(replace(honest, synthetic_valid=None)).status == "not_assessable"
    assert measure(replace(honest, synthetic_valid=np.zeros(0, bool))).status == "not_assessable"
