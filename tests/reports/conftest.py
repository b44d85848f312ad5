"""A judged report with findings of every shape, and one whose every name is an attack."""

import datetime as dt

import pytest

from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Bars, Curve, Heatmap, Whiskers
from guardrail.vocabulary.report import Report, RuleOutcome, Subject, Verdict

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[x](javascript:alert(1))",
    "{{7*7}}",
    "=HYPERLINK(1)",
    "@SUM(1)",
    "\x1b[31mred\x00",
    "abc\u202egnp",
    "a|b\n# heading\n- item",
    "]]><x>&amp;",
)


def build(names=("sex=female", "sex=male"), *, name="clinic visits", small=12):
    """`names`: two or more group, column and category names."""
    first, second = names[0], names[1]
    pairs = Finding.measured(
        "quality.pairs",
        Estimate(value=0.9514, low=0.9483, high=0.9547, n=8123, method="bootstrap"),
        estimand=f"similarity of pairs, mean over columns such as {first}, 8123 rows a side",
        reference=0.9763,
        comparisons={
            "floor": Estimate(value=0.9211, low=0.9182, high=0.9243, n=8123),
            "small": Estimate(value=0.5, low=0.2, high=0.8, n=9),
        },
        groups={column: Estimate(value=0.94, low=0.93, high=0.95, n=8123) for column in names},
        plots=(
            Bars(title=f"Shares of {first}", labels=tuple(names), series={second: tuple(0.1 * i for i in range(len(names)))}),
            Heatmap(title="Pairs", rows=("age", "income"), columns=("age", "income"), values=((1.0, 0.9437), (0.9437, None))),
            Heatmap(title=f"By {first}", rows=(first,), columns=("a=b",), values=((0.5,),)),
        ),
        caveats=(f"High similarity says nothing about privacy: {second}.",),
    )
    groups = {
        first: Estimate(value=0.51, low=0.47, high=0.55, n=917),
        second: Estimate(value=0.5, low=0.48, high=0.52, n=3104),
        "race=a": Estimate(value=0.7123, low=0.4, high=0.9, n=small),
        "race=b": Estimate(value=0.61, low=0.5, high=0.7, n=201),
        "race=c": Estimate(value=0.503, low=0.49, high=0.52, n=3800),
    }
    membership = Finding.measured(
        "privacy.membership_auc",
        Estimate(value=0.5031, low=0.4892, high=0.5174, n=4021, method="delong"),
        estimand="area under the curve of the best attack",
        reference=0.5,
        groups=groups,
        plots=(
            Curve(title="Attacks", x="false positives", y="true positives", series={first: ((0, 0), (0.5, 0.51), (1, 1))}, diagonal=True),
            Whiskers(
                title="By group",
                labels=("all rows", *groups),
                values=(0.5031, *(g.value for g in groups.values())),
                lows=(0.4892, *(g.low for g in groups.values())),
                highs=(None, *(g.high for g in groups.values())),
                line=0.5,
            ),
        ),
        caveats=("An attack that fails certifies nothing.",),
    ).model_copy(update={"evidence": ("sha256:" + "e" * 64, "hmac-sha256:" + "a" * 64), "seconds": 1.25})
    findings = (
        pairs,
        membership,
        Finding.measured("privacy.epsilon", Estimate.exact(2.9712), estimand="epsilon by the PRV accountant"),
        Finding.measured("privacy.delta", Estimate.exact(1e-5), estimand="delta"),
        Finding.not_assessable("fairness.demographic_parity_difference", f"no column {first} was named"),
    )
    rules = (
        _rule("pairs", "quality.pairs", "pass", ">= floor", 0.9514, 0.9483, note="compared with at least 0.9243 for the floor"),
        _rule("membership", "privacy.membership_auc", "unsure", "<= 0.51", 0.5031, 0.5174, why=first, note=f"because of {second}"),
        _rule("parity", "fairness.demographic_parity_difference", "unknown", "<= 0.1", None, None, severity="warning"),
        _rule(
            "delta", "privacy.delta", "waived", "<= 1e-6", 1e-5, 1e-5, note="would be fail; waived by A. Person until 2026-05-01: agreed"
        ),
        _rule("detection", "quality.detection_auc", "fail", "<= 0.6", 0.7, 0.7, severity="info"),
    )
    return Report(
        created=dt.datetime(2026, 3, 10, 10, 15, tzinfo=dt.UTC),
        guardrail_version="0.1.0",
        subject=Subject(
            name=name,
            family="made",
            receipt="sha256:" + "b" * 64,
            target="income",
            artifacts={"synthetic": "sha256:" + "c" * 64, "train": "hmac-sha256:" + "a" * 64, "holdout": "sha256:" + "e" * 64},
            rows={"synthetic": 8123, "train": 32561},
        ),
        findings=findings,
        verdict=Verdict(policy="mine", policy_sha256="d" * 64, status="fail", rules=rules, notes=("rule 'x' does not apply: no target",)),
    )


def _rule(name, metric, status, require, observed, judged, *, severity="blocker", why="because", note=""):
    return RuleOutcome(
        id=name, metric=metric, status=status, severity=severity, require=require, observed=observed, judged=judged, why=why, note=note
    )


@pytest.fixture
def report():
    return build()


@pytest.fixture
def hostile_report():
    return build(HOSTILE, name=HOSTILE[0] + HOSTILE[1])


@pytest.fixture
def build_report():
    return build


@pytest.fixture
def hostile():
    return HOSTILE
