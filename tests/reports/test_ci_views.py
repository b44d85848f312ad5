"""JUnit and SARIF: what CI systems and code hosts show of a verdict."""

from xml.etree import ElementTree as Tree

import pytest

from guardrail.reports.junit import junit_xml
from guardrail.reports.sarif import sarif


def _cases(report):
    suites = Tree.fromstring(junit_xml(report))  # noqa: S314  # our own
    return suites, {case.get("name").partition(":")[0]: case for case in suites.iter("testcase")}


def test_each_rule_is_a_test_case(report):
    suites, cases = _cases(report)
    assert list(cases) == ["pairs", "membership", "parity", "delta", "detection"]
    assert (suites.get("tests"), suites.get("failures"), suites.get("skipped"), suites.get("errors")) == ("5", "1", "3", "0")


@pytest.mark.parametrize(
    ("rule", "child"), [("pairs", None), ("membership", "failure"), ("parity", "skipped"), ("delta", "skipped"), ("detection", "skipped")]
)
def test_only_blockers_that_do_not_pass_are_failures(rule, child, report):
    _, cases = _cases(report)
    assert [element.tag for element in cases[rule]] == ([child] if child else [])


def test_a_failure_says_what_was_asked_and_found(report):
    _, cases = _cases(report)
    failure = cases["membership"].find("failure")
    assert failure.get("type") == "unsure"
    assert "0.51" in failure.get("message")
    assert "0.517" in failure.get("message")


def test_without_a_verdict_both_are_empty(report):
    bare = report.model_copy(update={"verdict": None})
    assert _cases(bare)[1] == {}
    assert sarif(bare)["runs"][0]["results"] == []


def test_hostile_names_stay_well_formed_xml(hostile_report):
    assert len(_cases(hostile_report)[1]) == 5


def test_sarif_holds_the_rules_that_do_not_pass(report):
    (run,) = sarif(report)["runs"]
    assert [(result["ruleId"], result["level"]) for result in run["results"]] == [
        ("membership", "error"),
        ("parity", "warning"),
        ("delta", "error"),
        ("detection", "note"),
    ]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert all(result["message"]["text"] and result["locations"] for result in run["results"])


def test_a_waived_rule_is_suppressed_with_its_reason(report):
    suppressed = [result for result in sarif(report)["runs"][0]["results"] if "suppressions" in result]
    assert [result["ruleId"] for result in suppressed] == ["delta"]
    assert "A. Person" in suppressed[0]["suppressions"][0]["justification"]
