"""Plot data: what an audit wants shown, without a plotting library. The reports draw it, the dashboard draws the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .estimate import Estimate
from .frozen import Frozen


class Bars(Frozen):
    """One bar per label and series: shares of a column's values, real beside synthetic."""

    kind: Literal["bars"] = "bars"
    title: str
    labels: tuple[str, ...]
    series: dict[str, tuple[float, ...]]
    unit: str = "share"

    @model_validator(mode="after")
    def _aligned(self) -> Bars:
        if any(len(values) != len(self.labels) for values in self.series.values()):
            raise ValueError("every series needs one value per label")
        return self


class Curve(Frozen):
    """Lines over a common axis: ROC curves, one per series; `diagonal` draws the coin toss."""

    kind: Literal["curve"] = "curve"
    title: str
    x: str
    y: str
    series: dict[str, tuple[tuple[float, float], ...]]
    diagonal: bool = False


class Whiskers(Frozen):
    """A dot with its interval per label: groups, columns, references. `line` marks the reference value."""

    kind: Literal["whiskers"] = "whiskers"
    title: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    lows: tuple[float | None, ...]
    highs: tuple[float | None, ...]
    line: float | None = None
    unit: str = ""

    @model_validator(mode="after")
    def _aligned(self) -> Whiskers:
        if not len(self.labels) == len(self.values) == len(self.lows) == len(self.highs):
            raise ValueError("labels, values, lows and highs need the same length")
        return self

    @classmethod
    def of(cls, rows: Mapping[str, Estimate], *, title: str, line: float | None = None, unit: str = "") -> Whiskers:
        """One row per estimate, in their order."""
        return cls(
            title=title,
            labels=tuple(rows),
            values=tuple(row.value for row in rows.values()),
            lows=tuple(row.low for row in rows.values()),
            highs=tuple(row.high for row in rows.values()),
            line=line,
            unit=unit,
        )


class Heatmap(Frozen):
    """A matrix of values in [0, 1]: the similarity of each pair of columns."""

    kind: Literal["heatmap"] = "heatmap"
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]


Plot = Annotated[Bars | Curve | Whiskers | Heatmap, Field(discriminator="kind")]
