"""Reports and policies small enough to judge by hand."""

import datetime as dt

import pytest

from guardrail.judging.policies import LoadedPolicy, read_policy
from guardrail.vocabulary.documents import dump_yaml
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.report import Report, Subject

TODAY = dt.date(2026, 3, 10)


@pytest.fixture
def finding():
    """`finding(0.53, 0.51, 0.55, holdout=(0.5, 0.49, 0.51))`"""

    def build(value, low, high, *, metric="privacy.membership_auc", reference=None, level=0.95, **comparisons):
        estimate = Estimate(value=value, low=low, high=high, n=1000, method="delong", level=level)
        beside = {name: Estimate(value=v, low=lo, high=hi, n=1000, method="delong") for name, (v, lo, hi) in comparisons.items()}
        return Finding.measured(metric, estimate, estimand="by hand", reference=reference, comparisons=beside)

    return build


@pytest.fixture
def report():
    def build(*findings, created=TODAY, **subject):
        moment = dt.datetime.combine(created, dt.time(12), dt.UTC)
        return Report(created=moment, guardrail_version="0", subject=Subject(name="by hand", **subject), findings=findings)

    return build


@pytest.fixture
def policy():
    """One rule `r`; keywords change it, `waivers` and `max_age_days` the policy."""

    def build(require, *, waivers=(), max_age_days=None, **rule) -> LoadedPolicy:
        line = {"id": "r", "metric": "privacy.membership_auc", "require": require, "severity": "blocker", "why": "w", "source": "s", **rule}
        text = dump_yaml({"name": "mine", "description": "d", "max_age_days": max_age_days, "rules": [line], "waivers": list(waivers)})
        return LoadedPolicy(read_policy(text, where="mine.yaml"), "0" * 64, "mine.yaml")

    return build


@pytest.fixture
def today():
    return TODAY
