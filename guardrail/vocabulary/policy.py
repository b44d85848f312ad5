"""A policy: rules over findings, their thresholds fixed and justified before results are seen."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import Field, field_validator, model_validator

from .frozen import Frozen
from .report import Severity


class When(Frozen):
    """The rule applies only where all of these hold; left out means anywhere."""

    modality: tuple[str, ...] | None = None
    family: tuple[str, ...] | None = None
    receipt: bool | None = None
    """True: only where we trained the generator."""
    target: bool | None = None
    """True: only where a target column was named, so that a table without a prediction task is not blocked for lacking one."""

    @field_validator("modality", "family", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Rule(Frozen):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    metric: str
    require: str = Field(pattern=r"^\s*(<=|>=|<|>)\s*\S.*$", description='"<= 0.55", ">= floor", "<= holdout + 0.01"')
    severity: Severity
    why: str
    source: str
    """Where the threshold comes from: a paper, a standard, a stated convention."""
    when: When = When()
    controls: tuple[str, ...] = ()


class Waiver(Frozen):
    """A named person takes responsibility for one rule until a date; it expires by itself."""

    rule: str
    reason: str = Field(min_length=10)
    by: str = Field(min_length=1)
    until: dt.date


class Policy(Frozen):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    version: Literal[1] = 1
    description: str
    max_age_days: int | None = Field(default=None, gt=0, description="an older report proves nothing about today's artifact")
    level: float = Field(default=0.95, gt=0, lt=1, description="findings whose intervals are less confident are unknown")
    rules: tuple[Rule, ...] = Field(min_length=1)
    waivers: tuple[Waiver, ...] = ()

    @model_validator(mode="after")
    def _rules_are_named_once(self) -> Policy:
        names = [rule.id for rule in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rule id {', '.join(twice)} is used twice")
        if strange := sorted({waiver.rule for waiver in self.waivers} - set(names)):
            raise ValueError(f"waiver for a rule that is not there: {', '.join(strange)}")
        return self
