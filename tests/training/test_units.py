"""A person with several records moves what leaves by one clip, and is drawn, counted and clipped as one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from guardrail.training.clipping import OnePass, PerRecord
from guardrail.training.contract import Batch, Runs, Sums
from guardrail.training.noisy_counts import NoisyCounts, queries_for
from guardrail.training.private import Private, _poisson
from guardrail.training.private_turn import PrivateTurn
from guardrail.training.secure import SecureStream
from guardrail.training.strategy import Dataset
from guardrail.training.units import Units, shares_of
from guardrail.vocabulary.receipt import GaussianQuery
from guardrail.vocabulary.spaces import TokenSpace
from guardrail.vocabulary.spec import PrivacySpec
from tests.training.test_private import CLIP, Bookkeeping, Regression, Tied, Tiny, Twice, doubles

__all__ = ["doubles"]
OWNERS = np.array([7, 2, 7, 5, 2, 7, 9, 2, 2])
"""Of nine records: four persons."""


def units(n: int = 9, seed: int = 0) -> Units:
    torch.manual_seed(seed)
    return Units.grouped(Batch.of(torch.randint(0, 4, (n, 5)).to(torch.get_default_dtype()) + 0.1 * torch.randn(n, 5)), OWNERS[:n])


def test_records_are_grouped_by_whose_they_are(doubles: None):
    grouped = units()
    assert len(grouped) == 4 and grouped.each == 4
    assert [sorted(set(row.tolist())) for row in grouped.of] == [[1, 4, 7, 8], [3], [0, 2, 5], [6]]
    assert grouped.weights.sum(1).tolist() == pytest.approx([1, 1, 1, 1])
    assert grouped.joined(torch.arange(16.0)).tolist() == pytest.approx([1.5, 4.0, 9.0, 12.0])
    assert shares_of(OWNERS, 9).tolist() == pytest.approx([1 / 3, 1 / 4, 1 / 3, 1, 1 / 4, 1 / 3, 1, 1 / 4, 1 / 4])


@pytest.mark.parametrize("kind", [Regression, Twice, Tied])
def test_a_person_s_records_are_clipped_as_one(kind: type, doubles: None):
    """Against the slow truth: the gradient of the mean over a person's own records, clipped, summed over persons."""
    torch.manual_seed(0)
    player, drawn = kind(), units()
    parameters = list(player.parameters())
    expected = [torch.zeros_like(p) for p in parameters]
    for who in np.unique(OWNERS):
        mean = player.losses(drawn.records[torch.from_numpy(who == OWNERS)]).mean()
        gradients = torch.autograd.grad(mean, parameters, allow_unused=True, materialize_grads=True)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        for total, gradient in zip(expected, gradients, strict=True):
            total += gradient * min(1.0, CLIP / (norm + 1e-6))
    turn = turn_of(player, drawn)
    found = turn.clipped_sum(drawn)
    assert turn.way == (PerRecord.name if kind is Tied else OnePass.name)
    for fast, slow in zip(found, expected, strict=True):
        assert torch.allclose(fast, slow, atol=1e-12, rtol=1e-9)


def turn_of(player: Regression, drawn: Units) -> PrivateTurn:
    optimizer = torch.optim.SGD(player.parameters(), lr=1.0)
    return PrivateTurn(player, optimizer, itertools.repeat(drawn), clip=CLIP, noise_multiplier=1.0, normaliser=4.0, source=SecureStream())


def test_however_many_records_a_person_has_one_clip_bounds_what_they_do(doubles: None):
    player, drawn = Regression(), units()
    turn = turn_of(player, drawn)
    loud = Units(Batch.of(1e4 * drawn.records.x), drawn.of, drawn.weights)
    whole, without = turn.clipped_sum(loud), turn.clipped_sum(loud[1:])
    moved = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(whole, without, strict=True)))
    assert 0.9 * CLIP < moved <= CLIP * (1 + 1e-9)


def test_physical_batches_do_not_tear_a_person_apart(doubles: None, monkeypatch: pytest.MonkeyPatch):
    player, drawn = Regression(), units()
    turn = turn_of(player, drawn)
    whole = turn.clipped_sum(drawn)
    monkeypatch.setattr(OnePass, "records", 5)
    for one, other in zip(whole, turn.clipped_sum(drawn), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_persons_are_drawn_and_not_their_records():
    drawn = units()
    batches = _poisson(drawn, 0.5, SecureStream())
    seen = torch.tensor([[(part.of[:, 0] == first).any() for first in drawn.of[:, 0]] for part in itertools.islice(batches, 600)]).float()
    assert torch.allclose(seen.mean(0), torch.full((4,), 0.5), atol=0.09)
    whole = {int(row[0]): sorted(set(row.tolist())) for row in drawn.of}
    for part in itertools.islice(batches, 20):  # with all of their records
        assert all(sorted(set(row.tolist())) == whole[int(row[0])] for row in part.of)
        assert torch.equal(part.batch.x, drawn.records.x[part.of.flatten()])


def test_counts_take_a_person_for_one():
    tokens = np.array([[0, 1], [2, 0], [0, 1], [1, 1], [2, 0], [1, 1], [0, 0], [2, 0], [2, 0]])
    data = Dataset(Batch.of(torch.from_numpy(tokens)), tokens, TokenSpace(("a", "b"), (3, 2)), units=OWNERS)
    query = GaussianQuery(what="counts", sensitivity=math.sqrt(2), noise_multiplier=1e-9)
    counts = NoisyCounts(data, queries=[query], source=SecureStream())
    # Of the four persons one is all 2, one all 1, one all 0 and one two thirds 0; whole numbers again once noise was added.
    assert counts.records() == 4.0 and counts._counts[0].tolist() == [2.0, 1.0, 1.0]


def test_a_training_counts_persons_and_its_claim_is_about_them():
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(200), 3)
    records = Batch.of(torch.from_numpy(rng.normal(size=(600, 5)).astype(np.float32)))
    data = Dataset(records, rng.integers(0, 3, (600, 2)), TokenSpace(("a", "b"), (3, 3)), units=owners)
    spec = PrivacySpec(epsilon=2.0)
    private = Private(spec, holdout=0.0, schema_sources={}, unit="who", records=None, spending=Bookkeeping())
    outcome = private.fit(Tiny(), data, Tiny.private, seed=0, device=torch.device("cpu"), report=lambda _: None)
    assert outcome.privacy is not None and outcome.privacy.unit == "who" and outcome.privacy.rows_per_unit == 4
    assert abs(outcome.privacy.records_public - 200) < 60


def test_sums_and_runs_of_a_person_stay_within_what_is_charged():
    tokens = np.random.default_rng(0).integers(0, 3, (9, 4))
    space = TokenSpace(("t",) * 4, (3,) * 4, shared=True)
    questions = (Runs(1, 1), Sums("loud", 2.0))
    charged = [GaussianQuery(what="counts", sensitivity=2.0, noise_multiplier=1e-9), *queries_for(questions, space, 1e-9)]

    def asked(part: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        data = Dataset(Batch.of(torch.from_numpy(tokens[part])), tokens[part], space, units=OWNERS[part])
        counts = NoisyCounts(data, queries=charged, source=SecureStream(), questions=questions)
        counts.ngrams(1, 1)
        return counts.total(lambda batch: torch.full((len(batch), 4), 1e6)), torch.cat([torch.from_numpy(c) for c in counts._counts])

    everybody, without = asked(np.ones(9, dtype=bool)), asked(OWNERS != 2)
    assert float((everybody[0] - without[0]).norm()) == pytest.approx(2.0, rel=1e-6)
