"""A report and a policy make a verdict. What cannot be shown does not pass.

A rule passes only when the unfavourable end of the finding's interval satisfies it, and, where it compares with another
estimate, against the unfavourable end of that one too. It fails when even the favourable ends do not, and is `unsure`
in between. `unknown`: no finding, a finding that could not be assessed, one whose number cannot be what it says.
A blocker that does not pass fails the verdict, whatever the reason.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from ..reports.text import number
from ..vocabulary.errors import ArtifactError
from ..vocabulary.finding import Finding
from ..vocabulary.metrics import METRICS
from ..vocabulary.policy import Policy, Rule, Waiver, When
from ..vocabulary.report import Outcome, Report, RuleOutcome, Verdict
from ..vocabulary.requirement import Requirement, parse_requirement
from .policies import LoadedPolicy

Assessment = tuple[Outcome, float | None, str]
"""Status, the number that had to satisfy the rule, and why in words."""


def judge(report: Report, loaded: LoadedPolicy, *, today: dt.date | None = None, expect: Mapping[str, str] | None = None) -> Report:
    """A new report with the policy's verdict; the given one is not touched.

    Args:
        today: decides what is stale and which waivers have expired; now, if left out.
        expect: artifact hashes by role that the report must be about.
    """
    today = today or dt.datetime.now(dt.UTC).date()
    _same_artifacts(report, expect or {})
    policy, rules, notes = loaded.policy, [], []
    stale = _stale(report, policy, today)
    for rule in policy.rules:
        if reason := _left_out(rule, report):
            notes.append(f"rule '{rule.id}' does not apply: {reason}")
            continue
        assessed: Assessment = ("unknown", None, stale) if stale else _assess(rule, report, policy.level)
        waiver = _waiver(policy, rule, today)
        outcome = _outcome(rule, report, assessed, waiver)
        rules.append(outcome)
        notes += [f"waiver for '{rule.id}' by {old.by} expired on {old.until} and is ignored" for old in _expired(policy, rule, today)]
    if not rules:
        notes.append("no rule of this policy applies to this report, so nothing was shown; choose a policy made for it")
    blocked = any(rule.severity == "blocker" and rule.status not in ("pass", "waived") for rule in rules)
    verdict = Verdict(
        policy=policy.name,
        policy_sha256=loaded.sha256,
        status="fail" if blocked or not rules else "pass",
        rules=tuple(rules),
        notes=tuple(notes),
    )
    return report.model_copy(update={"verdict": verdict})


def _same_artifacts(report: Report, expect: Mapping[str, str]) -> None:
    for role, wanted in expect.items():
        found = report.subject.artifacts.get(role)
        if found != wanted:
            raise ArtifactError(
                f"the report is about another {role}: it names {found or 'none'}, expected {wanted}; "
                "audit that artifact and judge the new report"
            )


def _stale(report: Report, policy: Policy, today: dt.date) -> str:
    """Why the report's date disqualifies it, or an empty string."""
    made = report.created.astimezone(dt.UTC).date()
    if made > today + dt.timedelta(days=1):
        return f"the report is dated {made}, in the future; mend the clock and audit again"
    if policy.max_age_days is not None and (today - made).days > policy.max_age_days:
        return f"the report is of {made}, older than the {policy.max_age_days} days this policy allows; audit again"
    return ""


def _left_out(rule: Rule, report: Report) -> str:
    """Which condition of the rule is not met, or an empty string."""
    when, subject = rule.when, report.subject
    if when.modality is not None and subject.modality not in when.modality:
        return f"it is for {', '.join(when.modality)}, this is {subject.modality}"
    if when.family is not None and subject.family not in when.family:
        return f"it is for {', '.join(when.family)}, this is {subject.family or 'a model we did not train'}"
    if when.receipt is not None and when.receipt != (subject.receipt is not None):
        return "there is no training receipt" if when.receipt else "there is a training receipt"
    return _without_target(rule, when, report)


def _without_target(rule: Rule, when: When, report: Report) -> str:
    """A measured finding shows that there was a target, whatever the report's subject says: a rule must not be dodged."""
    found = report.finding(rule.metric)
    named = report.subject.target is not None or (found is not None and found.value is not None)
    if when.target is None or when.target == named:
        return ""
    return "no target column was named" if when.target else "a target column was named"


