import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.audits.privacy.accounting import Accounting
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.privacy_meaning import best_tpr, in_words, percent
from guardrail.vocabulary.receipt import PrivacyClaim, Receipt, SampledGaussian


def claim(**changes):
    step = SampledGaussian(what="gradients", noise_multiplier=1.1, sample_rate=0.01, steps=100, clip=1.0, normaliser=100)
    fields = {
        "epsilon": 2.9, "epsilon_rdp": 3.1, "delta": 1e-5, "unit": "row", "mechanisms": (step,), "records_public": 10_000,
        "records_source": "declared public", "noise": "secure", "schema_sources": {"age": "public (the codebook)"},
    }  # fmt: skip
    return PrivacyClaim(**(fields | changes))


def receipt(privacy):
    return Receipt(
        generator="made", strategy="private" if privacy else "plain", seed=0, data="hmac-sha256:00", trained_rows=None, epochs=1,
        batch_size=100, steps=100, learning_rate=0.1, device="cpu", parameters=10, privacy=privacy,
        started=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), seconds=1.0, versions={},
    )  # fmt: skip


def measure(schema, found):
    return Accounting().measure(Evidence(schema=schema, receipt=found), np.random.default_rng(0))


def test_the_numbers_are_those_of_the_receipt_and_exact(mixed_schema):
    epsilon, delta = measure(mixed_schema, receipt(claim()))
    assert (epsilon.value, epsilon.low, epsilon.high) == (2.9, 2.9, 2.9)
    assert (delta.value, delta.low, delta.high) == (1e-5, 1e-5, 1e-5)
    assert epsilon.comparisons["rdp"].value == 3.1


def test_a_reader_learns_unit_relation_delta_and_who_declared_the_schema(mixed_schema):
    epsilon, _ = measure(mixed_schema, receipt(claim(unit="patient_id", rows_per_unit=4)))
    text = " ".join((epsilon.estimand, *epsilon.caveats))
    for word in ("patient_id", "4 rows", "add-or-remove", "1e-05", "the codebook", "at most"):
        assert word in text


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "no training receipt"),
        (receipt(None), "trained without differential privacy"),
        (receipt(claim(noise="seeded")), "the noise was seeded"),
    ],
)
def test_without_a_claim_there_is_no_epsilon(mixed_schema, found, reason):
    for finding in measure(mixed_schema, found):
        assert finding.status == "not_assessable"
        assert reason in finding.reason


def test_no_attack_beats_the_plotted_bound_at_its_own_corner(mixed_schema):
    (plot,) = measure(mixed_schema, receipt(claim()))[0].plots
    ((_, points),) = plot.series.items()
    assert all(y >= x for x, y in points)
    assert [y for _, y in points] == sorted(y for _, y in points)


def randomised_response_tpr(epsilon: float, fpr: float) -> float:
    """The best test against randomised response, by hand: its ROC is two straight lines through (1/(1+e^eps), e^eps/(1+e^eps))."""
    x, y = 1 / (1 + math.exp(epsilon)), math.exp(epsilon) / (1 + math.exp(epsilon))
    return fpr * y / x if fpr <= x else y + (fpr - x) * (1 - y) / (1 - x)


@given(st.floats(0, 8), st.floats(0, 1))
def test_the_bound_is_reached_by_randomised_response(epsilon, fpr):
    assert best_tpr(epsilon, 0, fpr) == pytest.approx(randomised_response_tpr(epsilon, fpr), abs=1e-9)


@given(st.floats(0, 1e4), st.floats(0, 1), st.floats(0, 1))
def test_the_bound_is_a_share_no_worse_than_guessing_and_grows_with_delta(epsilon, delta, fpr):
    bound = best_tpr(epsilon, delta, fpr)
    assert fpr <= bound <= 1
    assert bound >= best_tpr(epsilon, delta / 2, fpr)


def test_a_tenfold_epsilon_is_told_in_words_and_never_as_certainty():
    assert "at most 20.1 %" in in_words(3, 1e-5)
    assert percent(0.99999) == "more than 99.9 %"
    assert percent(1.0) == "100 %"


@pytest.mark.parametrize("bad", [(-1, 0, 0.5), (math.nan, 0, 0.5), (1, 2, 0.5), (1, 0, -0.1)])
def test_nonsense_has_no_bound(bad):
    with pytest.raises(ValueError, match="epsilon"):
        best_tpr(*bad)
