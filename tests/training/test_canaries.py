"""Canaries: they go the way of the records, touch nothing of the model, and what is known of them is free of records."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from guardrail.training import bookkeeping
from guardrail.training.bookkeeping import rule_for
from guardrail.training.canaries import FEWEST, Canaries
from guardrail.training.contract import Batch, Player
from guardrail.training.layer_rules import RULES, Owed, Rule, Use
from guardrail.training.noisy_counts import NoisyCounts
from guardrail.training.private_turn import PrivateTurn
from guardrail.training.secure import SecureStream, SeededStream
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.receipt import GaussianQuery
from guardrail.vocabulary.spaces import TokenSpace

CLIP, RECORDS = 0.5, 30


class Regression(Player):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8))

    def losses(self, batch: Batch) -> Tensor:
        return (self.layers(batch.x) - 1).square().sum(1)


class Functional(Regression):
    """Uses its weights outside their layers: no rule sees that."""

    def losses(self, batch: Batch) -> Tensor:
        return (batch.x @ self.layers[0].weight.T).square().sum(1) + super().losses(batch)


def stream(seed: int = 0) -> SeededStream:
    return SeededStream(np.random.default_rng(seed))


def turn_of(player: Player, canaries: Canaries | None, *, noise: float = 1e-9, records: int = RECORDS, seed: int = 0) -> PrivateTurn:
    torch.manual_seed(3)
    batches = itertools.repeat(Batch.of(torch.randn(records, 8)))
    optimizer = torch.optim.SGD(player.parameters(), lr=0.0)
    settings = {"clip": CLIP, "noise_multiplier": noise, "normaliser": 1.0, "source": stream(seed), "canaries": canaries}
    return PrivateTurn(player, optimizer, batches, **settings)


def canaries_of(player: Player, asked: int = 200, *, rate: float = 1.0) -> Canaries:
    return Canaries(player, asked, clip=CLIP, rate=rate, source=stream(1))


def test_one_that_takes_part_leaves_one_clip_a_step_and_others_nothing():
    player = Regression()
    turn = turn_of(player, canaries := canaries_of(player))
    for _ in range(3):
        turn.step()
    (*records,) = canaries.records("gradients")
    assert {record.where for record in records} == {"layers.0.weight", "layers.2.weight"}
    for record in records:
        assert record.scores == pytest.approx([3.0 * there for there in record.included], abs=0.02)
    assert 0.3 < np.mean([there for record in records for there in record.included]) < 0.7


def test_each_is_sampled_at_the_records_rate():
    player = Regression()
    turn = turn_of(player, canaries := canaries_of(player, rate=0.2))
    for _ in range(200):
        turn.step()
    scores = np.array([score for record in canaries.records("x") for score in record.scores if score > 1])
    assert scores.mean() == pytest.approx(40, abs=1.5) and 3 < scores.std() < 9  # binomial: 5.7


@pytest.mark.parametrize("records", [RECORDS, 0])
def test_the_model_s_own_gradient_is_the_same_with_and_without_them(records: int):
    player = Regression()
    own = []
    for canaries in (None, canaries_of(player)):
        turn = turn_of(player, canaries, records=records)
        own.append(turn.clipped_sum(next(turn._batches)))
    assert all(torch.equal(one, other) for one, other in zip(*own, strict=True))


def test_what_is_known_of_them_is_the_same_whoever_the_records_are():
    scores = []
    for scale in (1.0, 100.0):
        player = Regression()
        with torch.no_grad():
            player.layers[2].bias.fill_(scale)
        turn = turn_of(player, canaries := canaries_of(player), noise=1.0)
        turn.step()
        scores.append([score for record in canaries.records("x") for score in record.scores])
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_the_noise_on_them_is_the_records_noise():
    player = Regression()
    turn = turn_of(player, canaries := canaries_of(player, 400), noise=3.0)
    for _ in range(25):
        turn.step()
    quiet = [score for record in canaries.records("x") for score, there in zip(record.scores, record.included, strict=True) if not there]
    assert np.std(quiet) == pytest.approx(3.0 * math.sqrt(25), rel=0.15)


def test_a_large_batch_in_parts_has_them_once(monkeypatch: pytest.MonkeyPatch):
    player = Regression()
    turn = turn_of(player, canaries := canaries_of(player))
    monkeypatch.setattr(turn._ways[0], "records", 7)
    turn.step()
    assert {round(score) for record in canaries.records("x") for score in record.scores} == {0, 1}


def test_a_record_without_a_gradient_takes_none_of_them_away():
    player = Regression()
    turn = turn_of(player, canaries := canaries_of(player))
    batch = Batch.of(torch.cat([torch.randn(5, 8), torch.full((1, 8), math.inf)]))
    turn._batches = itertools.repeat(batch)
    with pytest.warns(RuntimeWarning, match="not finite"):
        turn.step()
    for record in canaries.records("x"):
        assert record.scores == pytest.approx([float(there) for there in record.included], abs=0.02)


def test_a_missing_clip_on_one_layer_is_loud(monkeypatch: pytest.MonkeyPatch):
    player = Regression()

    def skipping(layer: nn.Module) -> Rule | None:
        if layer is not player.layers[2]:
            return rule_for(layer)

        def unmeasured(layer: nn.Module, uses: list[Use]) -> Owed:
            owed = RULES[nn.Linear](layer, uses)
            return owed._replace(squares=torch.zeros_like(owed.squares))

        return unmeasured

    monkeypatch.setattr(bookkeeping, "rule_for", skipping)
    turn = turn_of(player, canaries := canaries_of(player))
    turn._trusted = True  # the norms are wrong, and that is seen at once elsewhere
    monkeypatch.setattr(PrivateTurn, "_keep_watch", lambda self, record: None)
    turn.step()
    loudest = {record.where: max(record.scores) for record in canaries.records("x")}
    assert loudest["layers.2.weight"] > 100 and loudest["layers.0.weight"] < 1.1


def test_they_are_shared_evenly_and_the_largest_weights_come_first_where_they_are_few():
    player = Regression()
    many, few = canaries_of(player, 10_000), canaries_of(player, FEWEST)
    assert {record.where: len(record.scores) for record in many.records("x")} == {"layers.0.weight": 128, "layers.2.weight": 128}
    (only,) = few.records("x")
    assert only.where in ("layers.0.weight", "layers.2.weight") and len(only.scores) == FEWEST
    assert canaries_of(player, FEWEST - 1).count == 0


def test_a_player_that_is_clipped_in_another_way_has_none():
    player = Functional()
    turn = turn_of(player, canaries_of(player))
    turn.step()
    assert turn.canaries is None and turn.way != "one pass"


def counts(canaries: int, noise: float = 2.0) -> NoisyCounts:
    tokens = np.random.default_rng(0).integers(0, 3, (50, 4))
    query = GaussianQuery(what="one-way counts", sensitivity=2.0, noise_multiplier=noise)
    data = Dataset(Batch.of(torch.from_numpy(tokens)), tokens, TokenSpace(tuple("abcd"), (3, 3, 3, 3)))
    return NoisyCounts(data, queries=[query], source=SecureStream(), canaries=canaries)


def test_of_counts_one_that_takes_part_is_one_sensitivity():
    (record,) = counts(500, noise=1e-9).canaries
    assert record.what == "one-way counts" and len(record.scores) == 500
    assert record.scores == pytest.approx([float(there) for there in record.included], abs=1e-6)


def test_of_counts_the_noise_is_the_answer_s():
    (record,) = counts(4000).canaries
    quiet = [score for score, there in zip(record.scores, record.included, strict=True) if not there]
    assert np.std(quiet) == pytest.approx(2.0, rel=0.1)


def test_counts_without_canaries_have_none():
    assert not counts(0).canaries
