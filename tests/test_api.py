"""The Python API on frames: fit, sample, audit, judge, and what fit refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import guardrail
from guardrail.data.cast import cast
from guardrail.registry.home import Home
from guardrail.registry.ledger import Ledger
from guardrail.vocabulary.errors import BudgetExceeded, DataError, PrivacyRefused, SpecError, UnknownName
from guardrail.vocabulary.schema import Schema

SCHEMA = Schema.model_validate(
    {
        "declared_by": "this test",
        "target": "back",
        "sensitive": ["sex"],
        "columns": {
            "age": {"kind": "integer", "low": 18, "high": 95, "bins": 8},
            "weight": {"kind": "numeric", "low": 30, "high": 150, "bins": 8, "missing": True},
            "sex": {"kind": "categorical", "categories": ["f", "m"]},
            "back": {"kind": "boolean"},
        },
    }
)


def visits(n: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 96, n)
    weight = pd.Series(rng.normal(75, 12, n).clip(30, 150).round(3)).where(rng.random(n) > 0.1)
    return pd.DataFrame({"age": age, "weight": weight, "sex": rng.choice(["f", "m"], n), "back": rng.random(n) < age / 110})


@pytest.fixture(autouse=True)
def home(own_home) -> Home:
    return own_home


def test_without_privacy_no_schema_is_needed():
    frame = visits()
    model = guardrail.fit(frame, epochs=2, options={"hidden": [8]})
    rows = model.sample(200, seed=1)
    assert list(rows.columns) == list(frame.columns) and len(rows) == 200
    assert rows["age"].between(frame["age"].min(), frame["age"].max()).all() and set(rows["sex"]) == {"f", "m"}
    assert model.receipt.privacy is None and model.receipt.trained_rows == 600  # nothing is held back from the whole frame


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    first, second = (guardrail.fit(visits(), schema=SCHEMA, epochs=1, options={"hidden": [8]}, seed=5) for _ in range(2))
    pd.testing.assert_frame_equal(first.sample(50, seed=2), second.sample(50, seed=2))
    assert not first.sample(50, seed=2).equals(first.sample(50, seed=3))
    assert not first.sample(50, seed=2).equals(guardrail.fit(visits(), schema=SCHEMA, epochs=1, seed=6).sample(50, seed=2))


def test_fitting_leaves_the_frame_and_torchs_own_stream_alone():
    import torch

    frame = visits()
    before, state = frame.copy(), torch.random.get_rng_state()
    guardrail.fit(frame, schema=SCHEMA, epochs=1, options={"hidden": [8]})
    pd.testing.assert_frame_equal(frame, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_private_model_claims_what_was_asked_and_the_ledger_has_it(home):
    steps = []
    model = guardrail.fit(
        visits(), schema=SCHEMA, epsilon=3, records=600, epochs=1, options={"hidden": [8]}, progress=lambda now: steps.append(now)
    )
    claim = model.receipt.privacy
    assert 2.9 < claim.epsilon <= 3 and claim.delta == 1e-5 and claim.valid
    assert claim.records_public == 600 and claim.records_source == "declared public"
    assert steps[-1].step == steps[-1].steps and all(step.loss is None for step in steps)
    (entry,) = Ledger(home).entries(model.receipt.data)
    assert entry.state == "spent" and entry.mechanisms[0] == claim.mechanisms[0]
    assert len(model.sample(10)) == 10


def test_records_that_nobody_declared_are_counted_under_privacy():
    claim = guardrail.fit(visits(), schema=SCHEMA, generator="marginals", epsilon=2).receipt.privacy
    assert claim.records_source == "measured under DP"
    assert claim.records_public != 600 and abs(claim.records_public - 600) < 150


@pytest.mark.parametrize("schema", [None, "drafted"])
def test_under_privacy_nothing_read_from_the_records_is_accepted(schema, home):
    from guardrail.data.draft import draft_schema

    frame = visits()
    with pytest.raises(PrivacyRefused, match=r"low: \?"):
        guardrail.fit(frame, schema=draft_schema(frame) if schema else None, epsilon=3)
    assert not (home.path / "registry.sqlite").exists()


def test_a_limit_holds_for_frames_as_for_files(home):
    frame = visits()
    name = guardrail.fit(frame, schema=SCHEMA, generator="marginals", epsilon=1).receipt.data
    Ledger(home).limit(name, 2)
    with pytest.raises(BudgetExceeded):
        guardrail.fit(frame.sample(frac=1, random_state=1), schema=SCHEMA, generator="marginals", epsilon=1.9)
    assert len(Ledger(home).entries(name)) == 1


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"generator": "mades"}, UnknownName, "did you mean 'made'"),
        ({"options": {"hiden": [8]}}, SpecError, "did you mean 'hidden'"),
        ({"epochs": 0}, SpecError, "epochs"),
        ({"epsilon": -1.0}, SpecError, "epsilon"),
        ({"epsilon": 3.0, "delta": 0.5, "records": 600}, PrivacyRefused, "delta 0.5 is not below 1"),
        ({"epsilon": float("nan")}, SpecError, "epsilon"),
        ({"device": "gpu"}, SpecError, "device"),
    ],
)
def test_what_fit_cannot_do_is_refused_and_named(options, error, word):
    with pytest.raises(error, match=word):
        guardrail.fit(visits(60), schema=SCHEMA, **options)


def test_a_frame_that_contradicts_its_schema_is_refused_by_row_and_column():
    frame = visits()
    frame.loc[41, "age"] = 200
    with pytest.raises(DataError, match="row 42, column 'age'"):
        guardrail.fit(frame, schema=SCHEMA)
    with pytest.raises(DataError, match="no rows"):
        guardrail.fit(frame.iloc[:0], schema=SCHEMA)


def test_the_likelihood_prefers_rows_that_look_like_the_training_rows():
    model = guardrail.fit(visits(), schema=SCHEMA, epochs=10, options={"hidden": [16]})
    real = cast(visits(200, seed=9), SCHEMA)
    contrary = real.assign(back=~real["back"])
    assert model.has_likelihood and model.log_likelihood(real).shape == (200,)
    assert model.log_likelihood(real).mean() > model.log_likelihood(contrary).mean()
    assert not guardrail.fit(visits(), schema=SCHEMA, generator="vae", epochs=1).has_likelihood


def test_audit_and_judge_go_from_frames_to_a_verdict():
    train, holdout = visits(), visits(seed=1)
    rows = guardrail.fit(train, schema=SCHEMA, epochs=2, options={"hidden": [8]}).sample(600)
    report = guardrail.audit(
        train=train, holdout=holdout, synthetic=rows, schema=SCHEMA, only=["validity", "copies", "parity", "accounting"]
    )
    found = {finding.metric: finding for finding in report.findings}
    assert found["quality.validity"].value == 1
    assert found["fairness.demographic_parity_difference"].status == "measured"
    assert found["privacy.epsilon"].status == "not_assessable"  # frames bring no receipt
    verdict = guardrail.judge(report, "release")
    assert verdict.policy == "release" and verdict.status == "fail"
    assert report.verdict is None  # judging makes a new thing


def test_rows_that_were_copied_are_found_and_rows_that_were_not_are_cleared():
    train, holdout = visits(800), visits(800, seed=1)
    copied = pd.concat([visits(760, seed=2), train.iloc[:40]])
    caught, cleared = (
        guardrail.audit(train=train, holdout=holdout, synthetic=rows, schema=SCHEMA, only=["copies"]).findings[0]
        for rows in (copied, visits(800, seed=3))
    )
    assert caught.low > caught.comparisons["holdout"].high > cleared.low


def test_without_a_holdout_what_needs_one_is_not_assessable():
    report = guardrail.audit(train=visits(), synthetic=visits(seed=1), schema=SCHEMA, only=["membership", "validity"])
    assert [finding.status for finding in report.findings] == ["measured", "not_assessable"]


def test_every_public_name_is_there_and_documented():
    assert {"fit", "audit", "judge"} <= set(guardrail.__all__)
    assert all(getattr(guardrail, name).__doc__ for name in ("fit", "audit", "judge"))
