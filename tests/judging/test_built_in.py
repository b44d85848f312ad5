"""The built-in policies on findings as the audits report them at 10,000 rows: honest rows pass, planted failures do not."""

import pytest

from guardrail.judging.judge import judge
from guardrail.judging.policies import load
from guardrail.statistics import wilson
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.finding import Finding


def _interval(value, half, n=10_000):
    return Estimate(value=value, low=value - half, high=value + half, n=n, method="bootstrap")


def _honest(n=10_000):
    floor = {"floor": _interval(0.921, 0.004)}
    return {
        "quality.pairs": (_interval(0.976, 0.004), floor),
        "quality.validity": (wilson(n, n), {}),
        "quality.detection_auc": (_interval(0.503, 0.015), {}),
        "quality.utility_gap": (_interval(0.001, 0.004), {"floor": _interval(0.4, 0.01)}),
        "fairness.demographic_parity_difference": (_interval(0.18, 0.03), {"real": _interval(0.18, 0.03)}),
        "fairness.equalized_odds_difference": (_interval(0.09, 0.03), {"real": _interval(0.09, 0.03)}),
        "bias.representation": (Estimate(value=0.93, low=0.72, high=1.1, n=n), {}),
        "privacy.exact_copies": (wilson(n // 1000, n), {"holdout": wilson(n // 1000, n)}),
        "privacy.nearest_record_share": (wilson(n // 2, n), {}),
        "privacy.membership_auc": (_interval(0.501, 0.012), {}),
    }


def _ours():
    return _honest() | {
        "quality.pairs": (_interval(0.949, 0.004), {"floor": _interval(0.921, 0.004)}),
        "quality.utility_gap": (_interval(0.03, 0.01), {"floor": _interval(0.4, 0.01)}),
        "quality.detection_auc": (_interval(0.83, 0.01), {}),
        "privacy.epsilon": (Estimate.exact(2.99), {}),
        "privacy.delta": (Estimate.exact(1e-5), {}),
        "privacy.claim": (Estimate.exact(0.0), {}),
        "provenance.manifest_coverage": (Estimate.exact(1.0), {}),
    }


def _verdict(report, values, policy, today, **subject):
    found = [Finding.measured(name, own, estimand="", comparisons=beside) for name, (own, beside) in values.items()]
    return judge(report(*found, target="y", **subject), load(policy), today=today).verdict


def _blockers(verdict):
    return {rule.id: rule.status for rule in verdict.rules if rule.severity == "blocker" and rule.status != "pass"}


@pytest.mark.parametrize("n", [2_000, 10_000, 40_000])
def test_honest_samples_from_elsewhere_pass(n, report, today):
    verdict = _verdict(report, _honest(n), "samples", today)
    assert (_blockers(verdict), verdict.status) == ({}, "pass")


@pytest.mark.parametrize("n", [2_000, 10_000, 40_000])
@pytest.mark.parametrize("policy", ["samples", "research", "release"])
def test_one_copy_in_twenty_rows_fails_every_policy(n, policy, report, today):
    planted = _honest(n) | {"privacy.exact_copies": (wilson(n // 20, n), {"holdout": wilson(n // 1000, n)})}
    assert _blockers(_verdict(report, planted, policy, today))["copies"] == "fail"


def test_a_group_that_was_dropped_fails_the_samples_policy(report, today):
    planted = _honest() | {"bias.representation": (Estimate(value=0.0, low=0.0, high=0.002, n=10_000), {})}
    assert _blockers(_verdict(report, planted, "samples", today)) == {"representation": "fail"}


def test_a_good_private_model_of_ours_passes_release(report, today):
    verdict = _verdict(report, _ours(), "release", today, receipt="sha256:1", family="made")
    assert (_blockers(verdict), verdict.status) == ({}, "pass")


def test_honest_samples_without_a_receipt_do_not_pass_release(report, today):
    blockers = _blockers(_verdict(report, _honest(), "release", today))
    assert blockers == {"epsilon": "unknown", "delta": "unknown", "claim": "unknown", "manifests": "unknown"}


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("privacy.epsilon", Estimate.exact(10.5)),
        ("privacy.delta", Estimate.exact(1e-4)),
        ("privacy.claim", Estimate.exact(1.0)),
        ("provenance.manifest_coverage", Estimate.exact(0.99)),
        ("privacy.membership_auc", _interval(0.7, 0.01)),
        ("privacy.nearest_record_share", wilson(6_000, 10_000)),
        ("quality.validity", wilson(9_500, 10_000)),
    ],
)
def test_each_planted_failure_fails_release(metric, value, report, today):
    verdict = _verdict(report, _ours() | {metric: (value, {})}, "release", today, receipt="sha256:1")
    assert list(_blockers(verdict).values()) == ["fail"]


@pytest.mark.parametrize(("metric", "rule"), [("quality.pairs", "dependence"), ("quality.utility_gap", "utility")])
def test_a_model_no_better_than_its_floor_is_not_released(metric, rule, report, today):
    own = _ours()[metric][1]["floor"]
    verdict = _verdict(report, _ours() | {metric: (own, {"floor": own})}, "release", today, receipt="sha256:1")
    assert rule in _blockers(verdict)


def test_research_blocks_only_copies_and_validity():
    assert {rule.metric for rule in load("research").policy.rules if rule.severity == "blocker"} == {
        "privacy.exact_copies",
        "quality.validity",
    }
