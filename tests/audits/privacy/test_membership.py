import numpy as np
import pandas as pd
import pytest

from guardrail.audits.privacy.membership import Membership
from guardrail.vocabulary.evidence import Evidence


def measure(schema, train, holdout, synthetic, seed=0, log_likelihood=None, **settings):
    evidence = Evidence(schema=schema, train=train, holdout=holdout, synthetic=synthetic, log_likelihood=log_likelihood)
    (finding,) = Membership(**settings).measure(evidence, np.random.default_rng(seed))
    return finding


@pytest.fixture(scope="module")
def honest(mixed_schema, mixed_table):
    rng = np.random.default_rng(1)
    return measure(mixed_schema, *(mixed_table(n, rng) for n in (1000, 1000, 1000)))


def test_a_generator_that_copies_is_caught(mixed_schema, mixed_table):
    rng = np.random.default_rng(2)
    train, holdout = mixed_table(600, rng), mixed_table(600, rng)
    finding = measure(mixed_schema, train, holdout, train)
    assert finding.low > 0.9
    assert finding.groups["attack=distance"].value > 0.95
    assert finding.groups["sex=female"].low > 0.8


def test_an_honest_generator_is_not_accused(honest):
    assert honest.low <= 0.5 <= honest.high
    assert honest.reference == 0.5
    assert abs(honest.comparisons["blind"].value - 0.5) < 0.1


def test_the_headline_is_the_best_attack_with_a_simultaneous_interval(honest):
    attacks = [estimate for name, estimate in honest.groups.items() if name.startswith("attack=")]
    assert honest.value == max(attack.value for attack in attacks)
    assert honest.low == max(attack.low for attack in attacks)
    assert honest.high == max(attack.high for attack in attacks)
    assert all(attack.level == pytest.approx(1 - 0.05 / len(attacks)) for attack in attacks)


def test_a_model_that_remembers_gives_itself_away_by_its_likelihood(mixed_schema, mixed_table):
    rng = np.random.default_rng(3)
    train, holdout, synthetic = (mixed_table(600, rng) for _ in range(3))
    known = set(train["income"].dropna())

    def log_likelihood(rows):
        return rng.normal(size=len(rows)) + 2.0 * rows["income"].isin(known).to_numpy()

    finding = measure(mixed_schema, train, holdout, synthetic, log_likelihood=log_likelihood)
    assert finding.groups["attack=distance"].low < 0.5
    assert finding.value == finding.groups["attack=log-likelihood"].value
    assert finding.low > 0.5


def test_densities_of_zero_or_none_at_all_do_not_crash_the_attack(mixed_schema, mixed_table):
    rng = np.random.default_rng(4)

    def log_likelihood(rows):
        return np.where(np.arange(len(rows)) % 2, -np.inf, np.nan)

    finding = measure(mixed_schema, *(mixed_table(300, rng) for _ in range(3)), log_likelihood=log_likelihood)
    assert finding.groups["attack=log-likelihood"].value == 0.5


def test_an_attack_that_is_worse_than_a_coin_is_reported_as_it_is(mixed_schema, mixed_table):
    rng = np.random.default_rng(5)
    train, holdout = mixed_table(600, rng), mixed_table(600, rng)
    finding = measure(mixed_schema, train, holdout, holdout)  # synthetic rows that copy the non-members
    assert finding.high < 0.5


def test_a_holdout_of_other_people_is_noticed_by_the_blind_control(mixed_schema, mixed_table):
    rng = np.random.default_rng(6)
    train, synthetic, holdout = (mixed_table(1000, rng) for _ in range(3))
    later = holdout[holdout["age"] > 50].reset_index(drop=True)
    finding = measure(mixed_schema, train, later, synthetic)
    assert finding.comparisons["blind"].low > 0.55
    assert any("differ by themselves" in caveat for caveat in finding.caveats)


def test_a_group_is_attacked_by_all_and_small_ones_are_named(mixed_schema, mixed_table):
    rng = np.random.default_rng(7)
    finding = measure(mixed_schema, *(mixed_table(400, rng) for _ in range(3)))
    assert finding.groups["region=north"].method.endswith("simultaneous over 2 groups")
    assert "sex=(missing)" not in finding.groups
    assert "sex=(missing)" in finding.left_out
    assert not any("sex=" in caveat for caveat in finding.caveats)
    assert any("with fewer than 20 members" in caveat for caveat in finding.caveats)


def test_roc_curves_rise_from_corner_to_corner(honest):
    (plot,) = honest.plots
    assert plot.diagonal
    for points in plot.series.values():
        x, y = zip(*points, strict=True)
        assert (x[0], x[-1], y[-1]) == (0.0, 1.0, 1.0)
        assert list(y) == sorted(y)


def test_the_players_share_no_row(mixed_schema, mixed_table):
    rng = np.random.default_rng(8)
    train, holdout, synthetic = (mixed_table(300, rng) for _ in range(3))
    players = Membership()._cast(Evidence(schema=mixed_schema, train=train, holdout=holdout, synthetic=synthetic), rng)
    assert not set(players.members.index) & set(players.other_members.index)
    assert not set(players.outsiders.index) & set(players.reference.index)
    assert len(players.members) == len(players.outsiders)
    assert pd.concat([players.outsiders, players.reference]).index.isin(holdout.index).all()


def test_train_is_never_split_for_want_of_a_holdout(mixed_schema, mixed_table):
    rng = np.random.default_rng(9)
    finding = measure(mixed_schema, mixed_table(300, rng), None, mixed_table(300, rng))
    assert finding.status == "not_assessable"
    assert "no holdout" in finding.reason
