"""The model card: the words of people, and beside them what run, report and verdicts say. card.json holds all of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from .finding import Finding
from .frozen import Frozen
from .receipt import Receipt
from .report import Audience, Subject, Verdict


class Words(Frozen):
    """card.yaml: what no program can know. An empty field is printed as 'not stated', never left out."""

    title: str = ""
    owner: str = Field(default="", description="who is accountable, and how to reach them")
    intended_use: str = ""
    prohibited_use: str = ""
    training_data: str = Field(default="", description="where the records come from, by which right")
    limits: str = ""
    ethical_considerations: str = ""
    licence: str = ""


class ColumnLine(Frozen):
    """One column of the schema as the card prints it."""

    name: str
    kind: str
    allowed: str
    """Bounds or categories in words; withheld on a public card where they were read from the records."""
    source: str
    """`public (who declared it)`, `private-paid` or `data`."""
    roles: tuple[str, ...] = ()


class PrivacyMeaning(Frozen):
    """The privacy claim in plain words, or that there is none."""

    claimed: bool
    statement: str
    meaning: str = ""
    """What epsilon means as an attacker's best true-positive rate."""
    epsilon: float | None = None
    epsilon_rdp: float | None = None
    delta: float | None = None
    at_fpr: float = 0.01
    best_tpr: float | None = None
    likelihood_ratio: float | None = None
    """e to the epsilon; null where it is beyond any use."""
    scale: str = ""
    """What other epsilons would allow, for comparison."""
    weak: bool = False
    """The bound allows an attacker who finds most members: it forbids little."""
    uncovered: tuple[str, ...] = ()
    """What epsilon does not cover."""


class NotAssessed(Frozen):
    reason: str
    metrics: tuple[str, ...]


class Card(Frozen):
    schema_version: Literal["1"] = "1"
    name: str
    created: AwareDatetime
    guardrail_version: str
    audience: Audience
    words: Words
    subject: Subject
    verdicts: tuple[Verdict, ...]
    privacy: PrivacyMeaning
    not_assessed: tuple[NotAssessed, ...]
    federation: tuple[str, ...] = ()
    """How the clients of a federation took part, in sentences."""
    receipt: Receipt | None
    """None: the samples come from elsewhere."""
    columns: tuple[ColumnLine, ...]
    unit: str
    declared_by: str
    spec: dict[str, Any] | None
    findings: tuple[Finding, ...]
    limits: tuple[str, ...]
    """What holds for every card: what its numbers can never show."""
    evidence: dict[str, str]
    """Hashes by role: the path from every number back to what it was computed from."""
