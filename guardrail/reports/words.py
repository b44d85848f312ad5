"""Statuses, families and outcomes in words: every view says the same thing the same way, and never by colour alone."""

from __future__ import annotations

from collections.abc import Iterable

from ..vocabulary.finding import Finding
from ..vocabulary.metrics import METRICS
from ..vocabulary.policy import When
from ..vocabulary.report import RuleOutcome, Verdict
from ..vocabulary.requirement import parse_requirement
from .text import number

ICONS: dict[str, str] = {"pass": "✓", "fail": "✕", "unsure": "≈", "unknown": "?", "waived": "⚑"}
STATUS: dict[str, str] = {"pass": "passes", "fail": "fails", "unsure": "unsure", "unknown": "unknown", "waived": "waived"}
SEVERITY: dict[str, str] = {"blocker": "blocks", "warning": "warns", "info": "informs"}
FAMILIES: dict[str, str] = {
    "privacy": "Privacy",
    "quality": "Quality",
    "fairness": "Fairness",
    "bias": "Bias",
    "provenance": "Provenance",
    "data": "Data",
    "human": "Human judgement",
    "training": "Training",
    "card": "Card",
}
OUTSIDE_EPSILON = (
    "Audits read private records, so the numbers here lie outside any epsilon, which covers only what leaves by training. "
    "Publish them on purpose or not at all."
)


def question(metric: str) -> str:
    """What a reader would ask; a third party's metric is its own name."""
    return METRICS[metric].question if metric in METRICS else metric


def family(metric: str) -> str:
    prefix = metric.partition(".")[0]
    return FAMILIES.get(prefix, prefix)


def by_family(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings under their family's title, families in a fixed order, others last."""
    found: dict[str, list[Finding]] = {title: [] for title in FAMILIES.values()}
    for finding in findings:
        found.setdefault(family(finding.metric), []).append(finding)
    return {title: members for title, members in found.items() if members}


def requirement(require: str) -> str:
    """`at most 0.55`; a requirement that does not parse is shown as it stands."""
    try:
        return parse_requirement(require).in_words()
    except ValueError:
        return require


def outcome(rule: RuleOutcome) -> str:
    """One sentence: what was asked, what was found, what had to satisfy it."""
    asked = f"Must be {requirement(rule.require)}"
    if rule.observed is None:
        return f"{asked}; there is no number."
    if rule.judged is None or rule.judged == rule.observed:
        return f"{asked}; found {number(rule.observed)}."
    return f"{asked}; found {number(rule.observed)}, judged at the unfavourable end of its interval, {number(rule.judged)}."


def not_passing(verdict: Verdict, severity: str | None = None) -> list[RuleOutcome]:
    """Rules that do not pass, those that block first; waived ones stand elsewhere."""
    rank = list(SEVERITY)
    found = [rule for rule in verdict.rules if rule.status not in ("pass", "waived") and severity in (None, rule.severity)]
    return sorted(found, key=lambda rule: rank.index(rule.severity))


def not_passing_of(verdicts: Iterable[Verdict], severity: str) -> list[tuple[str, RuleOutcome]]:
    """The same over several policies, each rule with the policy it belongs to."""
    return [(verdict.policy, rule) for verdict in verdicts for rule in not_passing(verdict, severity)]


def waived_in(verdicts: Iterable[Verdict]) -> list[RuleOutcome]:
    return [rule for verdict in verdicts for rule in verdict.rules if rule.status == "waived"]


def verdict_line(verdict: Verdict | None) -> str:
    if verdict is None:
        return "Not judged by any policy"
    return f"Passes the policy '{verdict.policy}'" if verdict.status == "pass" else f"Does not pass the policy '{verdict.policy}'"


def condition(when: When) -> str:
    """`where we trained the generator and a target was named`, or an empty string."""
    parts = [f"for {', '.join(when.modality)} data"] if when.modality else []
    parts += [f"for the family {', '.join(when.family)}"] if when.family else []
    parts += [] if when.receipt is None else ["where we trained the generator" if when.receipt else "where we did not train the generator"]
    parts += [] if when.target is None else ["where a target was named" if when.target else "where no target was named"]
    return ", ".join(parts)
