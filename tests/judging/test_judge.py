import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.judging.judge import judge
from guardrail.judging.policies import LoadedPolicy, read_policy
from guardrail.vocabulary.errors import ArtifactError
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.report import Report, Subject


def _status(report, policy, today):
    (rule,) = judge(report, policy, today=today).verdict.rules
    return rule.status


@pytest.mark.parametrize(
    ("require", "expected"),
    [
        ("<= 0.55", "pass"),  # equality at the threshold
        ("< 0.55", "unsure"),
        ("<= 0.54", "unsure"),
        ("<= 0.51", "unsure"),  # the favourable end touches it
        ("< 0.51", "fail"),
        ("<= 0.5", "fail"),
        (">= 0.51", "pass"),
        ("> 0.51", "unsure"),
        (">= 0.54", "unsure"),
        (">= 0.56", "fail"),
        ("> 0.55", "fail"),
    ],
)
def test_the_unfavourable_end_passes_and_the_favourable_end_fails(require, expected, report, finding, policy, today):
    assert _status(report(finding(0.53, 0.51, 0.55)), policy(require), today) == expected


def test_the_number_that_was_judged_is_the_unfavourable_end(report, finding, policy, today):
    made = report(finding(0.53, 0.51, 0.55))
    assert judge(made, policy("<= 0.6"), today=today).verdict.rules[0].judged == 0.55
    assert judge(made, policy(">= 0.4"), today=today).verdict.rules[0].judged == 0.51


@pytest.mark.parametrize(
    ("require", "expected"),
    [
        ("<= holdout + 0.07", "pass"),  # 0.55 against 0.49 + 0.07
        ("<= holdout + 0.06", "pass"),  # equality, though 0.49 + 0.06 is not 0.55 in floating point
        ("<= holdout + 0.05", "unsure"),
        ("<= holdout", "unsure"),  # 0.51 against 0.52
        ("<= holdout - 0.02", "fail"),  # 0.51 against 0.52 - 0.02
        (">= holdout - 0.01", "pass"),  # 0.51 against 0.52 - 0.01
        (">= holdout + 0.07", "fail"),  # 0.55 against 0.49 + 0.07
        ("<= reference + 0.05", "pass"),
        ("<= reference", "fail"),
    ],
)
def test_a_comparison_is_taken_at_its_unfavourable_end(require, expected, report, finding, policy, today):
    made = report(finding(0.53, 0.51, 0.55, reference=0.5, holdout=(0.5, 0.49, 0.52)))
    assert _status(made, policy(require), today) == expected


@pytest.mark.parametrize(
    ("require", "said"),
    [
        ("<= holdout + 0.06", "compared with at most 0.550 for real rows the generator never saw, 0.06 added"),
        (">= holdout - 0.01", "compared with at least 0.510 for real rows the generator never saw, 0.01 taken away"),
        ("<= reference", "compared with at most 0.500 for the reference value"),
        ("<= 0.56", ""),
    ],
)
def test_what_a_comparison_asked_is_said_in_plain_words(require, said, report, finding, policy, today):
    made = report(finding(0.53, 0.51, 0.55, reference=0.5, holdout=(0.5, 0.49, 0.52)))
    assert judge(made, policy(require), today=today).verdict.rules[0].note.endswith(said)


def test_exact_findings_are_judged_by_their_value(report, policy, today):
    made = report(Finding.measured("privacy.epsilon", Estimate.exact(3.0), estimand="by receipt"))
    assert _status(made, policy("<= 3", metric="privacy.epsilon"), today) == "pass"
    assert _status(made, policy("< 3", metric="privacy.epsilon"), today) == "fail"


@pytest.mark.parametrize(("low", "high", "expected"), [(0.51, None, "unsure"), (None, 0.55, "pass"), (None, None, "unsure")])
def test_an_end_without_bound_cannot_pass(low, high, expected, report, finding, policy, today):
    assert _status(report(finding(0.53, low, high)), policy("<= 0.56"), today) == expected


def test_an_end_without_bound_cannot_fail_either(report, finding, policy, today):
    assert _status(report(finding(0.53, None, 0.55)), policy("<= 0.5"), today) == "unsure"


