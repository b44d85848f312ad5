"""A made table with every kind of column, dependence, missing cells and a target: audits are tried on it, and quickly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.schema import Schema

Maker = Callable[..., pd.DataFrame]

COLUMNS = {
    "age": {"kind": "integer", "low": 18, "high": 90},
    "income": {"kind": "numeric", "low": 0, "high": 1e6, "points": [0], "missing": True},
    "visit": {"kind": "datetime", "low": "2020-01-01", "high": "2024-12-31", "missing": True},
    "grade": {"kind": "ordinal", "categories": ["low", "middle", "high"]},
    "region": {"kind": "categorical", "categories": ["north", "south", "east", "west"]},
    "sex": {"kind": "categorical", "categories": ["female", "male"], "missing": True},
    "ill": {"kind": "boolean"},
}


@pytest.fixture(scope="session")
def mixed_schema() -> Schema:
    return Schema.model_validate({"target": "ill", "sensitive": ["sex", "region"], "columns": COLUMNS})


@pytest.fixture(scope="session")
def mixed_table() -> Maker:
    """`mixed_table(n, rng)`: n cast rows; income follows grade, illness follows age, income and sex."""
    return make_mixed_table


@pytest.fixture(scope="session")
def honest(mixed_schema: Schema) -> Evidence:
    """Synthetic rows that are as good as real ones: all three tables come from one population."""
    rng = np.random.default_rng(11)
    train, holdout, synthetic = (make_mixed_table(n, rng) for n in (4000, 2000, 4000))
    return Evidence(mixed_schema, train, holdout, synthetic, np.ones(4000, bool))


@pytest.fixture(scope="session")
def ignorant(honest: Evidence) -> Evidence:
    """Synthetic rows whose columns know nothing of each other."""
    return replace(honest, synthetic=honest.floor_rows(np.random.default_rng(12)))


@pytest.fixture(scope="session")
def copied(honest: Evidence) -> Evidence:
    """Synthetic rows that are the training rows."""
    return replace(honest, synthetic=honest.train)


def make_mixed_table(n: int, rng: np.random.Generator) -> pd.DataFrame:
    age = rng.integers(18, 91, n)
    grade = np.clip((age - 18) // 25 + rng.integers(-1, 2, n), 0, 2)
    income = np.where(rng.random(n) < 0.3, 0.0, np.exp(rng.normal(9 + grade, 0.5, n)))
    sex = (rng.random(n) < 0.55).astype(int)
    signal = (age - 54) / 12 + 1.2 * sex - 0.8 * (income > 0) + rng.normal(0, 1, n)
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 1800, n), unit="D")
    return pd.DataFrame(
        {
            "age": pd.array(age, dtype="Int64"),
            "income": np.where(rng.random(n) < 0.05, np.nan, income),
            "visit": pd.Series(days).astype("datetime64[us]").where(rng.random(n) > 0.1),
            "grade": words(grade, COLUMNS["grade"]["categories"], ordered=True),
            "region": words(rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1]), COLUMNS["region"]["categories"]),
            "sex": words(np.where(rng.random(n) < 0.03, -1, sex), COLUMNS["sex"]["categories"]),
            "ill": pd.array(signal > 0.3, dtype="boolean"),
        }
    )


def words(codes: np.ndarray, categories: list[str], *, ordered: bool = False) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, categories=categories, ordered=ordered)
