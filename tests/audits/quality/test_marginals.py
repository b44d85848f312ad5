"""One column at a time: by hand, on copies, on honest rows, on a column that went wrong, on tables hardly worth the name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from guardrail.audits.quality.marginals import Marginals
from guardrail.vocabulary.evidence import Audit, Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Bars, Whiskers
from guardrail.vocabulary.schema import Schema

WORDS = Schema.model_validate(
    {"columns": {name: {"kind": "categorical", "categories": ["p", "q", "r"], "missing": True} for name in ("a", "b")}}
)


def measure(evidence: Evidence, seed: int = 0) -> Finding:
    (finding,) = Marginals().measure(evidence, np.random.default_rng(seed))
    return finding


def table(a: str, b: str) -> pd.DataFrame:
    return pd.DataFrame({n: pd.Categorical([None if c == "." else c for c in cells], ["p", "q", "r"]) for n, cells in (("a", a), ("b", b))})


def test_it_is_an_audit() -> None:
    assert isinstance(Marginals(), Audit)


def test_four_rows_by_hand() -> None:
    # a: p 1/2 q 1/2 against p 1/4 q 3/4: distance 1/4. b: q 1/2 missing 1/2 against missing 1: distance 1/2.
    finding = measure(Evidence(WORDS, train=table("ppqq", "qq.."), synthetic=table("pqqq", "....")))
    assert {name: group.value for name, group in finding.groups.items()} == {"a": 0.75, "b": 0.5}
    assert finding.value == 0.625
    assert finding.n == 4


def test_honest_rows_score_as_the_holdout_does(honest: Evidence) -> None:
    assert honest.holdout is not None
    n = len(honest.holdout)
    finding = measure(replace(honest, train=honest.train.iloc[:n], synthetic=honest.synthetic.iloc[:n]))  # type: ignore[union-attr]
    assert finding.value is not None
    assert finding.reference == finding.comparisons["holdout"].value
    assert abs(finding.value - (finding.reference or 0)) < 0.02
    assert (finding.low or 0) <= (finding.reference or 0)
    assert finding.n == finding.comparisons["holdout"].n == finding.comparisons["floor"].n == n
    assert "synthetic at holdout size" not in finding.comparisons


def test_a_small_holdout_does_not_shrink_the_comparison(honest: Evidence) -> None:
    assert honest.holdout is not None
    finding = measure(replace(honest, holdout=honest.holdout.iloc[:500]))
    shown = finding.comparisons
    assert finding.n == shown["floor"].n == shown["resampled"].n == 4000
    assert shown["holdout"].n == shown["synthetic at holdout size"].n == 500
    assert finding.reference == shown["resampled"].value
    # Fewer rows differ more: each number is fair only beside one of its own size.
    assert shown["holdout"].value < (finding.value or 0)
    assert abs(shown["holdout"].value - shown["synthetic at holdout size"].value) < 0.03


def test_two_resamples_differ_as_two_honest_samples_do() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(60, 0.3))
    schema = Schema.model_validate({"columns": {"word": {"kind": "categorical", "categories": [f"w{i}" for i in range(60)]}}})

    def drawn() -> pd.DataFrame:
        words = pd.Series([f"w{i}" for i in rng.choice(60, 3000, p=shares)])
        return pd.DataFrame({"word": words.astype(pd.CategoricalDtype([f"w{i}" for i in range(60)]))})

    pairs = [(measure(Evidence(schema, train=drawn(), synthetic=drawn()))) for _ in range(12)]
    honest, resampled = np.mean([f.value or 0 for f in pairs]), np.mean([f.reference or 0 for f in pairs])
    assert abs(honest - resampled) < 0.004


def test_copies_score_as_well_as_real_rows_and_the_caveats_say_so(copied: Evidence) -> None:
    finding = measure(copied)
    assert (finding.value or 0) > 0.96
    assert any("privacy.exact_copies" in caveat for caveat in finding.caveats)


def test_columns_drawn_by_themselves_score_as_well_as_real_rows(ignorant: Evidence) -> None:
    assert (measure(ignorant).value or 0) > 0.96


def test_a_collapsed_column_is_found_and_drawn_first(honest: Evidence) -> None:
    assert honest.synthetic is not None
    finding = measure(replace(honest, synthetic=honest.synthetic.assign(income=0.0)))
    assert (finding.groups["income"].high or 0) < 0.5
    assert (finding.high or 0) < (finding.comparisons["holdout"].low or 0)
    whiskers, bars = finding.plots[0], finding.plots[1]
    assert isinstance(whiskers, Whiskers) and whiskers.labels[0] == "income"
    assert isinstance(bars, Bars) and bars.title.endswith("income")
    assert all(sum(shares) == pytest.approx(1) for shares in bars.series.values())


def test_a_date_and_a_missing_share_that_went_wrong_are_found(honest: Evidence) -> None:
    assert honest.synthetic is not None
    late = honest.synthetic.assign(visit=honest.synthetic["visit"] + pd.Timedelta(days=400))
    late["sex"] = pd.Categorical([None] * len(late), ["female", "male"])
    finding = measure(replace(honest, synthetic=late))
    assert (finding.groups["visit"].high or 0) < 0.9
    assert (finding.groups["sex"].high or 0) < 0.1


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_rows_cannot_be_assessed(honest: Evidence, rows: int) -> None:
    assert honest.synthetic is not None
    finding = measure(replace(honest, synthetic=honest.synthetic.iloc[:rows]))
    assert finding.status == "not_assessable"
    assert str(rows) in (finding.reason or "")


def test_without_a_holdout_the_reference_is_two_resamples_and_says_so(honest: Evidence) -> None:
    finding = measure(replace(honest, holdout=None))
    assert finding.reference == finding.comparisons["resampled"].value
    assert "holdout" not in finding.comparisons
    assert any("no holdout" in caveat for caveat in finding.caveats)


def test_constant_and_all_missing_columns_are_no_obstacle() -> None:
    frame = table("pppppp", "......")
    finding = measure(Evidence(WORDS, train=frame, holdout=frame, synthetic=frame))
    assert finding.value == 1
    assert finding.high == 1


def test_ten_thousand_categories_are_drawn_as_the_commonest_and_the_rest() -> None:
    words = [str(i) for i in range(10_000)]
    schema = Schema.model_validate({"columns": {"c": {"kind": "categorical", "categories": words}}})
    rng = np.random.default_rng(5)
    train, synthetic = (pd.DataFrame({"c": pd.Categorical.from_codes(rng.integers(0, 10_000, 3000), words)}) for _ in range(2))
    finding = measure(Evidence(schema, train=train, synthetic=synthetic))
    bars = finding.plots[1]
    assert isinstance(bars, Bars) and len(bars.labels) == 24 and bars.labels[-1] == "all others"
    assert 0 < (finding.value or 0) < 0.5


def test_a_floor_of_too_few_rows_is_left_out_and_named(honest: Evidence) -> None:
    assert honest.train is not None
    finding = measure(replace(honest, floor=honest.train.iloc[:10]))
    assert "floor" not in finding.comparisons
    assert any("the floor has 10 rows" in caveat for caveat in finding.caveats)


def test_one_seed_gives_one_finding(honest: Evidence) -> None:
    assert measure(honest, 3) == measure(honest, 3)