def _assess(rule: Rule, report: Report, level: float) -> Assessment:
    findings = [found for found in report.findings if found.metric == rule.metric]
    if len(findings) != 1:
        return "unknown", None, "the report has this metric twice" if findings else "the report has no such finding"
    (finding,) = findings
    if reason := _unusable(finding, level):
        return "unknown", None, reason
    requirement = parse_requirement(rule.require)
    operand = requirement.operand_in(finding)
    if operand is None:
        return "unknown", _end(finding.low, finding.high, requirement.upper), f"the finding has no '{requirement.operand}' to compare with"
    worst = _end(finding.low, finding.high, requirement.upper)
    best = _end(finding.low, finding.high, not requirement.upper)
    strict = _shifted(_end(operand.low, operand.high, not requirement.upper), requirement)
    lenient = _shifted(_end(operand.low, operand.high, requirement.upper), requirement)
    return _compared(requirement, worst, best, strict, lenient)


def _compared(requirement: Requirement, worst: float | None, best: float | None, strict: float | None, lenient: float | None) -> Assessment:
    """An end that is null is unbounded: nothing can pass by it, and nothing can fail by it."""
    if worst is not None and strict is not None and requirement.holds(worst, strict):
        return "pass", worst, _against(requirement, strict)
    if best is not None and lenient is not None and not requirement.holds(best, lenient):
        return "fail", worst, f"even the favourable end, {best:.4g}, does not satisfy it" + _threshold(requirement, lenient)
    if worst is None:
        return "unsure", None, "the interval has no end on the unfavourable side"
    return "unsure", worst, "the favourable end of the interval may satisfy it" + _threshold(requirement, strict)


def _unusable(finding: Finding, level: float) -> str:
    """Why the finding's number cannot decide anything, or an empty string."""
    if finding.value is None:
        return f"not assessable: {finding.reason}"
    exact = finding.low == finding.high == finding.value
    if not exact and finding.level < level - 1e-9:
        return f"its interval has confidence {finding.level:g}, the policy asks for {level:g}"
    metric = METRICS.get(finding.metric)
    if metric and not _within(finding.value, metric.least, metric.most):
        return f"{finding.value:g} lies outside what the metric can be; were units mixed up?"
    return ""


def _within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _end(low: float | None, high: float | None, upper: bool) -> float | None:
    return high if upper else low


def _shifted(end: float | None, requirement: Requirement) -> float | None:
    return None if end is None else end + requirement.number


def _threshold(requirement: Requirement, threshold: float | None) -> str:
    """What a comparison asked in numbers; a plain threshold stands in the rule already."""
    if requirement.operand is None:
        return ""
    return "; there is no bound to compare with" if threshold is None else f"; compared with {requirement.with_bound(number(threshold))}"


def _against(requirement: Requirement, threshold: float) -> str:
    return "" if requirement.operand is None else _threshold(requirement, threshold).removeprefix("; ")


def _waiver(policy: Policy, rule: Rule, today: dt.date) -> Waiver | None:
    return next((waiver for waiver in policy.waivers if waiver.rule == rule.id and waiver.until >= today), None)


def _expired(policy: Policy, rule: Rule, today: dt.date) -> list[Waiver]:
    return [waiver for waiver in policy.waivers if waiver.rule == rule.id and waiver.until < today]


def _outcome(rule: Rule, report: Report, assessed: Assessment, waiver: Waiver | None) -> RuleOutcome:
    status, judged, note = assessed
    if waiver and status != "pass":
        status, note = (
            "waived",
            f"would be {status}{': ' + note if note else ''}; waived by {waiver.by} until {waiver.until}: {waiver.reason}",
        )
    finding = report.finding(rule.metric)
    return RuleOutcome(
        id=rule.id,
        metric=rule.metric,
        status=status,
        severity=rule.severity,
        require=rule.require,
        observed=finding.value if finding else None,
        judged=judged,
        controls=rule.controls,
        why=rule.why,
        note=note,
    )
