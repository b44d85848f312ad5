"""Who is who: rows by sensitive attribute, and by all of them together.

Words and truth values group by value, numbers and dates by quartiles of a reference table (a statement about age needs
bands, not 70 groups). A missing value is a group of its own: data about people is rarely missing at random.

Rows are told apart by what their cells are. Labels are made afterwards and made to differ: they key every table of groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from guardrail.audits.views import MISSING, categories, numbers, word_codes
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.schema import Schema

Array = NDArray[Any]
Codes = NDArray[np.int64]
MOST_GROUPS = 100
"""Groups that a finding lists: two attributes of fifty values have 2,500 intersections, and nobody reads them."""


@dataclass(frozen=True)
class Grouping:
    attribute: str
    """`sex`, or `sex & race` for their intersection."""
    labels: tuple[str, ...]
    """`sex=Female`, `sex=(missing)`, `sex=Female & race=White`: those that occur in any of the tables, no two alike."""
    codes: tuple[Codes, ...]
    """Per table, (rows,): the position of each row's label."""

    def sizes(self) -> Codes:
        """(tables, labels): rows."""
        return np.stack([np.bincount(codes, minlength=len(self.labels)) for codes in self.codes])


@dataclass(frozen=True, eq=False)
class Group:
    label: str
    rows: NDArray[np.bool_]
    """Of the first table."""
    fewest: int
    """Rows of it in the table that has fewest: a number about three people is about three people in whichever table."""

    def sized(self, estimate: Estimate) -> Estimate:
        """The estimate as one about so few records."""
        return estimate.model_copy(update={"n": self.fewest})


def groupings(frames: Sequence[pd.DataFrame], schema: Schema, reference: pd.DataFrame) -> tuple[Grouping, ...]:
    """One per sensitive attribute, and their intersection where there are several."""
    taken: set[str] = set()
    single = [_by_value(frames, name, schema, reference[name], taken) for name in schema.sensitive]
    return tuple(single if len(single) < 2 else [*single, _crossed(single, taken)])


def groups_of(frames: Sequence[pd.DataFrame], schema: Schema, reference: pd.DataFrame) -> tuple[list[Group], tuple[str, ...]]:
    """The largest groups in the first table, each attribute by itself, and the labels of the others."""
    return largest_groups(groupings(frames, schema, reference)[: len(schema.sensitive)])


def largest_groups(found: Sequence[Grouping], most: int = MOST_GROUPS) -> tuple[list[Group], tuple[str, ...]]:
    """The largest groups of the first table in their order, and the labels of the others that occur there, the largest first."""
    every = [(grouping, i, rows) for grouping in found for i, rows in enumerate(grouping.sizes().T.tolist()) if rows[0]]
    order = sorted(range(len(every)), key=lambda place: -every[place][2][0])
    listed, rest = [every[place] for place in sorted(order[:most])], [every[place] for place in order[most:]]
    groups = [Group(grouping.labels[i], grouping.codes[0] == i, min(rows)) for grouping, i, rows in listed]
    return groups, tuple(grouping.labels[i] for grouping, i, _ in rest)


def beyond(more: int, listed: int = MOST_GROUPS) -> tuple[str, ...]:
    """The caveat of a finding that does not list all its groups."""
    return (f"The largest {listed} groups are listed; there are {more:,} more.",) if more > 0 else ()


def number_of_groups(n: int) -> str:
    return f"{n:,} group{'' if n == 1 else 's'}"


def _by_value(frames: Sequence[pd.DataFrame], name: str, schema: Schema, reference: pd.Series[Any], taken: set[str]) -> Grouping:
    words = categories(name, schema)
    if words is not None:
        codes = [word_codes(frame[name], name, schema) for frame in frames]
    else:
        cuts, words = _bands(numbers(reference), dates=schema.columns[name].kind == "datetime")
        cells = [numbers(frame[name]) for frame in frames]
        codes = [np.where(np.isnan(values), -1, np.searchsorted(cuts, values, side="left")) for values in cells]
    missing = "(no value)" if MISSING in words else MISSING
    present, joined = np.unique(np.concatenate(codes), return_inverse=True)  # -1, missing, comes first: put it last
    present, joined = np.roll(present, -1 * (-1 in present)), (joined - (-1 in present)) % max(len(present), 1)
    labels = _distinct((f"{name}={words[code] if code >= 0 else missing}" for code in present), taken)
    return Grouping(name, labels, _parted(joined, frames))


def _crossed(single: Sequence[Grouping], taken: set[str]) -> Grouping:
    columns = [np.concatenate(grouping.codes) for grouping in single]
    joined = np.zeros(len(columns[0]), np.int64)
    for grouping, codes in zip(single, columns, strict=True):
        # Renumbered after each attribute, so that the product stays below rows squared.
        joined = np.unique(joined * len(grouping.labels) + codes, return_inverse=True)[1]
    firsts = np.unique(joined, return_index=True)[1]
    labels = [" & ".join(grouping.labels[codes[row]] for grouping, codes in zip(single, columns, strict=True)) for row in firsts]
    return Grouping(" & ".join(grouping.attribute for grouping in single), _distinct(labels, taken), _parted(joined, single[0].codes))


def _parted(joined: Array, tables: Sequence[Any]) -> tuple[Codes, ...]:
    """One array over all tables as one per table."""
    return tuple(np.split(joined.astype(np.int64), np.cumsum([len(table) for table in tables])[:-1]))


def _distinct(labels: Iterable[str], taken: set[str]) -> tuple[str, ...]:
    """The labels, those that would print like another with a number behind."""
    made = []
    for label in labels:
        candidate, copy = label, 2
        while candidate in taken:
            candidate, copy = f"{label} ({copy})", copy + 1
        taken.add(candidate)
        made.append(candidate)
    return tuple(made)


def _bands(known: Array, *, dates: bool) -> tuple[Array, tuple[str, ...]]:
    """The quartiles, values that occur, and the names of the bands between them."""
    known = known[~np.isnan(known)]
    cuts = np.unique(np.quantile(known, [0.25, 0.5, 0.75], method="lower")) if len(known) else np.empty(0)
    if not len(cuts):
        return cuts, ("any",)
    texts = _texts(cuts, _DATES if dates else _NUMBERS)
    inner = (f"above {a} up to {b}" for a, b in pairwise(texts))
    return cuts, (f"up to {texts[0]}", *inner, f"above {texts[-1]}")


def _moment(days: float) -> str:
    return str(np.datetime64(0, "us") + np.timedelta64(round(days * 86_400e6), "us"))


_NUMBERS: tuple[Callable[[float], str], ...] = (lambda cut: f"{cut:.6g}", lambda cut: repr(float(cut)))
_DATES: tuple[Callable[[float], str], ...] = (lambda cut: _moment(cut)[:10], lambda cut: _moment(cut)[:19], _moment)
"""Ways to print a cut, the shortest first."""


def _texts(cuts: Array, ways: Sequence[Callable[[float], str]]) -> list[str]:
    """The cuts in the shortest way that tells them apart."""
    written = [[way(cut) for cut in cuts] for way in ways]
    return next((texts for texts in written if len(set(texts)) == len(texts)), written[-1])