def test_a_comparison_without_bound_cannot_pass(report, finding, policy, today):
    assert _status(report(finding(0.1, 0.1, 0.1, holdout=(0.5, None, 0.6))), policy("<= holdout"), today) == "unsure"


def test_a_missing_metric_fails_closed(report, policy, today):
    judged = judge(report(), policy("<= 0.55"), today=today)
    assert (judged.verdict.status, judged.verdict.rules[0].status) == ("fail", "unknown")


def test_what_is_not_assessable_fails_closed_and_says_why(report, policy, today):
    judged = judge(report(Finding.not_assessable("privacy.membership_auc", "no holdout was given")), policy("<= 0.55"), today=today)
    assert judged.verdict.status == "fail"
    assert "no holdout was given" in judged.verdict.rules[0].note


def test_a_missing_comparison_fails_closed(report, finding, policy, today):
    assert _status(report(finding(0.1, 0.1, 0.1)), policy("<= holdout + 0.4"), today) == "unknown"
    assert _status(report(finding(0.1, 0.1, 0.1)), policy("<= reference"), today) == "unknown"


def test_a_metric_that_is_reported_twice_is_unknown(report, finding, policy, today):
    assert _status(report(finding(0.5, 0.5, 0.5), finding(0.9, 0.9, 0.9)), policy("<= 0.55"), today) == "unknown"


def test_a_finding_in_other_units_is_unknown(report, finding, policy, today):
    assert _status(report(finding(53, 51, 55)), policy(">= 0.5"), today) == "unknown"


def test_a_finding_less_confident_than_the_policy_asks_is_unknown(report, finding, policy, today):
    assert _status(report(finding(0.53, 0.53, 0.531, level=0.5)), policy("<= 0.55"), today) == "unknown"


def test_a_value_that_is_no_number_is_refused_before_it_is_judged():
    with pytest.raises(ValueError, match="finite"):
        Estimate(value=float("nan"), low=None, high=None)


def test_a_value_outside_its_own_interval_is_refused():
    with pytest.raises(ValueError, match="outside its interval"):
        Finding(metric="privacy.epsilon", value=5.0, low=1.0, high=2.0, direction="lower")


@pytest.mark.parametrize(
    ("severity", "expected"),
    [("blocker", "fail"), ("warning", "pass"), ("info", "pass")],
)
def test_only_blockers_fail_a_verdict(severity, expected, report, finding, policy, today):
    judged = judge(report(finding(0.9, 0.9, 0.9)), policy("<= 0.55", severity=severity), today=today)
    assert (judged.verdict.rules[0].status, judged.verdict.status) == ("fail", expected)


def test_the_report_that_was_given_is_not_touched(report, finding, policy, today):
    made = report(finding(0.5, 0.5, 0.5))
    before = made.model_dump_json()
    assert judge(made, policy("<= 0.55"), today=today).verdict is not None
    assert made.model_dump_json() == before


class TestConditions:
    @pytest.mark.parametrize(
        ("when", "subject", "applies"),
        [
            ({"receipt": True}, {}, False),
            ({"receipt": True}, {"receipt": "sha256:1"}, True),
            ({"receipt": False}, {"receipt": "sha256:1"}, False),
            ({"modality": "tabular"}, {}, True),
            ({"modality": ["image", "text"]}, {}, False),
            ({"family": "made"}, {}, False),
            ({"family": "made"}, {"family": "made"}, True),
            ({"target": True}, {}, False),
            ({"target": True}, {"target": "readmitted"}, True),
        ],
    )
    def test_a_rule_whose_condition_is_not_met_is_left_out(self, when, subject, applies, report, policy, today):
        rules = judge(report(**subject), policy("<= 0.5", when=when), today=today).verdict.rules
        assert bool(rules) is applies

    def test_a_rule_about_the_target_is_not_dodged_by_leaving_it_out_of_the_subject(self, report, finding, policy, today):
        made = report(finding(0.9, 0.9, 0.9))
        assert _status(made, policy("<= 0.5", when={"target": True}), today) == "fail"

    def test_a_policy_of_which_no_rule_applies_does_not_pass(self, report, policy, today):
        verdict = judge(report(), policy("<= 0.5", when={"receipt": True}), today=today).verdict
        assert (verdict.status, verdict.rules) == ("fail", ())
        assert any("no rule" in note for note in verdict.notes)


