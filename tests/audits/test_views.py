"""Bins and features of tables, against pandas' own cuts and by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from guardrail.audits.views import MOST_CATEGORIES, binned, features, learnable, numbers
from guardrail.vocabulary.schema import Schema

NUMBER = Schema.model_validate({"columns": {"x": {"kind": "numeric", "low": -10, "high": 10, "missing": True}}})


def numeric(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"x": np.array(values, float)})


def test_numbers_are_cut_at_the_twentieths_as_pandas_cuts_them(mixed_schema: Schema, mixed_table: Callable[..., pd.DataFrame]) -> None:
    train, other = (mixed_table(1500, np.random.default_rng(seed)) for seed in (1, 2))
    found = binned([train, other], mixed_schema, train)
    j = found.names.index("income")
    edges = np.unique(train["income"].quantile(np.arange(1, 20) / 20).to_numpy())
    for frame, codes in zip((train, other), found.codes, strict=True):
        expected = pd.cut(frame["income"], [-np.inf, *edges, np.inf], labels=False).fillna(len(edges) + 1)
        assert (codes[:, j] == expected).all()
    assert found.sizes[j] == len(edges) + 2 == len(found.labels[j])


def test_missing_is_the_last_code_of_every_column(mixed_schema: Schema, mixed_table: Callable[..., pd.DataFrame]) -> None:
    train = mixed_table(400, np.random.default_rng(3))
    found = binned([train], mixed_schema, train)
    for j, name in enumerate(found.names):
        assert ((found.codes[0][:, j] == found.sizes[j] - 1) == train[name].isna().to_numpy()).all()
        assert found.codes[0][:, j].min() >= 0


def test_a_value_that_holds_most_of_a_column_is_told_from_what_lies_above_it() -> None:
    found = binned([numeric(0, 0, 0, 5)], NUMBER, numeric(*([0] * 99), 5))
    assert found.codes[0].ravel().tolist() == [0, 0, 0, 1]


def test_extremes_infinities_and_empty_references_do_not_break_the_cuts() -> None:
    found = binned([numeric(-np.inf, 1e308, -1e308, -0.0, np.nan)], NUMBER, numeric(1e308, -1e308, np.inf, 0.0))
    assert found.codes[0][4, 0] == found.sizes[0] - 1
    assert np.diff(found.codes[0][[0, 3, 1], 0]).min() >= 0
    empty = binned([numeric(1.0, np.nan)], NUMBER, numeric(np.nan))
    assert (empty.codes[0].ravel().tolist(), empty.labels[0]) == ([0, 1], ("any", "(missing)"))


def test_labels_of_the_outer_bins_show_no_extreme_value() -> None:
    found = binned([numeric(1)], NUMBER, numeric(*range(1, 101)))
    assert found.labels[0][0].startswith("up to ")
    assert found.labels[0][-2].startswith("above ")
    assert "100" not in " ".join(found.labels[0])


def test_dates_are_days() -> None:
    days = pd.Series(np.array(["1970-01-02", "1969-12-31T12:00", "NaT"], "datetime64[us]"))
    assert numbers(days)[:2].tolist() == [1.0, -0.5]
    assert np.isnan(numbers(days)[2])


def test_features_are_what_the_classifier_takes(mixed_schema: Schema, mixed_table: Callable[..., pd.DataFrame]) -> None:
    train = mixed_table(300, np.random.default_rng(4))
    table = features(train.iloc[::-1], mixed_schema, ["ill"])
    assert list(table) == ["age", "income", "visit", "grade", "region", "sex"]
    assert {name for name in table if isinstance(table[name].dtype, pd.CategoricalDtype)} == {"grade", "region", "sex"}
    assert (table.isna().to_numpy() == train.iloc[::-1].drop(columns="ill").isna().to_numpy()).all()
    model = HistGradientBoostingClassifier(max_iter=2).fit(table, train["ill"].iloc[::-1].astype(bool))
    assert model.predict_proba(table).shape == (300, 2)


@pytest.mark.parametrize("with_reference", [True, False])
def test_the_rarest_of_ten_thousand_categories_become_one(with_reference: bool) -> None:
    words = [f"w{i}" for i in range(10_000)]
    schema = Schema.model_validate({"columns": {"c": {"kind": "categorical", "categories": words, "missing": True}}})
    train = pd.DataFrame({"c": pd.Categorical(["w9999"] * 5 + ["w5000"] * 3 + words[:400] + [None], categories=words)})
    column = features(train, schema, reference=train if with_reference else None)["c"]
    assert len(column.cat.categories) == MOST_CATEGORIES
    assert column.isna().tolist() == train["c"].isna().tolist()
    assert (column.iloc[0] != column.iloc[5]) is with_reference
    assert column.iloc[8] != column.iloc[9]
    HistGradientBoostingClassifier(max_iter=1).fit(column.to_frame(), np.arange(len(column)) % 2)


def test_columns_too_sparse_to_split_on_are_left_out_and_lose_nothing() -> None:
    rng = np.random.default_rng(5)
    x = pd.DataFrame({"full": rng.random(200), "sparse": np.where(np.arange(200) < 19, 1.0, np.nan), "void": np.nan})
    y = (np.arange(200) < 19) | (x["full"] > 0.5).to_numpy()
    assert learnable(x) == ["full"]
    alone = HistGradientBoostingClassifier(random_state=0).fit(x[["full"]], y).predict_proba(x[["full"]])
    beside = HistGradientBoostingClassifier(random_state=0).fit(x[["full", "sparse"]], y).predict_proba(x[["full", "sparse"]])
    assert (alone == beside).all()
