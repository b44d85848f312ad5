"""Report and verdict: the one object that report.json holds and that every other view renders."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from .errors import ArtifactError
from .finding import Finding
from .frozen import Frozen

Audience = Literal["internal", "public"]
Severity = Literal["blocker", "warning", "info"]
Outcome = Literal["pass", "fail", "unsure", "unknown", "waived"]


class Subject(Frozen):
    """What was audited: hashes, never records."""

    name: str
    modality: str = "tabular"
    family: str | None = None
    """The generator's family where we trained it."""
    receipt: str | None = None
    """Hash of the training receipt; null for samples from elsewhere."""
    target: str | None = None
    """The column that downstream models predict; null where none was named."""
    artifacts: dict[str, str] = {}
    """`train`: keyed fingerprint (`hmac-sha256:`); `synthetic`, `weights` …: `sha256:`."""
    rows: dict[str, int] = {}


class RuleOutcome(Frozen):
    id: str
    metric: str
    status: Outcome
    severity: Severity
    require: str
    observed: float | None
    """The finding's value."""
    judged: float | None
    """The unfavourable end of its interval: the number that had to satisfy the rule."""
    controls: tuple[str, ...] = ()
    why: str = ""
    note: str = ""
    """Why it is unknown, unsure or waived, in words."""


class Verdict(Frozen):
    policy: str
    policy_sha256: str
    status: Literal["pass", "fail"]
    rules: tuple[RuleOutcome, ...]
    notes: tuple[str, ...] = ()
    """Which rules do not apply here, and why; which waivers have expired."""


class Report(Frozen):
    schema_version: Literal["1"] = "1"
    audience: Audience = "internal"
    created: AwareDatetime
    guardrail_version: str
    subject: Subject
    findings: tuple[Finding, ...]
    verdict: Verdict | None = None
    caveats: tuple[str, ...] = ()
    """What holds for every number here: what was left out before it was made public."""

    @property
    def judged(self) -> Verdict:
        """The verdict of a report that has one."""
        if self.verdict is None:
            raise ArtifactError("this report has not been judged; apply a policy with: guardrail judge")
        return self.verdict

    def finding(self, metric: str) -> Finding | None:
        return next((found for found in self.findings if found.metric == metric), None)
