"""A finding: one metric's estimate, what it is compared with, for whom it holds, and what it does not prove."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from .estimate import Estimate
from .frozen import Frozen
from .metrics import Direction, metric_named
from .plots import Plot

Status = Literal["measured", "attested", "not_assessable"]


class Finding(Frozen):
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = Field(default=0.95, gt=0, lt=1)
    method: str = "exact"
    estimand: str = ""
    """What the number estimates, in one sentence: of which records, at which sample size."""
    direction: Direction
    reference: float | None = None
    """The value to read the number against: the same metric on train against holdout, or a coin toss."""
    n: int | None = Field(default=None, ge=0)
    comparisons: dict[str, Estimate] = {}
    """The same metric elsewhere, with intervals: `holdout`, `floor` (independent marginals), `real` …"""
    groups: dict[str, Estimate] = {}
    """The metric for part of the evidence: `sex=Female`, `age`, `attack=distance` …"""
    left_out: tuple[str, ...] = ()
    """Groups too small to judge, or beyond the largest that are listed; by name, so for readers inside only. Caveats name no group."""
    plots: tuple[Plot, ...] = ()
    status: Status = "measured"
    reason: str | None = None
    """Why it could not be assessed."""
    caveats: tuple[str, ...] = ()
    """What a good value does not prove."""
    evidence: tuple[str, ...] = ()
    """Hashes of the artifacts the number was computed from."""
    seconds: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.status == "not_assessable" and (self.value is not None or not self.reason):
            raise ValueError("not_assessable has a reason and no value")
        if self.status != "not_assessable" and self.value is None:
            raise ValueError("a measured finding has a value")
        if self.value is not None and (
            (self.low is not None and self.low > self.value) or (self.high is not None and self.high < self.value)
        ):
            raise ValueError(f"value {self.value} lies outside its interval [{self.low}, {self.high}]")
        return self

    @classmethod
    def measured(
        cls,
        metric: str,
        estimate: Estimate,
        *,
        estimand: str,
        reference: float | None = None,
        comparisons: dict[str, Estimate] | None = None,
        groups: dict[str, Estimate] | None = None,
        left_out: tuple[str, ...] = (),
        plots: tuple[Plot, ...] = (),
        caveats: tuple[str, ...] = (),
        direction: Direction | None = None,
    ) -> Finding:
        """`direction` is needed only by a third party's metric; the contract's table has the others'."""
        return cls(
            metric=metric,
            **estimate.model_dump(),
            estimand=estimand,
            direction=direction or metric_named(metric).direction,
            reference=reference,
            comparisons=comparisons or {},
            groups=groups or {},
            left_out=left_out,
            plots=plots,
            caveats=caveats,
        )

    @classmethod
    def not_assessable(cls, metric: str, reason: str, *, direction: Direction | None = None) -> Finding:
        return cls(metric=metric, value=None, status="not_assessable", reason=reason, direction=direction or metric_named(metric).direction)

    @property
    def estimate(self) -> Estimate | None:
        """The number with its interval; None where there is none."""
        if self.value is None:
            return None
        return Estimate(value=self.value, low=self.low, high=self.high, level=self.level, n=self.n, method=self.method)
