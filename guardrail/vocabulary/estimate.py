"""A number with its interval: nothing is printed without one."""

from __future__ import annotations

from pydantic import Field, model_validator

from .frozen import Frozen


class Estimate(Frozen):
    """`value` in [`low`, `high`] at confidence `level`. Exact values have low = high = value; one-sided ones leave an end null."""

    value: float
    low: float | None
    high: float | None
    level: float = Field(default=0.95, gt=0, lt=1)
    n: int | None = Field(default=None, ge=0, description="records the number rests on")
    method: str = "exact"
    """How the interval was got: exact, wilson, delong, bootstrap …"""

    @model_validator(mode="after")
    def _ordered(self) -> Estimate:
        if (self.low is not None and self.low > self.value) or (self.high is not None and self.high < self.value):
            raise ValueError(f"value {self.value} lies outside its interval [{self.low}, {self.high}]")
        return self

    @classmethod
    def exact(cls, value: float, n: int | None = None) -> Estimate:
        return cls(value=value, low=value, high=value, n=n, method="exact")
