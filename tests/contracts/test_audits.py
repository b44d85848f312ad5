"""What every registered audit promises, tried on each of them; nobody writes these again per audit."""

import dataclasses
import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest

from guardrail.run.audit import measure
from guardrail.vocabulary.canaries import CanaryRecord
from guardrail.vocabulary.evidence import Audit, Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.metrics import METRICS
from guardrail.vocabulary.monitor import MonitorModes, MonitorRecord
from guardrail.vocabulary.plugins import resolve, table
from guardrail.vocabulary.receipt import ClientServed, PrivacyClaim, Receipt, SampledGaussian
from guardrail.vocabulary.schema import Schema
from guardrail.vocabulary.seeds import stream

AUDITS = tuple(table("audits"))
SCHEMA = Schema.model_validate(
    {
        "target": "hired",
        "sensitive": ["sex", "years"],
        "columns": {
            "years": {"kind": "integer", "low": 0, "high": 50, "missing": True},
            "score": {"kind": "numeric", "low": -10, "high": 10, "missing": True},
            "day": {"kind": "datetime", "low": "2020-01-01", "high": "2021-01-01", "missing": True},
            "grade": {"kind": "ordinal", "categories": ["low", "middle", "high"], "missing": True},
            "sex": {"kind": "categorical", "categories": ["female", "male"], "missing": True},
            "hired": {"kind": "boolean", "missing": True},
        },
    }
)


def people(n: int, seed: int = 0, *, missing: float = 0.05, constant: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    years, grade, sex = rng.integers(0, 41, n), rng.integers(0, 3, n), rng.integers(0, 2, n)
    day = pd.Series(pd.Timestamp("2020-03-01") + pd.to_timedelta(rng.integers(0, 200, n), unit="D")).astype("datetime64[us]")
    score = rng.normal(size=n) + 0.05 * years
    hired = score + 0.5 * sex + rng.normal(size=n) > 1
    if constant and n:
        years, grade, sex, score, hired = (np.full(n, column[0]) for column in (years, grade, sex, score, hired))
        day = pd.Series([day[0]] * n)
    gone = rng.random((n, 6)) < missing
    return pd.DataFrame(
        {
            "years": pd.arrays.IntegerArray(years.astype(np.int64), gone[:, 0]),
            "score": np.where(gone[:, 1], np.nan, score),
            "day": day.astype("datetime64[us]").mask(gone[:, 2]),
            "grade": pd.Categorical.from_codes(np.where(gone[:, 3], -1, grade), categories=["low", "middle", "high"], ordered=True),
            "sex": pd.Categorical.from_codes(np.where(gone[:, 4], -1, sex), categories=["female", "male"]),
            "hired": pd.arrays.BooleanArray(hired.astype(bool), gone[:, 5]),
        }
    )


IMAGES = Schema.model_validate(
    {
        "modality": "image",
        "target": "label",
        "image": {"height": 6, "width": 6},
        "columns": {"label": {"kind": "categorical", "categories": ["up", "down"], "missing": True}},
    }
)


def pictures(n: int, seed: int = 0, *, missing: float = 0.05, constant: bool = False) -> pd.DataFrame:
    """Bright above or bright below, which the label says."""
    rng = np.random.default_rng(seed)
    label = np.zeros(n, dtype=int) if constant else rng.integers(0, 2, n)
    pixels = np.zeros((n, 6, 6, 1), np.uint8) if constant else rng.integers(0, 120, (n, 6, 6, 1)).astype(np.uint8)
    pixels[label == 0, :3] += 100
    pixels[label == 1, 3:] += 100
    codes = np.where(rng.random(n) < missing, -1, label)
    return pd.DataFrame(
        {"image": pd.Series(list(pixels), dtype=object), "label": pd.Categorical.from_codes(codes, categories=["up", "down"])}
    )


SCHEMAS, RECORDS = {"tabular": SCHEMA, "image": IMAGES}, {"tabular": people, "image": pictures}


def modality_of(name: str) -> str:
    """Tables where the audit is for tables, else images."""
    return "tabular" if "tabular" in resolve("audits", name).modalities else "image"


def receipt() -> Receipt:
    step = SampledGaussian(what="gradients", noise_multiplier=1.1, sample_rate=0.01, steps=100, clip=1.0, normaliser=3)
    claim = PrivacyClaim(
        epsilon=2.9, epsilon_rdp=3.1, delta=1e-5, unit="row", mechanisms=(step,), records_public=300, records_source="declared public",
        noise="secure", schema_sources={"years": "public"},
    )  # fmt: skip
    return Receipt(
        generator="made", strategy="private", seed=0, data="hmac-sha256:1", trained_rows=None, epochs=1, batch_size=3, steps=100,
        learning_rate=0.1, device="cpu", parameters=1, privacy=claim, started=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), seconds=1,
        versions={},
    )  # fmt: skip


