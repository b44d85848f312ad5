"""Bins that are measured: paid from the same total, announced before a record is read, and where the values are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.data.cast import cast
from guardrail.data.modality import modality
from guardrail.training import private
from guardrail.training.accounting import epsilon_prv
from guardrail.training.measured_schema import CELLS, _grid, measured, outlined, query_for, to_measure
from guardrail.training.secure import SecureStream
from guardrail.vocabulary.errors import BudgetExceeded, PrivacyRefused
from guardrail.vocabulary.schema import Numeric, Schema
from guardrail.vocabulary.spec import PrivacySpec

WIDE = {"kind": "integer", "low": 0, "high": 1_000_000_000, "bins": 16, "source": "private-paid"}


def schema(**columns: dict[str, Any]) -> Schema:
    return Schema.model_validate({"declared_by": "this suite", "columns": columns})


def paid(share: float = 0.5, epsilon: float = 3.0) -> PrivacySpec:
    return PrivacySpec(epsilon=epsilon, schema_epsilon=share)


def edges_of(found: Schema, name: str) -> np.ndarray:
    entry = found.columns[name]
    assert isinstance(entry, Numeric) and entry.edges is not None
    return np.array(entry.edges)


def test_the_histogram_costs_what_was_set_aside_for_it():
    both = schema(a=WIDE, b={**WIDE, "high": 10}, c={"kind": "boolean"})
    query = query_for(both, paid(0.5))
    assert query is not None and query.sensitivity == pytest.approx(2**0.5)
    assert 0.49 <= epsilon_prv([query], 1e-5) <= 0.5


def test_bins_come_to_lie_where_the_values_are():
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(7, 0.5, 20_000)).round()
    wide = schema(a=WIDE)
    query = query_for(wide, paid(0.3))
    assert query is not None
    found, seen = measured(wide, cast(pd.DataFrame({"a": values}), wide), np.ones(20_000), query, source=SecureStream(), canaries=50)
    edges = edges_of(found, "a")
    assert len(edges) == 15 and len(seen[0].scores) == 50
    exact = np.quantile(values, np.linspace(0, 1, 17)[1:-1])
    assert np.abs(np.log(edges / exact))[2:-2].max() < 0.15  # of a grid whose cells grow by two percent
    declared = _grid(wide.columns["a"])[:: CELLS // 16]
    assert ((declared > values.min()) & (declared < values.max())).sum() <= 3  # the public grid alone would have thrown them together


def test_without_noise_to_speak_of_they_are_the_quantiles_of_the_grid():
    few = schema(a={**WIDE, "high": 100, "bins": 4})
    frame = cast(pd.DataFrame({"a": [*np.repeat(np.arange(1, 9), 10), 8, 8, 8]}), few)
    query = query_for(few, paid(0.5))
    assert query is not None
    found, _ = measured(few, frame, np.ones(83), query.model_copy(update={"noise_multiplier": 1e-9}), source=SecureStream(), canaries=0)
    assert edges_of(found, "a").tolist() == [4, 6, 8]  # a quarter is reached within the threes


@settings(max_examples=60, deadline=None)
@given(
    low=st.integers(-1000, 1000),
    width=st.integers(0, 3000),
    bins=st.integers(1, 40),
    whole=st.booleans(),
    decimals=st.sampled_from([None, 0, 2]),
)
def test_what_the_plan_depends_on_is_the_same_before_and_after(low: int, width: int, bins: int, whole: bool, decimals: int | None):
    """As many tokens, whatever the records: else the plan that was reserved would not be that of the training."""
    kind = {"kind": "integer"} if whole else {"kind": "numeric", "decimals": decimals}
    declared = schema(a={**kind, "low": low, "high": low + width, "bins": bins, "source": "private-paid"})
    query = query_for(declared, paid())
    assert query is not None
    values = np.random.default_rng(bins).integers(low, low + width + 1, 30)
    frame = cast(pd.DataFrame({"a": values}), declared)
    found, _ = measured(declared, frame, np.ones(30), query, source=SecureStream(), canaries=0)
    sizes = [modality("tabular").codec(one).tokens.sizes for one in (outlined(declared), found)]
    assert sizes[0] == sizes[1]
    assert (np.diff(edges_of(found, "a")) > 0).all()


def test_only_numbers_can_be_measured_and_only_what_is_paid_for():
    with pytest.raises(PrivacyRefused, match="only the bins of numbers"):
        to_measure(schema(a={"kind": "categorical", "categories": ["x"], "source": "private-paid"}))
    with pytest.raises(PrivacyRefused, match=r"schema_epsilon: 0\.1"):
        query_for(schema(a=WIDE), PrivacySpec(epsilon=3.0))
    with pytest.raises(PrivacyRefused, match="there are none"):
        query_for(schema(a={"kind": "boolean"}), paid())
    assert query_for(schema(a={"kind": "boolean"}), PrivacySpec(epsilon=3.0)) is None


def spec_for(clinic: Any, **privacy: object) -> str:
    text = (clinic.folder / "schema.yaml").read_text()
    line = next(line for line in text.splitlines() if line.strip().startswith("cost:"))
    wide = "  cost: {kind: numeric, low: -1000000, high: 1000000, missing: true, decimals: 2, source: private-paid}"
    (clinic.folder / "schema.yaml").write_text(text.replace(line, wide))
    return clinic.spec(generator={"name": "made", "options": {"hidden": [8]}}, training={"epochs": 1}, privacy=privacy)


def test_a_run_measures_trains_and_accounts_for_both_at_once(clinic: Any):
    said = clinic("run", spec_for(clinic, epsilon=3, schema_epsilon=0.5, records=500))
    assert said.code in (0, 1), said.err
    (folder,) = clinic.runs
    receipt = clinic("runs", "--json").object["runs"][0]
    assert 2.9 < receipt["epsilon"] <= 3
    (entry,) = clinic.ledger()
    assert (entry["epsilon"], entry["state"]) == (3, "spent")
    assert entry["mechanisms"][0]["what"].startswith("a histogram of every number")
    card = (folder / "card.md").read_text()
    assert "private-paid" in card
    assert "private-paid" in (folder / "schema.json").read_text() and '"edges"' in (folder / "schema.json").read_text()


def test_what_is_beyond_the_limit_is_refused_before_a_bin_is_measured(clinic: Any, monkeypatch: pytest.MonkeyPatch):
    def read(*_: object, **__: object) -> None:
        raise AssertionError("the records were read")

    monkeypatch.setattr(private, "measured", read)
    assert clinic("budget", "visits.csv", "--limit", "1").code == 0
    said = clinic("run", spec_for(clinic, epsilon=3, schema_epsilon=0.5, records=500))
    assert said.code == BudgetExceeded.exit_code == 3 and clinic.runs == []


def test_a_bin_to_be_measured_that_nobody_pays_for_is_refused(clinic: Any):
    said = clinic("run", spec_for(clinic, epsilon=3, records=500))
    assert said.code == 2 and "schema_epsilon" in said.err
    assert clinic.ledger() == []
