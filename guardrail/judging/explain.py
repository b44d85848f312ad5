"""A policy in words: each rule, what happens if it is not met, why it stands, where its threshold comes from."""

from __future__ import annotations

from ..reports.text import inert
from ..reports.words import SEVERITY, condition, question, requirement
from ..vocabulary.policy import Policy, Rule
from .policies import LoadedPolicy


def explained(loaded: LoadedPolicy) -> str:
    """Lines for a terminal; nothing in a policy file can move the cursor."""
    policy = loaded.policy
    lines = [f"{policy.name}: {inert(policy.description)}", f"{inert(loaded.source)}, sha256:{loaded.sha256}", ""]
    lines += _age(policy)
    for rule in policy.rules:
        lines += ["", *_rule(rule)]
    for waiver in policy.waivers:
        lines += ["", f"waived: {waiver.rule} until {waiver.until} by {inert(waiver.by)}: {inert(waiver.reason)}"]
    return "\n".join(lines)


def _age(policy: Policy) -> list[str]:
    fresh = f"Reports older than {policy.max_age_days} days prove nothing. " if policy.max_age_days else ""
    return [
        f"{fresh}A rule passes when the unfavourable end of the interval satisfies it; what is unsure or unknown does not pass.",
        "The policy fails when a rule that blocks does not pass.",
    ]


def _rule(rule: Rule) -> list[str]:
    applies = condition(rule.when)
    lines = [
        f"{rule.id}  ({SEVERITY[rule.severity]})",
        f"  {inert(rule.metric)} must be {requirement(rule.require)}" + (f", {inert(applies)}" if applies else ""),
        f"  asks: {inert(question(rule.metric))}",
        f"  why: {inert(rule.why)}",
        f"  source: {inert(rule.source)}",
    ]
    return lines + ([f"  controls: {inert(', '.join(rule.controls))}"] if rule.controls else [])
