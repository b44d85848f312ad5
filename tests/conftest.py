"""Fixtures for whatever reads saved runs (a home of one's own, run folders made of real documents) and for whatever makes
them: a clinic's folder, and the command line in it."""

import contextlib
import datetime as dt
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from guardrail.__main__ import run as guardrail_run
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


CLINIC_SCHEMA = """\
declared_by: hospital form 7
columns:
  age: {kind: integer, low: 0, high: 110, bins: 8}
  sex: {kind: categorical, categories: [female, male]}
  admitted: {kind: datetime, low: '2022-01-01', high: '2023-12-31', bins: 8, missing: true}
  ward: {kind: categorical, categories: [surgery, medicine, geriatrics]}
  smoker: {kind: boolean}
  cost: {kind: numeric, low: -500, high: 20000, bins: 8, decimals: 2, missing: true}
  stay: {kind: numeric, low: 0, high: 30, bins: 8, decimals: 1}
"""
CLINIC_SPEC = {
    "name": "clinic",
    "seed": 3,
    "data": {"source": "visits.csv", "schema": "schema.yaml", "target": "ward", "sensitive": ["sex"], "holdout": 0.4},
    "generator": {"name": "marginals"},
    "policy": "policy.yaml",
    "card": "card.yaml",
}
CLINIC_POLICY = """\
name: house
description: what these tests ask for
rules:
  - {id: valid, metric: quality.validity, require: ">= 0.9", severity: blocker, why: rows are read by programs, source: own convention}
"""


def clinic_rows(n: int, seed: int = 0) -> pd.DataFrame:
    """Visits as a CSV holds them: every kind of column, dependence, missing cells, dates."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 96, n)
    stay = np.clip(rng.gamma(2.0, 1.5, n) + (age - 18) / 20, 0, 30).round(1)
    days = pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, 700, n), unit="D")
    return pd.DataFrame(
        {
            "age": age,
            "sex": rng.choice(["female", "male"], n),
            "admitted": pd.Series(days.strftime("%Y-%m-%d")).where(rng.random(n) > 0.05),
            "ward": np.where(rng.random(n) < 0.4, rng.choice(["surgery", "medicine"], n), np.where(age > 60, "geriatrics", "surgery")),
            "smoker": np.where(rng.random(n) < 0.3, "true", "false"),
            "cost": np.where(rng.random(n) < 0.1, np.nan, (stay * 410 + rng.normal(0, 80, n)).clip(-500, 20000).round(2)),
            "stay": stay,
        }
    )


@dataclass(frozen=True)
class Said:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        return json.loads(self.out)


class Clinic:
    """A folder as a user has it (visits.csv, schema.yaml, policy.yaml, card.yaml), a home of its own, and the command line there."""

    def __init__(self, folder: Path, *, rows: int = 500) -> None:
        self.folder, self.home = folder, Home(folder / "home")
        clinic_rows(rows).to_csv(folder / "visits.csv", index=False)
        (folder / "schema.yaml").write_text(CLINIC_SCHEMA)
        (folder / "policy.yaml").write_text(CLINIC_POLICY)
        (folder / "card.yaml").write_text("{title: Visits, intended_use: to try things out}\n")

    def spec(self, **sections: Any) -> str:
        """Writes spec.yaml; a section of mappings is changed key by key, None takes a section or a key out."""
        spec = {key: dict(value) if isinstance(value, dict) else value for key, value in CLINIC_SPEC.items()}
        for key, value in sections.items():
            spec[key] = {**spec.get(key, {}), **value} if isinstance(value, dict) else value
        kept = {key: {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value for key, value in spec.items()}
        (self.folder / "spec.yaml").write_text(dump_yaml({key: value for key, value in kept.items() if value is not None}))
        return "spec.yaml"

    def __call__(self, *words: str | Path) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with self.environment(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = guardrail_run([str(word) for word in words])
        return Said(code, out.getvalue(), err.getvalue())

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """In the folder, with its home; as it was afterwards."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("GUARDRAIL_DATABASE_URL", "GUARDRAIL_ARTIFACTS_URL"):
                patch.delenv(name, raising=False)
            patch.setenv("GUARDRAIL_HOME", str(self.home.path))
            patch.chdir(self.folder)
            yield

    @property
    def runs(self) -> list[Path]:
        """Whatever lies in the folder of runs, hidden things too."""
        return sorted((self.folder / "runs").iterdir()) if (self.folder / "runs").is_dir() else []

    def ledger(self, file: str = "visits.csv") -> list[dict[str, Any]]:
        """The entries on a data set, as `guardrail budget` has them."""
        return self("budget", file, "--json").object["entries"]


@pytest.fixture
def clinic(tmp_path) -> Clinic:
    return Clinic(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Clinic, Said]:
    """A clinic with one whole run without privacy; to be read only."""
    made = Clinic(tmp_path_factory.mktemp("plain"))
    return made, made("run", made.spec(), "--json")


@pytest.fixture(scope="session")
def finished_private(tmp_path_factory) -> tuple[Clinic, Said]:
    """A clinic with one whole private run of the default generator; to be read only."""
    made = Clinic(tmp_path_factory.mktemp("private"), rows=800)
    spec = made.spec(
        generator={"name": "made", "options": {"hidden": [16]}},
        training={"epochs": 1},
        privacy={"epsilon": 3, "records": 800},
        sample={"n": 300},
    )
    return made, made("run", spec, "--json")
