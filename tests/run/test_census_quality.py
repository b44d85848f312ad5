"""What the default generator owes its users on the census: the targets stand here before the run, and the audits measure."""

from __future__ import annotations

import pytest

from guardrail.data.builtin import load
from guardrail.data.material import prepare
from guardrail.registry.home import Home
from guardrail.run.audit import measure
from guardrail.training.fit import Settings, train
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.spec import DataSpec, GeneratorSpec, PrivacySpec, TrainingSpec

pytestmark = pytest.mark.slow


def findings(epsilon: float | None, monkeypatch: pytest.MonkeyPatch, home: str) -> dict[str, Finding]:
    monkeypatch.setenv("GUARDRAIL_HOME", home)
    frame, schema = load("adult-complete")
    material = prepare(
        frame,
        schema,
        DataSpec(source="builtin:adult-complete"),
        privacy=PrivacySpec(epsilon=epsilon) if epsilon else None,
        seed=0,
        home=Home.find(),
    )
    privacy = PrivacySpec(epsilon=epsilon) if epsilon else None
    settings = Settings(GeneratorSpec(name="made"), TrainingSpec(device="cpu"), privacy, holdout=0.2)
    model = train(material, settings, home=Home.find(), report=lambda _: None)
    synthetic = model.sample(len(material.train))
    floor = model.sample_floor(len(synthetic))
    evidence = Evidence(
        schema=material.schema, train=material.train, holdout=material.holdout, synthetic=synthetic, floor=floor, receipt=model.receipt
    )
    only = ("pairs", "detection", "utility", "accounting", "copies", "nearest")
    return {finding.metric: finding for finding in measure(evidence, only=only)}


def value(found: dict[str, Finding], metric: str) -> float:
    measured = found[metric].value
    assert measured is not None
    return measured


def test_at_epsilon_3_the_census_keeps_its_dependence_and_its_use(monkeypatch: pytest.MonkeyPatch, tmp_path: object):
    found = findings(3.0, monkeypatch, f"{tmp_path}/home")
    assert value(found, "privacy.epsilon") <= 3
    assert value(found, "quality.pairs") >= 0.94
    assert value(found, "quality.utility_auc") >= 0.885
    gap = found["quality.utility_gap"].comparisons
    assert (gap["score_synthetic"].low or 0) > (gap["score_floor"].high or 1)
    assert value(found, "privacy.exact_copies") < 0.001


def test_without_privacy_synthetic_rows_are_hard_to_tell_from_real_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: object):
    found = findings(None, monkeypatch, f"{tmp_path}/home")
    assert found["privacy.epsilon"].status == "not_assessable"
    assert value(found, "quality.pairs") >= 0.975
    assert value(found, "quality.utility_auc") >= 0.912
    assert value(found, "quality.detection_auc") <= 0.58
