"""The verdict as SARIF 2.1.0 (docs.oasis-open.org/sarif/sarif/v2.1.0), which code hosts show beside the code.

One result per rule that does not pass; a waived one is a result that is suppressed, with who and why. The location is the
report itself: the fault lies in an artifact, not in a line of code.
"""

from __future__ import annotations

from typing import Any

from ..vocabulary.report import Report, RuleOutcome
from . import words

_LEVEL = {"blocker": "error", "warning": "warning", "info": "note"}


def sarif(report: Report) -> dict[str, Any]:
    rules = report.verdict.rules if report.verdict else ()
    driver = {
        "name": "guardrail",
        "version": report.guardrail_version,
        "rules": [_rule(rule) for rule in rules],
    }
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(place, rule) for place, rule in enumerate(rules) if rule.status != "pass"],
        "properties": {"subject": report.subject.name, "audience": report.audience},
    }
    if report.verdict:
        run["properties"] |= {
            "policy": report.verdict.policy,
            "policy_sha256": report.verdict.policy_sha256,
            "verdict": report.verdict.status,
        }
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _rule(rule: RuleOutcome) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": f"{rule.metric} {rule.require}"},
        "fullDescription": {"text": rule.why or words.question(rule.metric)},
        "defaultConfiguration": {"level": _LEVEL[rule.severity]},
        "properties": {"tags": list(rule.controls)},
    }


def _result(place: int, rule: RuleOutcome) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": rule.id,
        "ruleIndex": place,
        "kind": "fail",
        "level": _LEVEL[rule.severity],
        "message": {"text": f"{rule.metric} {words.STATUS[rule.status]}. {words.outcome(rule)} {rule.note}".strip()},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": "report.json"}, "region": {"startLine": 1}}}],
        "properties": {"status": rule.status, "observed": rule.observed, "judged": rule.judged},
    }
    if rule.status == "waived":
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": rule.note}]
    return result
