"""Schema: what is *public* about the data. Codecs are built from it alone, never from the records.

Every column says where its entry comes from: `public` (declared by somebody, who is named on the card), `private-paid`
(measured under differential privacy and charged), or `data` (read from the records; a private training refuses it).

    modality: tabular
    declared_by: data dictionary, version 3
    target: readmitted
    sensitive: [sex]
    columns:
      age:        {kind: integer, low: 0, high: 110}
      income:     {kind: numeric, low: 0, high: 500000, spacing: geometric, bins: 32, points: [0]}
      admitted:   {kind: datetime, low: '2019-01-01', high: '2024-12-31'}
      grade:      {kind: ordinal, categories: [low, medium, high]}
      sex:        {kind: categorical, categories: [female, male], missing: true}
      readmitted: {kind: boolean}

Other modalities (image, text, music, series) have their content beside the columns: see `content.py`.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from .content import Content, ImageContent, Modality, MusicContent, SeriesContent, Source, TextContent
from .frozen import Frozen


def _in_utc(moment: dt.datetime) -> dt.datetime:
    """Times without a zone are taken to be in UTC."""
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


class _Column(Frozen):
    missing: bool = False
    """Cells may be missing."""
    source: Source = "public"
    declared_by: str = ""
    """Who declared it public; the schema's own `declared_by` where empty."""


class Numeric(_Column):
    """A number in [low, high]. `points` are values with a mass of their own (0, a cap) that survive a round trip exactly."""

    kind: Literal["numeric", "integer"]
    low: float
    high: float
    points: tuple[float, ...] = ()
    bins: int = Field(default=32, ge=1, le=1024)
    spacing: Literal["linear", "geometric"] = "linear"
    """Geometric cells grow in proportion to the value; where low <= 0, from a thousandth of the largest bound on (asinh)."""
    edges: tuple[float, ...] | None = None
    """Inner bin edges in ascending order; in place of `bins` and `spacing`."""
    decimals: int | None = Field(default=None, ge=0, le=12)
    """Digits after the point that the data has; generated values are rounded to it."""

    @model_validator(mode="after")
    def _sane(self) -> Numeric:
        if self.low > self.high:
            raise ValueError(f"low {self.low} must not exceed high {self.high}")
        if self.kind == "integer" and (self.low != int(self.low) or self.high != int(self.high)):
            raise ValueError("an integer column has whole bounds")
        if self.kind == "integer" and max(abs(self.low), abs(self.high)) > 2**53:
            raise ValueError("whole numbers beyond 2^53 are not told apart; declare the column numeric")
        if self.kind == "integer" and any(point != int(point) for point in self.points):
            raise ValueError("an integer column has whole points")
        if len(set(self.points)) != len(self.points):
            raise ValueError("a point is listed twice")
        if self.edges is not None and list(self.edges) != sorted(set(self.edges)):
            raise ValueError("edges must ascend without repetition")
        if any(not self.low <= point <= self.high for point in self.points):
            raise ValueError(f"points {self.points} must lie in [{self.low}, {self.high}]")
        return self


class Datetime(_Column):
    """A point in time in [low, high], ISO 8601, UTC; `resolution` is the step of the values."""

    kind: Literal["datetime"]
    low: str
    high: str
    bins: int = Field(default=32, ge=1, le=1024)
    resolution: Literal["day", "second"] = "day"

    @field_validator("low", "high")
    @classmethod
    def _iso(cls, value: str) -> str:
        try:
            dt.datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is no ISO 8601 date") from None
        return value

    @model_validator(mode="after")
    def _ascends(self) -> Datetime:
        low, high = (_in_utc(dt.datetime.fromisoformat(bound)) for bound in (self.low, self.high))
        if low > high:
            raise ValueError(f"low {self.low} must not be later than high {self.high}")
        return self


class Categorical(_Column):
    """One of `categories`; `ordinal` ones in their order."""

    kind: Literal["categorical", "ordinal"]
    categories: tuple[str, ...] = Field(min_length=1)

    @field_validator("categories", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        """Category 1 and category '1' are the same word in a file; true and 'true' as well."""
        if not isinstance(value, (list, tuple)):
            return value
        return tuple(
            str(item).lower() if isinstance(item, bool) else str(item) if isinstance(item, (int, float)) else item for item in value
        )

    @model_validator(mode="after")
    def _distinct(self) -> Categorical:
        if len({unicodedata.normalize("NFC", category) for category in self.categories}) != len(self.categories):
            raise ValueError("a category is listed twice")
        return self


class Boolean(_Column):
    kind: Literal["boolean"]


Column = Annotated[Numeric | Datetime | Categorical | Boolean, Field(discriminator="kind")]


class Schema(Frozen):
    modality: Modality = "tabular"
    declared_by: str = ""
    """Who stands for the public entries: a published document, a person."""
    records: int | None = Field(default=None, gt=0, description="public number of units in the source data")
    unit: str = "row"
    """Unit of privacy: `row`, or the column naming the person; that column is not modelled."""
    target: str | None = None
    sensitive: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    """Columns of the source that are left out on purpose: neither modelled nor audited."""
    image: ImageContent | None = None
    text: TextContent | None = None
    music: MusicContent | None = None
    series: SeriesContent | None = None
    """The content of a record, under the name of the modality; a table has none."""
    columns: dict[str, Column] = {}
    """Those of the table; in other modalities what is known of a record beside its content."""

    @model_validator(mode="after")
    def _has_its_content(self) -> Schema:
        if self.modality == "tabular" and not self.columns:
            raise ValueError("a table needs at least one column under columns:")
        for name in ("image", "text", "music", "series"):
            if (getattr(self, name) is not None) != (name == self.modality):
                what = f"needs a section {name}:" if name == self.modality else f"has no {name}:"
                raise ValueError(f"modality: {self.modality} {what}")
        if self.content is not None and self.content.column in self.columns:
            raise ValueError(f"{self.content.column!r} is the content; it cannot be a column beside it")
        return self

    @model_validator(mode="after")
    def _refers_to_its_columns(self) -> Schema:
        for role, names in (("target", [self.target] if self.target else []), ("sensitive", list(self.sensitive))):
            for name in names:
                if name not in self.columns:
                    raise ValueError(f"{role} column {name!r} is not among the columns")
        if both := [name for name in self.ignore if name in self.columns]:
            raise ValueError(f"column {both[0]!r} is declared and ignored; decide which")
        if self.unit != "row" and self.unit in self.columns:
            raise ValueError(f"unit {self.unit!r} names persons and must not be among the modelled columns")
        return self

    @property
    def content(self) -> Content | None:
        """What is public of the image, text, music or series; None for a table."""
        return self.image or self.text or self.music or self.series

    def sources(self) -> dict[str, str]:
        """Where the knowledge of every column comes from, and that of the content under the content's name."""
        content = {self.content.column: self._said(self.content)} if self.content is not None else {}
        return content | {name: self.source_of(name) for name in self.columns}

    def source_of(self, column: str) -> str:
        """`public (data dictionary, version 3)`: what the card prints."""
        return self._said(self.columns[column])

    def _said(self, entry: Column | Content) -> str:
        who = entry.declared_by or self.declared_by
        return f"{entry.source} ({who})" if entry.source == "public" and who else entry.source
