"""Policies by name or path, checked before they are used.

A policy that cannot do what its author meant is refused when it is read, not discovered on the day it should have
blocked a release: a metric nobody measures, 5 or '55 %' for a share, a threshold every value satisfies, a misspelt key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..vocabulary.documents import parse_yaml, read_text
from ..vocabulary.errors import PolicyError, UnknownName, nearest
from ..vocabulary.frozen import parse
from ..vocabulary.metrics import METRICS, Metric
from ..vocabulary.policy import Policy, Rule
from ..vocabulary.requirement import Requirement, known_operand, parse_requirement

_PACKAGE = "guardrail.policies"


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy with the hash of the bytes it was read from: a verdict names the exact text that made it."""

    policy: Policy
    sha256: str
    source: str


def load(name_or_path: str | Path) -> LoadedPolicy:
    """A built-in policy by name, or one from a YAML file."""
    text, source = _text(name_or_path)
    return LoadedPolicy(read_policy(text, where=source), hashlib.sha256(text.encode()).hexdigest(), source)


def summaries() -> dict[str, str]:
    """Built-in policies and what they are for."""
    return {name: load(name).policy.description for name in _built_in()}


def read_policy(text: str, *, where: str) -> Policy:
    """The policy in a YAML text, every rule checked."""
    try:
        data = parse_yaml(text, where=where, error=PolicyError)
    except PolicyError as fault:
        hint = "; a requirement that starts with > must be quoted: require: '>= 0.5'" if "chomping" in str(fault) else ""
        raise PolicyError(f"{fault}{hint}") from None
    policy = parse(Policy, data, where=where, error=PolicyError)
    for rule in policy.rules:
        if reason := _fault(rule):
            raise PolicyError(f"{where}: rule '{rule.id}': {reason}")
    return policy


def _text(name_or_path: str | Path) -> tuple[str, str]:
    name = str(name_or_path)
    if name in _built_in():
        return (resources.files(_PACKAGE) / f"{name}.yaml").read_text(encoding="utf-8"), f"built-in:{name}"
    path = Path(name_or_path)
    looks_like_a_file = isinstance(name_or_path, Path) or path.suffix in (".yaml", ".yml") or "/" in name
    if looks_like_a_file or path.is_file():
        return read_text(path, error=PolicyError), str(path)
    unknown = str(UnknownName.among("policy", name, _built_in()))
    asked = unknown.endswith("?")
    raise UnknownName(f"{unknown}{' A' if asked else '; a'} policy of your own is given as a path that ends in .yaml")


def _built_in() -> list[str]:
    return sorted(entry.name.removesuffix(".yaml") for entry in resources.files(_PACKAGE).iterdir() if entry.name.endswith(".yaml"))


def _fault(rule: Rule) -> str | None:
    """Why the rule cannot mean what its author meant, or None."""
    try:
        requirement = parse_requirement(rule.require)
    except ValueError as fault:
        return str(fault)
    metric = METRICS.get(rule.metric)
    if metric is None:
        third_party = _third_party_metrics()
        if rule.metric in third_party:
            return None
        known = sorted({*METRICS, *third_party})
        return f"no metric {rule.metric!r}; {nearest(rule.metric, known) or 'there are ' + ', '.join(known)}"
    if requirement.operand and (unknown := known_operand(requirement.operand)):
        return unknown
    return _out_of_range(requirement, metric) or _never_binds(requirement, metric)


def _out_of_range(requirement: Requirement, metric: Metric) -> str | None:
    least, most = metric.least, metric.most
    if requirement.operand:
        if least is not None and most is not None and abs(requirement.number) >= most - least:
            return f"{requirement.number:g} is as wide as the whole range of {metric.name}, {least:g} to {most:g}; {_in_units(requirement)}"
        return None
    if (least is not None and requirement.number < least) or (most is not None and requirement.number > most):
        ends = f"from {least:g}" if most is None else f"from {least:g} to {most:g}" if least is not None else f"up to {most:g}"
        return f"threshold {requirement.number:g} lies outside what {metric.name} can be, {ends}; {_in_units(requirement)}"
    return None


def _in_units(requirement: Requirement) -> str:
    return f"a share of {abs(requirement.number):g} % is written {abs(requirement.number) / 100:g}"


def _never_binds(requirement: Requirement, metric: Metric) -> str | None:
    """`<= 1` for a share passes whatever happens: most likely 1 % was meant."""
    end = metric.most if requirement.upper else metric.least
    if requirement.operand or end is None or requirement.number != end or "=" not in requirement.operator:
        return None
    return f"every value of {metric.name} is {requirement.operator} {end:g}, so the rule could never fail; a share of 1 % is written 0.01"


def _third_party_metrics() -> set[str]:
    """What installed plugins measure. Their ranges are not known, so only the names are checked."""
    from ..vocabulary.plugins import resolve, table

    return {
        metric for name, entry in table("audits").items() if entry.provider != "guardrail" for metric in resolve("audits", name).metrics
    }