class TestWaivers:
    @staticmethod
    def _waiver(until):
        return {"rule": "r", "reason": "accepted by the data board", "by": "A. Person", "until": until}

    def test_a_waiver_lets_a_failing_rule_through_and_is_printed(self, report, finding, policy, today):
        judged = judge(report(finding(0.9, 0.9, 0.9)), policy("<= 0.55", waivers=[self._waiver("2026-03-10")]), today=today)
        assert (judged.verdict.status, judged.verdict.rules[0].status) == ("pass", "waived")
        assert "A. Person" in judged.verdict.rules[0].note
        assert "would be fail" in judged.verdict.rules[0].note

    def test_an_expired_waiver_is_ignored_and_said_to_be(self, report, finding, policy, today):
        judged = judge(report(finding(0.9, 0.9, 0.9)), policy("<= 0.55", waivers=[self._waiver("2026-03-09")]), today=today)
        assert (judged.verdict.status, judged.verdict.rules[0].status) == ("fail", "fail")
        assert any("expired on 2026-03-09" in note for note in judged.verdict.notes)

    def test_a_waiver_changes_nothing_where_the_rule_passes(self, report, finding, policy, today):
        assert _status(report(finding(0.5, 0.5, 0.5)), policy("<= 0.55", waivers=[self._waiver("2026-03-10")]), today) == "pass"


class TestAge:
    @pytest.mark.parametrize(("days", "expected"), [(30, "pass"), (31, "unknown"), (-1, "pass"), (-2, "unknown")])
    def test_a_report_too_old_or_from_the_future_proves_nothing(self, days, expected, report, finding, policy, today):
        made = report(finding(0.5, 0.5, 0.5), created=today - dt.timedelta(days=days))
        assert _status(made, policy("<= 0.55", max_age_days=30), today) == expected

    def test_without_a_limit_age_does_not_matter(self, report, finding, policy, today):
        made = report(finding(0.5, 0.5, 0.5), created=today - dt.timedelta(days=4000))
        assert _status(made, policy("<= 0.55"), today) == "pass"


class TestArtifacts:
    def test_a_report_about_the_expected_artifact_is_judged(self, report, finding, policy, today):
        made = report(finding(0.5, 0.5, 0.5), artifacts={"synthetic": "sha256:1"})
        assert judge(made, policy("<= 0.55"), today=today, expect={"synthetic": "sha256:1"}).verdict.status == "pass"

    @pytest.mark.parametrize("artifacts", [{}, {"synthetic": "sha256:2"}])
    def test_a_report_about_another_artifact_is_refused(self, artifacts, report, finding, policy, today):
        with pytest.raises(ArtifactError, match="another synthetic"):
            judge(report(finding(0.5, 0.5, 0.5), artifacts=artifacts), policy("<= 0.55"), today=today, expect={"synthetic": "sha256:1"})


_SHARE = st.floats(0, 1).map(lambda value: round(value, 6))


@given(ends=st.tuples(_SHARE, _SHARE, _SHARE).map(sorted), threshold=st.floats(0.01, 0.99).map(lambda value: round(value, 6)))
def test_pass_means_that_every_value_of_the_interval_satisfies_it_and_fail_that_none_does(ends, threshold):
    low, value, high = ends
    estimate = Estimate(value=value, low=low, high=high, n=10)
    made = Report(
        created=dt.datetime(2026, 3, 10, tzinfo=dt.UTC),
        guardrail_version="0",
        subject=Subject(name="x"),
        findings=(Finding.measured("quality.pairs", estimate, estimand=""),),
    )
    text = (
        "{name: mine, description: d, rules: [{id: r, metric: quality.pairs, "
        f"require: '<= {threshold}', severity: blocker, why: w, source: s}}]}}"
    )
    loaded = LoadedPolicy(read_policy(text, where="x"), "0", "x")
    status = _status(made, loaded, dt.date(2026, 3, 10))
    satisfied = [end <= threshold for end in ends]
    assert status == ("pass" if all(satisfied) else "fail" if not any(satisfied) else "unsure")