def monitored() -> MonitorRecord:
    """Of a short training of two players."""
    falling = tuple((step, 1 / step) for step in range(1, 201))
    return MonitorRecord(
        steps=200,
        losses={"generator": falling, "critic": falling},
        gradient_norms={"generator": falling},
        modes=((100, 0.5), (200, 0.9)),
        mode_counts=MonitorModes(found=9, total=10, n_samples=500),
        duality_gap=((100, 0.4), (200, 0.3)),
        duality_reference=1.0,
    )


def canaries() -> tuple[CanaryRecord, ...]:
    """Of the receipt's only mechanism."""
    rng = np.random.default_rng(0)
    included = rng.random(400) < 0.5
    scores = included * rng.binomial(100, 0.01, 400) + 11 * rng.normal(size=400)
    told = {"included": tuple(included.tolist()), "scores": tuple(scores.tolist()), "total_variation": 0.2}
    return (CanaryRecord(what="gradients", where="layer.weight", **told),)


def evidence(train: pd.DataFrame, holdout: pd.DataFrame | None, synthetic: pd.DataFrame, modality: str = "tabular", **changes) -> Evidence:
    full = Evidence(
        schema=SCHEMAS[modality], modality=modality, train=train, holdout=holdout, synthetic=synthetic,
        synthetic_valid=np.ones(len(synthetic), bool), receipt=receipt(), marks={"synthetic.csv": "proven"}, monitor=monitored(),
        canaries=canaries(), update_attack=lambda n, rng: np.column_stack([rng.uniform(5, 30, n), rng.uniform(8, 14, n)]),
        served=tuple(ClientServed(client=i, shortfall=0.02 * i, low=0.02 * i - 0.01, high=0.02 * i + 0.01) for i in range(4)),
        log_likelihood=lambda frame: np.full(len(frame), -7.0), floor_likelihood=lambda frame: np.full(len(frame), -9.0),
        hashes={"train": "hmac-sha256:1", "holdout": "hmac-sha256:2", "synthetic": "sha256:3"},
    )  # fmt: skip
    return dataclasses.replace(full, **changes)


ALL_OF_IT = {modality: evidence(records(300, 1), records(300, 2), records(300, 3), modality) for modality, records in RECORDS.items()}


@pytest.fixture
def ordinary(name: str) -> Evidence:
    """Everything the audit of that name may need."""
    return ALL_OF_IT[modality_of(name)]


def run(name: str, given: Evidence, seed: int = 0) -> tuple[Finding, ...]:
    return resolve("audits", name)().measure(given, stream(seed, name))


@pytest.mark.parametrize("name", AUDITS)
def test_it_is_a_frozen_dataclass_that_asks_a_question_and_names_its_metrics(name):
    audit = resolve("audits", name)()
    assert isinstance(audit, Audit)
    assert audit.name == name
    assert audit.metrics and set(audit.metrics) <= set(METRICS)
    assert audit.__doc__.strip().splitlines()[0].endswith("?")
    assert type(audit).__dataclass_params__.frozen


