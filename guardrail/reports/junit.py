"""The verdict as JUnit XML, which every CI system shows: one test case per rule.

A blocker that does not pass is a failure, for whatever reason; a warning or an information that does not pass, and a
waived rule, are skipped with a message, so that they are seen and stop nothing.
"""

from __future__ import annotations

from xml.etree import ElementTree as Tree

from ..vocabulary.report import Report, RuleOutcome
from . import words
from .text import inert


def junit_xml(report: Report) -> bytes:
    """A test suite named after the policy; without a verdict it is empty."""
    verdict = report.verdict
    rules = verdict.rules if verdict else ()
    failures, skipped = sum(map(_blocks, rules)), sum(rule.status != "pass" and not _blocks(rule) for rule in rules)
    totals = {"tests": str(len(rules)), "failures": str(failures), "errors": "0", "skipped": str(skipped)}
    suites = Tree.Element("testsuites", {"name": "guardrail", **totals})
    suite = Tree.SubElement(
        suites,
        "testsuite",
        {
            "name": f"policy {verdict.policy}" if verdict else "not judged",
            **totals,
            "timestamp": report.created.isoformat(timespec="seconds"),
        },
    )
    for rule in rules:
        _case(suite, rule, f"guardrail.{verdict.policy if verdict else ''}")
    Tree.indent(suites)
    content: bytes = Tree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _blocks(rule: RuleOutcome) -> bool:
    return rule.severity == "blocker" and rule.status not in ("pass", "waived")


def _case(suite: Tree.Element, rule: RuleOutcome, classname: str) -> None:
    case = Tree.SubElement(suite, "testcase", {"classname": classname, "name": inert(f"{rule.id}: {rule.metric} {rule.require}")})
    message = inert(f"{rule.severity} {words.STATUS[rule.status]}: {words.outcome(rule)} {rule.note}".strip())
    if _blocks(rule):
        Tree.SubElement(case, "failure", {"type": rule.status, "message": message}).text = inert(rule.why)
    elif rule.status != "pass":
        Tree.SubElement(case, "skipped", {"message": message})
