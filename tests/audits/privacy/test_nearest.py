import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from guardrail.audits.privacy.distances import coordinates, nearest
from guardrail.audits.privacy.nearest import Nearest
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.schema import Schema


def measure(schema, train, holdout, synthetic, seed=0, **settings):
    evidence = Evidence(schema=schema, train=train, holdout=holdout, synthetic=synthetic)
    (finding,) = Nearest(**settings).measure(evidence, np.random.default_rng(seed))
    return finding


def jittered(frame, rng):
    """A memorising generator: training rows with one number changed a little."""
    moved = frame.copy()
    moved["income"] = moved["income"] * rng.uniform(0.97, 1.03, len(frame))
    return moved


def test_a_memorising_generator_is_caught(mixed_schema, mixed_table):
    rng = np.random.default_rng(1)
    train, holdout = mixed_table(800, rng), mixed_table(800, rng)
    finding = measure(mixed_schema, train, holdout, jittered(train, rng))
    assert finding.low > 0.9
    assert finding.groups["sex=female"].low > 0.85


def test_an_honest_generator_is_not_accused(mixed_schema, mixed_table):
    rng = np.random.default_rng(2)
    finding = measure(mixed_schema, mixed_table(1500, rng), mixed_table(800, rng), mixed_table(1000, rng))
    assert finding.low < 0.5 < finding.high
    assert finding.reference == 0.5


def test_a_generator_that_ignores_the_data_is_not_accused(mixed_schema, mixed_table):
    rng = np.random.default_rng(3)
    constant = mixed_table(1, rng).iloc[np.zeros(500, int)].reset_index(drop=True)
    finding = measure(mixed_schema, mixed_table(500, rng), mixed_table(500, rng), constant)
    # One nearest record decides for all 500 rows: the interval says that this is one observation.
    assert finding.value in (0.0, 1.0)
    assert finding.low < 0.5 < finding.high


def test_the_interval_covers_one_half_nine_times_in_ten_under_honesty():
    schema = Schema.model_validate({"columns": {name: {"kind": "numeric", "low": -9, "high": 9} for name in "abc"}})
    rng, covered = np.random.default_rng(4), 0
    for _ in range(200):
        train, holdout, synthetic = (pd.DataFrame(rng.normal(size=(n, 3)), columns=list("abc")) for n in (60, 60, 240))
        finding = measure(schema, train, holdout, synthetic)
        covered += finding.low <= 0.5 <= finding.high
    assert covered >= 180


def test_a_share_of_copies_is_measured_in_proportion(mixed_schema, mixed_table):
    rng = np.random.default_rng(5)
    train, holdout, honest = (mixed_table(1000, rng) for _ in range(3))
    finding = measure(mixed_schema, train, holdout, pd.concat([honest[:500], train[:500]], ignore_index=True))
    assert finding.low < 0.75 < finding.high  # half of the rows always, the other half by a coin


def test_ties_count_one_half(mixed_schema, mixed_table):
    rng = np.random.default_rng(6)
    same = mixed_table(300, rng)
    assert measure(mixed_schema, same, same, mixed_table(300, rng)).value == 0.5


def gower_by_hand(schema, pool, a, b):
    """The slow truth, one pair of rows and one column at a time."""
    total = 0.0
    for name, column in schema.columns.items():
        x, y = a[name], b[name]
        if column.kind in ("categorical", "boolean"):
            total += 0.0 if (pd.isna(x) and pd.isna(y)) or (not pd.isna(x) and not pd.isna(y) and x == y) else 1.0
            continue
        known = pool[name].dropna()
        if column.kind == "ordinal":
            position = {word: i for i, word in enumerate(column.categories)}
            known, x, y = known.map(position).astype(float), position.get(x, np.nan), position.get(y, np.nan)
        place = [0.5 if pd.isna(v) else ((known < v).mean() + (known <= v).mean()) / 2 for v in (x, y)]
        total += abs(place[0] - place[1]) + abs(float(pd.isna(x)) - float(pd.isna(y))) / 2
    return total


def test_distances_equal_the_slow_truth(mixed_schema, mixed_table):
    pool = mixed_table(40, np.random.default_rng(7))
    left, right = pool[:6], pool[6:40]
    found, rows = nearest(*coordinates(mixed_schema, pool, left, right))
    for i in range(len(left)):
        truth = [gower_by_hand(mixed_schema, pool, left.iloc[i], right.iloc[j]) for j in range(len(right))]
        assert found[i] == pytest.approx(min(truth))
        assert truth[rows[i]] == pytest.approx(min(truth))


def test_blocks_give_what_one_matrix_gives():
    rng = np.random.default_rng(8)
    schema = Schema.model_validate({"columns": {name: {"kind": "numeric", "low": 0, "high": 1} for name in "ab"}})
    pool = pd.DataFrame(rng.random((700, 2)), columns=list("ab"))
    (points,) = coordinates(schema, pool, pool)
    found, _ = nearest(points, points._replace(numbers=points.numbers[:50], words=points.words[:50]))
    truth = cdist(points.numbers, points.numbers[:50], "cityblock").min(axis=1)
    assert np.allclose(found, truth)


def test_no_distance_of_a_single_record_is_told(mixed_schema, mixed_table):
    rng = np.random.default_rng(9)
    finding = measure(mixed_schema, mixed_table(200, rng), mixed_table(200, rng), mixed_table(200, rng))
    assert {plot.kind for plot in finding.plots} == {"whiskers"}
    assert all(0 <= value <= 1 for value in finding.plots[0].values)


def test_huge_numbers_do_not_upset_the_scale(mixed_schema, mixed_table):
    rng = np.random.default_rng(10)
    train, holdout, synthetic = (mixed_table(100, rng) for _ in range(3))
    for frame in (train, holdout, synthetic):
        frame.loc[:4, "income"] = [1e308, -1e308, np.inf, -np.inf, -0.0]
    finding = measure(mixed_schema, train, holdout, synthetic)
    assert 0 < finding.value < 1
