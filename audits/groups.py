"""Who is who: rows by sensitive attribute, and by all of them together.

Words and truth values group by value, numbers and dates by quartiles of a reference table (a statement about age needs
bands, not 70 groups). A missing value is a group of its own: data about people is rarely missing at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from guardrail.audits.views import MISSING, categories, numbers, word_codes
from guardrail.vocabulary.schema import Schema

Array = NDArray[Any]


@dataclass(frozen=True)
class Grouping:
    attribute: str
    """`sex`, or `sex & race` for their intersection."""
    labels: tuple[str, ...]
    """`sex=Female`, `sex=(missing)`, `sex=Female & race=White`: those that occur in any of the tables."""
    codes: tuple[NDArray[np.int64], ...]
    """Per table, (rows,): the position of each row's label."""


def groupings(frames: Sequence[pd.DataFrame], schema: Schema, reference: pd.DataFrame) -> tuple[Grouping, ...]:
    """One per sensitive attribute, and their intersection where there are several."""
    names = {name: _names(frames, name, schema, reference[name]) for name in schema.sensitive}
    if len(names) > 1:
        joint = list(names.values())
        crossed = [" & ".join(labels) for labels in zip(*joint, strict=True)]
        names[" & ".join(schema.sensitive)] = crossed
    return tuple(_grouping(attribute, labels, [len(frame) for frame in frames]) for attribute, labels in names.items())


def group_masks(frame: pd.DataFrame, schema: Schema, reference: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """`sex=Female` -> the rows of `frame` in it, for each attribute by itself."""
    single = groupings([frame], schema, reference)[: len(schema.sensitive)]
    return {label: grouping.codes[0] == i for grouping in single for i, label in enumerate(grouping.labels)}


def _grouping(attribute: str, names: list[str], sizes: list[int]) -> Grouping:
    codes, labels = pd.factorize(np.array(names, object), sort=True)
    return Grouping(attribute, tuple(map(str, labels)), tuple(np.split(codes.astype(np.int64), np.cumsum(sizes)[:-1])))


def _names(frames: Sequence[pd.DataFrame], name: str, schema: Schema, reference: pd.Series[Any]) -> list[str]:
    """`sex=Female` for each row of each table, one table after the other."""
    words, codes = categories(name, schema), []
    if words is not None:
        codes = [word_codes(frame[name], name, schema) for frame in frames]
    else:
        cuts, words = _bands(numbers(reference), dates=schema.columns[name].kind == "datetime")
        for frame in frames:
            values = numbers(frame[name])
            codes.append(np.where(np.isnan(values), -1, np.searchsorted(cuts, values, side="left")))
    labels = np.array([*words, MISSING], object)  # code -1, missing, is the last of them
    return [f"{name}={label}" for label in labels[np.concatenate(codes)]]


def _bands(known: Array, *, dates: bool) -> tuple[Array, tuple[str, ...]]:
    """The quartiles, values that occur, and the names of the bands between them."""
    known = known[~np.isnan(known)]
    cuts = np.unique(np.quantile(known, [0.25, 0.5, 0.75], method="lower")) if len(known) else np.empty(0)
    if not len(cuts):
        return cuts, ("any",)
    texts = [str(np.datetime64(0, "s") + np.timedelta64(int(cut * 86_400), "s"))[:10] if dates else f"{cut:.6g}" for cut in cuts]
    inner = (f"above {a} up to {b}" for a, b in pairwise(texts))
    return cuts, (f"up to {texts[0]}", *inner, f"above {texts[-1]}")
