import datetime as dt

import pytest

from guardrail.reports.terminal import WIDTH, findings_table, verdict_line
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.report import Report, RuleOutcome, Subject, Verdict


def rule(name, metric, status, severity="blocker"):
    return RuleOutcome(id=name, metric=metric, status=status, severity=severity, require="<= 1", observed=None, judged=None)


def report(*rules, findings=None):
    findings = findings or (
        Finding.measured("privacy.membership_auc", Estimate(value=0.53, low=0.51, high=0.55), estimand="x", reference=0.5),
        Finding.measured("privacy.epsilon", Estimate.exact(3.0), estimand="x"),
        Finding.not_assessable("quality.utility_auc", "no target column was named"),
    )
    verdict = Verdict(policy="samples", policy_sha256="00", status="fail", rules=rules) if rules else None
    return Report(
        created=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), guardrail_version="0", subject=Subject(name="x"), findings=findings, verdict=verdict
    )


def test_value_interval_reference_and_rule_stand_in_one_line():
    line = findings_table(report(rule("membership", "privacy.membership_auc", "pass"))).splitlines()[2]
    assert line.split() == ["privacy.membership_auc", "0.530", "0.510", "to", "0.550", "0.500", "pass"]


def test_an_exact_number_and_one_that_is_not_there_are_told_apart():
    text = findings_table(report())
    assert "exact" in text.splitlines()[3]
    assert "not assessable" in text.splitlines()[4]
    assert "quality.utility_auc: no target column was named" in text.splitlines()[5]


def test_the_rule_of_a_metric_that_blocks_comes_first_with_its_severity():
    rules = [
        rule("weak", "privacy.epsilon", "unsure", "warning"),
        rule("strict", "privacy.epsilon", "fail"),
        rule("ok", "privacy.epsilon", "pass"),
    ]
    line = findings_table(report(*rules)).splitlines()[3]
    assert line.endswith("fail strict (blocker), unsure weak (warning)")


def test_a_rule_about_what_was_not_measured_is_seen():
    assert "privacy.exact_copies" in findings_table(report(rule("copies", "privacy.exact_copies", "unknown")))


def test_the_verdict_names_what_blocks():
    found = report(
        rule("a", "privacy.epsilon", "fail"), rule("b", "privacy.delta", "unknown", "warning"), rule("c", "privacy.delta", "waived")
    )
    assert verdict_line(found.verdict) == "policy samples: fail (not passed: a)"


@pytest.mark.parametrize("hostile", ["\x1b[2Jgone", "a\nb", "‮txt", "\x00"])
def test_nothing_in_a_name_reaches_the_terminal(hostile):
    finding = Finding(metric=f"x.{hostile}", value=None, status="not_assessable", reason=f"why {hostile}", direction="lower")
    text = findings_table(report(rule("copies", f"y.{hostile}", "unknown"), findings=(finding,)))
    assert all(character.isprintable() or character == "\n" for character in text)
    assert len(text.splitlines()) == 5


def test_no_line_is_wider_than_the_terminal():
    long = "privacy." + "very_" * 60
    finding = Finding(metric=long, value=None, status="not_assessable", reason="because " * 60, direction="lower")
    rules = [rule(f"rule-{i}-{'x' * 40}", long, "fail") for i in range(5)]
    assert max(map(len, findings_table(report(*rules, findings=(finding,))).splitlines())) <= WIDTH
