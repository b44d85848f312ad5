"""Each interval against a slow truth, a textbook number, or its own promise: to cover the truth nineteen times in twenty."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from guardrail.statistics import (
    auc,
    auc_difference,
    difference,
    effective_rows,
    jackknife,
    mean_ratio,
    normal,
    share_ratio,
    simultaneous_level,
    wilson,
    worst,
    worst_name,
)
from guardrail.vocabulary.estimate import Estimate


def covers(found: Estimate, truth: float) -> bool:
    return (found.low is None or found.low <= truth) and (found.high is None or truth <= found.high)


def bootstrap(statistic: Callable[[np.ndarray], float], n: int, rng: np.random.Generator, replicates: int) -> float:
    """The slow truth: the standard error of `statistic(row indices)` over rows drawn with replacement."""
    return float(np.std([statistic(rng.integers(0, n, n)) for _ in range(replicates)], ddof=1))


def test_wilson_gives_the_textbook_intervals() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
    for successes, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]:
        found = wilson(successes, n)
        assert (round(found.low or 0, 4), round(found.high or 0, 4)) == (low, high)


def test_wilson_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng, covered = np.random.default_rng(1), 0
    for successes in rng.binomial(60, 0.1, 2000):
        found = wilson(int(successes), 60)
        covered += (found.low or 0) <= 0.1 <= (found.high or 0)
    assert 0.93 <= covered / 2000 <= 0.985


def test_no_trials_is_misuse() -> None:
    for successes, n in [(0, 0), (3, 2), (-1, 5)]:
        with pytest.raises(ValueError, match="no share"):
            wilson(successes, n)


def test_share_ratio_gives_koopmans_own_example() -> None:
    # Koopman (1984), Biometrics 40:513: 36 of 40 against 16 of 80.
    found = share_ratio(36, 40, 16, 80)
    assert found.value == pytest.approx(4.5)
    assert (round(found.low or 0, 2), round(found.high or 0, 2)) == (2.94, 7.15)


def test_a_large_group_that_vanished_has_a_ratio_of_zero_bounded_well_below_one() -> None:
    found = share_ratio(0, 2000, 500, 2000)
    assert (found.value, found.low) == (0, 0)
    assert 0 < (found.high or 0) < 0.05


def test_a_group_that_is_everybody_has_a_ratio_of_one() -> None:
    found = share_ratio(50, 50, 80, 80)
    assert found.value == 1
    assert (found.low or 0) < 1 < (found.high or 0)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_share_ratio_turned_around_is_its_inverse(n: int, m: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(1, n)), data.draw(st.integers(1, m))
    one, other = share_ratio(x, n, y, m), share_ratio(y, m, x, n)
    assert one.value * other.value == pytest.approx(1)
    assert (one.low or 0) * (other.high or 0) == pytest.approx(1, rel=1e-6)


def test_share_ratio_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng, covered = np.random.default_rng(2), 0
    for x, y in zip(rng.binomial(800, 0.03, 1000), rng.binomial(1500, 0.05, 1000), strict=True):
        found = share_ratio(int(x), 800, int(y), 1500)
        covered += (found.low or 0) <= 0.6 <= (found.high or 0)
    assert 0.93 <= covered / 1000 <= 0.975


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    scores, positives = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    if positives.all() or not positives.any():
        with pytest.raises(ValueError, match="both classes"):
            auc(scores, positives)
        return
    wins = [(a > b) + 0.5 * (a == b) for a in scores[positives] for b in scores[~positives]]
    found = auc(scores, positives)
    assert found.value == pytest.approx(np.mean(wins))
    assert 0 <= (found.low or 0) <= found.value <= (found.high or 0) <= 1
    assert (found.low or 0) < (found.high or 0)


def test_few_rows_out_of_order_by_hand() -> None:
    # Positives 3, 1; negatives 2, 0. 3 beats both, 1 beats one: AUC 3/4. Placements (1, 1/2) and (1/2, 1):
    # variances 1/8 each, so DeLong's is 1/8/2 + 1/8/2 = 1/8.
    found = auc(np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False]))
    half, logit = 1.959964 * math.sqrt(1 / 8) / (0.75 * 0.25), math.log(3)
    assert found.value == 0.75
    assert found.low == pytest.approx(1 / (1 + math.exp(half - logit)), abs=1e-6)
    assert found.high == pytest.approx(1 / (1 + math.exp(-half - logit)), abs=1e-6)
    assert found.method == "wider of delong and newcombe 5"


def test_newcombes_interval_ends_where_hanley_and_mcneils_error_puts_them() -> None:
    # 9 of 10 positives above all of 1000 negatives and one above 980: DeLong's lower end is nearer.
    scores, positives = np.r_[np.full(9, 2000.0), 979.5, np.arange(1000)], np.arange(1010) < 10
    found = auc(scores, positives)
    theta = found.low or 0
    share = (1 - theta) / (2 - theta) + theta / (1 + theta)
    variance = theta * (1 - theta) / 10_000 * (1 + 504 * share)
    assert found.value == pytest.approx(0.998)
    assert found.value - theta == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)


def test_delong_agrees_with_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    positives = rng.random(600) < 0.3
    scores = rng.normal(size=600) + positives
    found = auc(scores, positives)
    error = bootstrap(lambda rows: auc(scores[rows], positives[rows]).value, 600, rng, 300)
    width = (found.high or 0) - (found.low or 0)
    assert width == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_auc_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng, truth, covered = np.random.default_rng(4), 0.5 * (1 + math.erf(1.0 / 2)), 0  # P(N(1,1) > N(0,1))
    positives = np.arange(120) < 40
    for _ in range(1500):
        found = auc(rng.normal(size=120) + positives, positives)
        covered += (found.low or 0) <= truth <= (found.high or 0)
    assert 0.93 <= covered / 1500 <= 0.975


RARE = [(2.0, 10, 1000), (3.0, 10, 1000), (2.5, 2, 1000), (0.0, 3, 500), (3.0, 20, 20)]
"""The shift of the positives, and the rows of each class."""


def normal_scores(shift: float, m: int, n: int, rng: np.random.Generator) -> np.ndarray:
    return np.r_[rng.normal(shift, 1, m), rng.normal(0, 1, n)]


@pytest.mark.parametrize(("shift", "m", "n"), RARE)
def test_auc_interval_covers_the_truth_where_a_class_is_rare(shift: float, m: int, n: int) -> None:
    rng, truth, positives = np.random.default_rng(14), 0.5 * (1 + math.erf(shift / 2)), np.arange(m + n) < m
    covered = sum(covers(auc(normal_scores(shift, m, n, rng), positives), truth) for _ in range(500))
    assert covered / 500 >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "m", "n"), [*RARE, (3.0, 20, 1000), (3.0, 30, 3000), (3.0, 100, 3000), (3.0, 400, 2000), (1.0, 40, 80)])
def test_auc_interval_covers_the_truth_over_many_draws(shift: float, m: int, n: int) -> None:
    rng, truth, positives = np.random.default_rng(15), 0.5 * (1 + math.erf(shift / 2)), np.arange(m + n) < m
    covered = sum(covers(auc(normal_scores(shift, m, n, rng), positives), truth) for _ in range(3000))
    assert covered / 3000 >= 0.94


def test_auc_interval_covers_a_class_whose_scores_spread_more_than_the_other() -> None:
    rng, truth, positives = np.random.default_rng(16), 0.5 * (1 + math.erf(2 / math.sqrt(5) / math.sqrt(2))), np.arange(1030) < 30
    covered = sum(covers(auc(np.r_[rng.normal(2, 2, 30), rng.normal(size=1000)], positives), truth) for _ in range(500))
    assert covered / 500 >= 0.92  # Hanley and McNeil's variance alone covers 0.86


def test_auc_of_many_rows_is_delongs_and_no_wider() -> None:
    rng = np.random.default_rng(17)
    found = auc(normal_scores(1.0, 4000, 4000, rng), np.arange(8000) < 4000)
    assert found.method == "delong"
    assert (found.high or 0) - (found.low or 0) < 0.022


def test_a_perfect_auc_on_five_rows_is_not_certain() -> None:
    found = auc(np.arange(10.0), np.arange(10) >= 5)
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.4 < (found.low or 0) < 0.7
    constant = auc(np.zeros(10), np.arange(10) >= 5)
    assert constant.value == 0.5
    assert (constant.low or 0) < 0.3 < 0.7 < (constant.high or 0)


def test_paired_difference_agrees_with_the_bootstrap_and_beats_the_unpaired_one() -> None:
    rng = np.random.default_rng(5)
    positives = rng.random(800) < 0.4
    common = rng.normal(size=800) + positives
    a, b = common + 0.3 * rng.normal(size=800), common + 0.6 * rng.normal(size=800)
    found = auc_difference(a, b, positives)
    error = bootstrap(lambda r: auc(a[r], positives[r]).value - auc(b[r], positives[r]).value, 800, rng, 300)
    width = (found.high or 0) - (found.low or 0)
    unpaired = difference(auc(a, positives), auc(b, positives))
    assert found.value == pytest.approx(auc(a, positives).value - auc(b, positives).value)
    assert width == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert width < 0.7 * ((unpaired.high or 0) - (unpaired.low or 0))


PAIRED = [(10, 2.0, 1.0), (10, 3.0, 2.0), (10, 2.0, 0.0), (20, 3.0, 2.0), (30, 3.0, 2.5), (30, 3.0, 3.0)]
"""The rows of the rarer class, and its shift in either score."""


def covered_differences(m: int, a: float, b: float, shared: float, draws: int) -> float:
    rng, positives = np.random.default_rng(18), np.arange(m + 1000) < m
    truth = 0.5 * (math.erf(a / 2) - math.erf(b / 2))
    covered = 0
    for _ in range(draws):
        common, own = rng.normal(size=m + 1000), rng.normal(size=(2, m + 1000))
        scores = math.sqrt(shared) * common + math.sqrt(1 - shared) * own + positives * np.array([[a], [b]])
        covered += covers(auc_difference(*scores, positives), truth)
    return covered / draws


@pytest.mark.parametrize(("m", "a", "b"), PAIRED)
def test_paired_difference_covers_the_truth_where_a_class_is_rare(m: int, a: float, b: float) -> None:
    assert covered_differences(m, a, b, 0.9 if b else 0.0, 300) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("m", "a", "b"), [*PAIRED, (40, 1.0, 0.5), (60, 3.0, 2.5), (100, 3.0, 2.5), (300, 3.0, 2.5)])
def test_paired_difference_covers_the_truth_over_many_draws(m: int, a: float, b: float, shared: float) -> None:
    assert covered_differences(m, a, b, shared, 1500) >= 0.935


def test_scores_that_order_alike_are_not_certain_to_do_so_on_other_rows() -> None:
    for scores in (np.arange(12.0), np.zeros(12), np.tile([0.0, 1.0], 6)):
        same = auc_difference(scores, scores * 2 + 1, np.arange(12) >= 6)
        assert same.value == 0
        assert (same.low or 0) < -0.1 < 0.1 < (same.high or 0)
    many = auc_difference(np.arange(4000.0), np.arange(4000.0), np.arange(4000) % 2 == 0)
    assert 0 < (many.high or 0) < 0.002


def test_difference_of_two_shares_is_newcombes() -> None:
    # Newcombe (1998), Statistics in Medicine 17:873, table II, method 10: 56/70 - 48/80.
    found = difference(wilson(56, 70), wilson(48, 80))
    assert (round(found.low or 0, 4), round(found.high or 0, 4)) == (0.0524, 0.3339)


def test_normal_is_cut_to_the_range_and_wider_with_few_degrees_of_freedom() -> None:
    found = normal(0.99, 0.1, 10, low=0, high=1, method="test")
    assert found.high == 1
    assert found.low == pytest.approx(0.99 - 1.959964 * 0.1)
    assert (normal(0.99, 0.1, 10, method="test", degrees=3).low or 0) < (found.low or 0)
    with pytest.raises(ValueError, match="no interval"):
        normal(0.5, math.nan, 10, method="test")


def test_jackknife_finds_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(6).exponential(size=500)
    assert float(jackknife((values.sum() - values) / 499)) == pytest.approx(values.std(ddof=1) / math.sqrt(500), rel=1e-9)


def test_ends_of_a_ratio_of_means_are_ratios_at_the_edge_of_a_t_test() -> None:
    rng = np.random.default_rng(7)
    bottom, top = rng.exponential(size=60), rng.exponential(size=60)
    found, degrees = mean_ratio(top, bottom), effective_rows(bottom) - 1
    assert found.value == pytest.approx(top.mean() / bottom.mean())
    for end in (found.low or 0, found.high or 0):
        row_by_row = top - end * bottom
        t = row_by_row.mean() / (row_by_row.std(ddof=1) / math.sqrt(60))
        assert 2 * student.sf(abs(t), degrees) == pytest.approx(0.05)


def test_ratio_of_means_is_open_where_one_row_is_the_denominator() -> None:
    found = mean_ratio(np.ones(20), np.r_[np.zeros(19), 5.0])
    assert (found.value, found.low, found.high) == (4.0, None, None)
    for bottom in (np.zeros(5), np.array([-1.0, 2, 2, 2, 2])):
        with pytest.raises(ValueError, match="above zero"):
            mean_ratio(np.ones(5), bottom)


def test_effective_rows_count_equal_ones_and_nothing_else() -> None:
    assert effective_rows(np.full(8, 3.0)) == pytest.approx(8)
    assert effective_rows(np.r_[np.zeros(7), 2.0]) == 1


def test_the_worst_of_many_equal_groups_is_covered_although_it_was_picked_by_looking() -> None:
    rng, k, covered = np.random.default_rng(9), 10, 0
    level = simultaneous_level(0.95, k)
    for successes in rng.binomial(400, 0.3, (800, k)):
        found = worst({str(i): wilson(int(s), 400, level) for i, s in enumerate(successes)}, how="min")
        covered += (found.low or 0) <= 0.3 <= (found.high or 0)
    assert covered / 800 >= 0.95
    assert found.level == 0.95


def test_worst_takes_the_extreme_ends_and_keeps_an_open_end_open() -> None:
    groups = {"a": Estimate(value=0.5, low=0.2, high=0.9), "b": Estimate(value=0.6, low=0.5, high=0.7)}
    least = worst(groups, how="min")
    assert (least.value, least.low, least.high) == (0.5, 0.2, 0.7)
    assert worst_name(groups, how="max") == "b"
    assert worst({**groups, "c": Estimate(value=0.7, low=0.6, high=None)}, how="max").high is None
    with pytest.raises(ValueError, match="no group"):
        worst({}, how="min")
