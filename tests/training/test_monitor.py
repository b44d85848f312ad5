"""The monitor changes nothing, sees what it should, and finds each of the failures that are planted here."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from guardrail.training.conduct import Conduct
from guardrail.training.contract import Batch
from guardrail.training.looks import Clusters, dead_units, duality_gap
from guardrail.vocabulary.monitor import MonitorRecord
from guardrail.vocabulary.spaces import TokenSpace


def watched(studio, kind, **changes):
    """The record of a watched training, and what was said while it went on."""
    told: list[str] = []
    trained = studio.fit(kind, conduct=Conduct(tell=told.append), **changes)
    record = trained.outcome.monitor
    assert tuple(told) == record.warnings
    return record, trained


@pytest.mark.parametrize("kind", ["Noisy", "Game"])
def test_watching_changes_no_weight(studio, kind):
    family = getattr(studio, kind)
    _, trained = watched(studio, family, epochs=20)
    assert torch.equal(trained.weights, studio.fit(family, epochs=20).weights)
    if kind == "Noisy":
        assert float(trained.model.asked) == trained.outcome.steps  # its buffers saw the training's batches only


def test_a_healthy_training_is_seen_and_left_in_peace(studio):
    record, trained = watched(studio, studio.Noisy, records=studio.ring(800), epochs=30)
    assert record.steps == trained.outcome.steps == 1500
    assert record.warnings in [(), *[(w,) for w in record.warnings if "clusters" in w]]  # an autoencoder fed noise samples as it can
    assert record.lost == 0 and 0 <= record.dead_units < 0.5
    losses, norms = record.losses["noisy"], record.gradient_norms["noisy"]
    assert len(losses) <= 200 and losses[0][0] == 1 and losses[-1][0] == 1500 and len(norms) <= 200
    assert MonitorRecord.model_validate_json(record.model_dump_json()) == record


def test_of_a_game_it_tells_win_rate_diagnostics_modes_and_gap(studio):
    record, trained = watched(studio, studio.Game, records=studio.ring(800), epochs=30)
    assert {step for step, _ in record.win_rate} == {step for step, _ in record.diagnostics["spread"]}
    assert all(0 <= rate <= 1 for _, rate in record.win_rate)
    assert record.duality_reference > 0 and record.duality_gap[-1][0] == record.steps and all(gap >= 0 for _, gap in record.duality_gap)
    assert record.mode_counts.total > 8 and record.mode_counts.n_samples == 512 and record.modes[-1][0] == record.steps
    logged = {name for progress in trained.history for name in progress.monitor}
    assert logged == {"win_rate", "spread", "dead_units", "modes", "duality_gap"}


def test_nobody_wanted_it(studio):
    assert studio.fit().outcome.monitor is None


def planted(record, sign: str) -> str:
    found = [warning for warning in record.warnings if sign in warning]
    assert len(found) == 1, record.warnings
    assert found[0].startswith("step ")
    return found[0]


def test_planted_oscillation_is_found(studio):
    """A rate at which every step overshoots."""

    class Overshooting(studio.Quiet):
        plain = studio.Quiet.plain.model_copy(update={"optimizer": "sgd", "betas": (0.0, 0.0), "average": 0.0, "schedule": "constant"})

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 2))

        def losses(self, batch):
            return (self.layers(batch.x) - batch.x).abs().sum(1)

    record, _ = watched(studio, Overshooting, batch_size=96, epochs=300, learning_rate=0.7)
    assert "noisy" in planted(record, "without settling")


def test_planted_waves_are_found(studio):
    """A game with a pull that turns the players round each other."""

    class Turning(studio.Quiet):
        def before_step(self, progress: float) -> None:
            self.height = 1 + 0.5 * math.sin(40 * progress)

        def losses(self, batch):
            return super().losses(batch) * 0.01 + self.height

    record, _ = watched(studio, Turning, batch_size=96, epochs=400)
    planted(record, "without settling")


def test_planted_explosion_is_found(studio):
    class Exploding(studio.Quiet):
        def before_step(self, progress: float) -> None:
            self.height = 1.0 if progress < 0.5 else 1e4

        def losses(self, batch):
            return super().losses(batch) * self.height

    record, _ = watched(studio, Exploding, epochs=40)
    planted(record, "exploded")


def test_planted_divergence_is_counted_and_never_written_down(studio):
    class Diverging(studio.Quiet):
        def losses(self, batch):
            losses = super().losses(batch)
            return losses + (math.nan if 100 < float(self.asked) < 108 else 0.0)  # its gradient stays a number

    record, _ = watched(studio, Diverging, epochs=40)
    planted(record, "not a finite number")
    assert record.lost == 7
    assert all(math.isfinite(loss) for _, loss in record.losses["noisy"])


def test_planted_vanishing_gradient_is_found(studio):
    class Saturating(studio.Quiet):
        """The loss flattens to nothing as it is pushed into the tail of a sigmoid."""

        def losses(self, batch):
            return torch.sigmoid(self.layers(batch.x).sum(1))

    record, _ = watched(studio, Saturating, epochs=80, learning_rate=0.05, schedule="constant")
    planted(record, "all but vanished")


def test_planted_dead_units_are_found(studio):
    class Dying(studio.Quiet):
        def __init__(self) -> None:
            super().__init__()
            with torch.no_grad():
                self.layers[0].bias[:6] = -50.0

    record, _ = watched(studio, Dying, epochs=20)
    planted(record, "rectified units")
    assert record.dead_units == pytest.approx(0.75)


def test_planted_one_sided_game_is_found(studio):
    class Unfair(studio.Game):
        """The forger hardly moves."""

        def __init__(self) -> None:
            super().__init__()
            self.forger.pace = 1e-6
            with torch.no_grad():
                self.forger.network[2].bias.add_(30.0)

    record, _ = watched(studio, Unfair, epochs=60)
    planted(record, "nearly always wins")
    assert record.win_rate[-1][1] > 0.99


def test_planted_mode_collapse_is_found(studio):
    class Collapsed(studio.Game):
        def sample(self, n, rng, given=None):
            return torch.tensor([[1.0, 0.0]]) + 0.05 * torch.randn(n, 2, generator=rng)

    record, _ = watched(studio, Collapsed, records=studio.ring(800), epochs=10)
    planted(record, "mode collapse")
    assert record.mode_counts.found <= 3 < record.mode_counts.total / 4


def test_a_model_that_samples_the_data_has_found_all_modes(studio):
    class Perfect(studio.Game):
        def sample(self, n, rng, given=None):
            return studio.ring(n, seed=9)

    record, _ = watched(studio, Perfect, records=studio.ring(1600), epochs=4)
    assert record.mode_counts.found == record.mode_counts.total and record.modes[-1] == (record.steps, 1.0)


class Side(nn.Module):
    """A player that is one number."""

    turns, pace = 1, 1.0

    def __init__(self, start: float, *, reads: bool) -> None:
        super().__init__()
        self.sees_records = reads
        self.at = nn.Parameter(torch.tensor(start))
        self.loss = lambda: None

    def losses(self, batch):
        return self.loss().expand(len(batch))

    def free_loss(self, n):
        return None if self.sees_records else self.loss()

    def before_step(self, progress):
        pass

    def after_step(self):
        with torch.no_grad():
            self.at.clamp_(-1, 1)


def test_planted_flight_from_equilibrium_is_found(studio):
    class Fleeing(studio.Game):
        """x * y on [-1, 1], and each side runs from 0 by itself."""

        def __init__(self) -> None:
            super().__init__()
            self.critic, self.forger = Side(0.05, reads=True), Side(0.05, reads=False)
            self.critic.loss = lambda: -self.critic.at.square()
            self.forger.loss = lambda: -self.forger.at.square()

        def game_value(self, batch):
            return self.critic.at * self.forger.at

        def diagnose(self, batch):
            return {}

        def sample(self, n, rng, given=None):
            return studio.ring(n)

    record, _ = watched(studio, Fleeing, epochs=200, learning_rate=0.01)
    planted(record, "further from equilibrium")
    assert record.duality_reference < 0.2 < record.duality_gap[-1][1]


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.5, 0.0), (0.5, -0.25), (1.0, 1.0)])
def test_the_gap_of_a_game_known_by_hand(studio, x, y):
    """x * y on [-1, 1]: at (x, y) the gap is |x| + |y|, and 0 at the equilibrium (0, 0)."""

    class Product(studio.Game):
        def __init__(self) -> None:
            super().__init__()
            self.critic, self.forger = Side(x, reads=True), Side(y, reads=False)

        def game_value(self, batch):
            return self.critic.at * self.forger.at

    batch = Batch.of(torch.zeros(4, 2))
    model = Product()
    gap = duality_gap(model, batch, batch, {"critic": 0.1, "forger": 0.1}, steps=40, seed=0)
    assert gap == pytest.approx(abs(x) + abs(y), abs=1e-6)
    assert (model.critic.at.item(), model.forger.at.item()) == (x, y)


def test_a_unit_alive_on_one_record_is_alive():
    class Rectified(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU())
            with torch.no_grad():
                self.layers[0].weight.copy_(torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None, None, None])
                self.layers[0].bias.copy_(torch.tensor([0.0, -5.0, 0.0, 5.0]))

        sees_records = True

        def players(self):
            return {"one": self}

        def losses(self, batch):
            return self.layers(batch.x).sum((1, 2, 3))

        def free_loss(self, n):
            return None

    x = torch.zeros(3, 1, 2, 2)
    x[1, 0, 0, 0] = 1.0
    assert dead_units(Rectified(), Batch.of(x)) == 0.5  # channels 1 and 2 give nothing anywhere


@pytest.mark.parametrize(("kind", "dead"), [("features last", 0.75), ("channels first", 0.25)])
def test_of_sequences_either_dimension_may_hold_the_units(kind, dead):
    class Rectified(nn.Module):
        sees_records = True

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.ReLU())

        def players(self):
            return {"one": self}

        def losses(self, batch):
            return self.layers(batch.x).sum((1, 2))

        def free_loss(self, n):
            return None

    x = torch.full((5, 4, 4), -1.0)
    if kind == "features last":
        x[:, :, 0] = 1.0
    else:
        x[:, 1:, :] = 1.0
    assert dead_units(Rectified(), Batch.of(x)) == dead


def test_clusters_of_tokens_are_found_by_what_occurs():
    shared = TokenSpace(("a",) * 6, (5,) * 6, shared=True)
    table = TokenSpace(("a", "b"), (3, 4))
    rng = np.random.default_rng(0)
    for space, records in (
        (shared, np.where(rng.random((400, 1)) < 0.5, rng.integers(0, 2, (400, 6)), rng.integers(3, 5, (400, 6)))),
        (table, np.stack([rng.integers(0, 3, 400), rng.integers(0, 4, 400)], 1)),
    ):
        x = torch.from_numpy(records)
        clusters = Clusters.of(Batch.of(x), space, seed=0)
        found, total = clusters.found(x)
        assert found == total >= 6
        assert clusters.found(x[:1].expand(400, -1))[0] == 1


def test_too_few_or_all_equal_records_have_no_modes_to_lose(studio):
    assert watched(studio, studio.Noisy, records=studio.ring(20))[0].mode_counts is None
    assert watched(studio, studio.Noisy, records=torch.zeros(300, 2))[0].mode_counts.total == 1