def test_every_metric_of_the_contract_is_measured_by_exactly_one_audit():
    measured = [metric for name in AUDITS for metric in resolve("audits", name).metrics]
    assert sorted(measured) == sorted(METRICS)


@pytest.mark.parametrize("name", AUDITS)
def test_its_findings_say_what_they_are_and_survive_json(name, ordinary):
    for finding in run(name, ordinary):
        assert Finding.model_validate_json(finding.model_dump_json()) == finding
        if finding.status == "not_assessable":
            assert finding.reason
            continue
        metric = METRICS[finding.metric]
        assert finding.estimand
        assert finding.caveats
        assert finding.low is not None or finding.high is not None
        assert metric.least is None or finding.value >= metric.least
        assert metric.most is None or finding.value <= metric.most
        assert finding.direction == metric.direction


@pytest.mark.parametrize("name", AUDITS)
def test_with_everything_it_needs_it_measures(name, ordinary):
    assert all(finding.status == "measured" for finding in run(name, ordinary))


@pytest.mark.parametrize(("name", "need"), [(name, need) for name in AUDITS for need in resolve("audits", name).needs])
def test_without_a_thing_it_needs_it_is_not_assessable_and_says_why(name, need, ordinary):
    less = {
        "train": {"train": None},
        "holdout": {"holdout": None},
        "synthetic": {"synthetic": None, "synthetic_valid": None},
        "receipt": {"receipt": None},
        "marks": {"marks": {}},
        "target": {"schema": ordinary.schema.model_copy(update={"target": None})},
        "sensitive": {"schema": ordinary.schema.model_copy(update={"sensitive": ()})},
        "log_likelihood": {"log_likelihood": None},
        "monitor": {"monitor": None},
        "update_attack": {"update_attack": None},
        "served": {"served": None},
    }[need]
    given = dataclasses.replace(ordinary, **less)
    findings = measure(given, only=[name])
    assert [finding.metric for finding in findings] == list(resolve("audits", name).metrics)
    for finding in findings:
        assert finding.status == "not_assessable"
        assert given.lacks(need) in finding.reason


@pytest.mark.parametrize("name", AUDITS)
def test_the_same_stream_gives_the_same_findings(name, ordinary):
    assert run(name, ordinary, 5) == run(name, ordinary, 5)


@pytest.mark.parametrize("name", AUDITS)
def test_it_leaves_its_evidence_as_it_was(name, ordinary):
    before = {role: getattr(ordinary, role).copy(deep=True) for role in ("train", "holdout", "synthetic")}
    run(name, ordinary)
    for role, frame in before.items():
        pd.testing.assert_frame_equal(getattr(ordinary, role), frame)


ODD = {
    "no rows": {"n": 0},
    "one row": {"n": 1, "missing": 0},
    "two rows": {"n": 2, "missing": 0},
    "constant": {"n": 120, "constant": True, "missing": 0},
    "all missing": {"n": 120, "missing": 1.1},
    "one of each": {"n": 3, "seed": 4, "missing": 0.5},
}


@pytest.mark.parametrize("name", AUDITS)
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("role", ["train", "holdout", "synthetic", "all"])
def test_odd_records_never_break_it(name, kind, role):
    modality = modality_of(name)
    records = RECORDS[modality]
    odd = dict.fromkeys(("train", "holdout", "synthetic") if role == "all" else (role,), records(**ODD[kind]))
    given = {"train": records(120, 1), "holdout": records(120, 2), "synthetic": records(120, 3)} | odd
    for finding in run(name, evidence(**given, modality=modality)):
        assert finding.reason if finding.value is None else math.isfinite(finding.value)


@pytest.mark.parametrize("name", AUDITS)
def test_rows_in_any_index_give_the_same_findings(name, ordinary):
    moved = dataclasses.replace(
        ordinary, **{role: getattr(ordinary, role).set_axis(np.arange(300) * 7 + 3) for role in ("train", "holdout", "synthetic")}
    )
    assert run(name, moved) == run(name, ordinary)
