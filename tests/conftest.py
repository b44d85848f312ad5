"""Fixtures for whatever reads saved runs: a home of one's own, and run folders made of real documents."""

import datetime as dt

import pytest

from guardrail.registry.home import Home
from guardrail.reports.directory import report_json
from guardrail.vocabulary.documents import dump_yaml, sha256_of, write_atomic, write_json
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Bars, Curve, Heatmap, Whiskers
from guardrail.vocabulary.receipt import GaussianQuery, PrivacyClaim, Receipt, SampledGaussian
from guardrail.vocabulary.report import Report, RuleOutcome, Subject, Verdict
from guardrail.vocabulary.spec import Spec

MOMENT = dt.datetime(2026, 11, 23, 10, 15, tzinfo=dt.UTC)


@pytest.fixture
def own_home(tmp_path, monkeypatch) -> Home:
    for name in ("GUARDRAIL_DATABASE_URL", "GUARDRAIL_ARTIFACTS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


def receipt(*, private: bool = True, noise: str = "secure") -> Receipt:
    claim = PrivacyClaim(
        epsilon=2.97,
        epsilon_rdp=3.21,
        delta=1e-5,
        unit="row",
        mechanisms=(
            GaussianQuery(what="one-way counts", sensitivity=3.9, noise_multiplier=12),
            SampledGaussian(what="gradients", noise_multiplier=2.3, sample_rate=0.11, steps=360, clip=3, normaliser=4096),
        ),
        records_public=40000,
        records_source="declared public",
        noise=noise,
        schema_sources={"age": "public (data dictionary)"},
    )
    return Receipt(
        generator="made",
        strategy="private" if private else "plain",
        seed=7,
        data="hmac-sha256:" + "a" * 64,
        trained_rows=None if private else 32000,
        epochs=40,
        batch_size=4096,
        steps=360,
        learning_rate=0.003,
        device="cpu",
        parameters=74_112,
        privacy=claim if private else None,
        ledger="0123456789abcdef/1" if private else None,
        started=MOMENT,
        seconds=41.5,
        versions={"python": "3.11"},
    )


def report(*, name: str = "clinic-visits", group: str = "sex=female", column: str = "age", policy: str = "release") -> Report:
    """Findings of every shape: with groups, plots, comparisons, exact, one-sided, and one that could not be assessed."""
    pairs = Finding.measured(
        "quality.pairs",
        Estimate(value=0.951, low=0.948, high=0.954, n=8000, method="bootstrap"),
        estimand="one minus the mean total variation distance over all pairs of columns",
        reference=0.976,
        comparisons={"floor": Estimate(value=0.921, low=0.918, high=0.924, n=8000)},
        groups={column: Estimate(value=0.94, low=0.93, high=0.95, n=8000), "income": Estimate(value=0.96, low=0.95, high=0.97, n=8000)},
        plots=(
            Bars(title=f"Shares of {column}", labels=("0-20", "20-40"), series={"real": (0.4, 0.6), "synthetic": (0.45, 0.55)}),
            Heatmap(title="Pairs", rows=(column, "income"), columns=(column, "income"), values=((1.0, 0.94), (0.94, None))),
        ),
        caveats=("High similarity says nothing about privacy.",),
    )
    membership = Finding.measured(
        "privacy.membership_auc",
        Estimate(value=0.503, low=0.489, high=0.517, n=4000, method="delong"),
        estimand="area under the curve of the best attack",
        reference=0.5,
        groups={group: Estimate(value=0.51, low=0.47, high=0.55, n=900), "sex=male": Estimate(value=0.5, low=0.48, high=0.52, n=3100)},
        plots=(
            Curve(
                title="Attacks", x="false positives", y="true positives", series={"distance": ((0, 0), (0.5, 0.51), (1, 1))}, diagonal=True
            ),
            Whiskers(title="By group", labels=(group, "sex=male"), values=(0.51, 0.5), lows=(0.47, 0.48), highs=(0.55, 0.52), line=0.5),
        ),
        caveats=("An attack that fails certifies nothing.",),
    )
    findings = (
        pairs,
        membership,
        Finding.measured("privacy.epsilon", Estimate.exact(2.97), estimand="epsilon by the PRV accountant"),
        Finding.not_assessable("fairness.demographic_parity_difference", "no sensitive column was named"),
    )
    rules = (
        RuleOutcome(id="pairs", metric="quality.pairs", status="pass", severity="blocker", require=">= 0.9", observed=0.951, judged=0.948),
        RuleOutcome(
            id="membership",
            metric="privacy.membership_auc",
            status="unsure",
            severity="blocker",
            require="<= 0.51",
            observed=0.503,
            judged=0.517,
        ),
        RuleOutcome(
            id="parity",
            metric="fairness.demographic_parity_difference",
            status="unknown",
            severity="warning",
            require="<= 0.1",
            observed=None,
            judged=None,
        ),
    )
    return Report(
        created=MOMENT,
        guardrail_version="0.1.0",
        subject=Subject(
            name=name, family="made", receipt=sha256_of(b"receipt"), artifacts={"synthetic": sha256_of(b"rows")}, rows={"synthetic": 8000}
        ),
        findings=findings,
        verdict=Verdict(policy=policy, policy_sha256=sha256_of(b"policy"), status="fail", rules=rules),
    )


@pytest.fixture
def make_run(tmp_path):
    """A run folder as `guardrail run` leaves it: `make_run("name")`, with hostile words where asked."""

    def build(run_id="20261123-101500-ab12cd-clinic-visits", *, folder=None, spec="clinic-visits", private=True, noise="secure", **words):
        path = (folder or tmp_path / "runs") / run_id
        Spec.model_validate({"name": spec, "data": {"source": "visits.csv"}})
        write_atomic(path / "spec.yaml", dump_yaml({"name": spec, "data": {"source": "visits.csv"}}))
        write_json(path / "receipt.json", receipt(private=private, noise=noise).model_dump(mode="json"))
        write_atomic(path / "samples" / "synthetic.parquet", b"rows")
        write_atomic(path / "report" / "report.json", report_json(report(**words)))
        return path

    return build
