"""Findings as a table for a terminal, 120 columns wide. Names come from data: nothing in them can move the cursor."""

from __future__ import annotations

from ..vocabulary.finding import Finding
from ..vocabulary.report import Outcome, Report, RuleOutcome, Severity, Verdict
from .text import inert, interval, number, shortened

WIDTH = 120
_WORST_FIRST: tuple[Outcome, ...] = ("fail", "unknown", "unsure", "waived", "pass")
_BLOCKERS_FIRST: tuple[Severity, ...] = ("blocker", "warning", "info")
_HEADER = ("metric", "value", "interval", "reference", "rules")


def findings_table(report: Report) -> str:
    """One line per finding: value, interval, reference, and what the rules of the verdict say of it."""
    rows = [_cells(finding, report) for finding in report.findings]
    missing = [[inert(rule.metric), "-", "", "", _status([rule])] for rule in _without_finding(report)]
    shown = [list(_HEADER), *rows, *missing]
    widths = [max(len(row[i]) for row in shown) for i in range(len(_HEADER) - 1)]
    lines = [_line(row, widths) for row in shown]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], *_reasons(report)])


def verdict_line(verdict: Verdict) -> str:
    """`policy samples: fail (not passed: copies, membership)`."""
    blocking = [rule.id for rule in verdict.rules if rule.severity == "blocker" and rule.status not in ("pass", "waived")]
    return f"policy {inert(verdict.policy)}: {verdict.status}" + (f" (not passed: {inert(', '.join(blocking))})" if blocking else "")


def _cells(finding: Finding, report: Report) -> list[str]:
    rules = [rule for rule in report.verdict.rules if rule.metric == finding.metric] if report.verdict else []
    if finding.value is None:
        return [shortened(inert(finding.metric), 44), "-", "not assessable", "", _status(rules)]
    reference = "" if finding.reference is None else number(finding.reference)
    ends = interval(finding.low, finding.high, finding.value)
    return [shortened(inert(finding.metric), 44), number(finding.value), ends, reference, _status(rules)]


def _status(rules: list[RuleOutcome]) -> str:
    """`pass`, or what blocks first: `fail copies (blocker), unsure delta (warning)`."""
    if all(rule.status == "pass" for rule in rules):
        return "pass" if rules else ""
    unpassed = [rule for rule in rules if rule.status != "pass"]
    ordered = sorted(unpassed, key=lambda rule: (_BLOCKERS_FIRST.index(rule.severity), _WORST_FIRST.index(rule.status)))
    return ", ".join(f"{rule.status} {inert(rule.id)} ({rule.severity})" for rule in ordered)


def _without_finding(report: Report) -> list[RuleOutcome]:
    """A rule about what was not measured must be seen: it blocks."""
    measured = {finding.metric for finding in report.findings}
    return [rule for rule in report.verdict.rules if rule.metric not in measured] if report.verdict else []


def _line(row: list[str], widths: list[int]) -> str:
    cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2]), row[3].rjust(widths[3]), row[4]]
    return shortened("  ".join(cells).rstrip(), WIDTH)


def _reasons(report: Report) -> list[str]:
    """Why something could not be assessed, each reason once."""
    by_reason: dict[str, list[str]] = {}
    for finding in report.findings:
        if finding.reason:
            by_reason.setdefault(finding.reason, []).append(finding.metric)
    return [shortened(f"not assessable: {inert(', '.join(metrics))}: {inert(reason)}", WIDTH) for reason, metrics in by_reason.items()]
