"""tabular_gan: modes that are found and undone, losses weighed by hand, conditions by the shares they claim."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from guardrail.generators.modes import Modes
from guardrail.generators.tabular_gan import HEAVIEST, TabularGan, TabularGanOptions
from guardrail.training.contract import Batch
from guardrail.training.plain import ExactCounts
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.spaces import Block, TokenSpace, VectorSpace

SPACE = VectorSpace((Block("colour", "choice", 0, 3), Block("age", "choice", 3, 2), Block("age", "real", 5, 1), Block("y", "real", 6, 1)))


def records(n: int = 2000) -> Tensor:
    """Colours in shares of about 0.9, 0.09, 0.01; an age in nine of ten records, at 0.2 or 0.7; y even."""
    rng = torch.Generator().manual_seed(0)
    x = torch.zeros(n, 7)
    colour = torch.multinomial(torch.tensor([0.9, 0.09, 0.01]), n, replacement=True, generator=rng)
    x[torch.arange(n), colour] = 1
    aged = torch.rand(n, generator=rng) < 0.9
    x[:, 3], x[:, 4] = (~aged).float(), aged.float()
    centres = torch.where(torch.rand(n, generator=rng) < 0.5, 0.2, 0.7)
    x[:, 5] = torch.where(aged, centres + 0.02 * torch.randn(n, generator=rng), 0.5)
    x[:, 6] = torch.rand(n, generator=rng)
    return x


def counts(x: Tensor) -> ExactCounts:
    return ExactCounts(Dataset(Batch.of(x), torch.zeros(len(x), 1, dtype=torch.int64).numpy(), TokenSpace(("a",), (1,))))


@pytest.fixture
def model() -> TabularGan:
    torch.manual_seed(0)
    model = TabularGan(SPACE, TabularGanOptions(hidden=(16,)))
    model.initialise(counts(records()))
    return model


def test_the_mixture_has_its_mass_where_the_values_that_count_are(model: TabularGan):
    near = ((model.modes.means[0] - 0.2).abs() < 0.06) | ((model.modes.means[0] - 0.7).abs() < 0.06)
    assert model.modes.weights[0][near].sum() > 0.98  # the neutral 0.5 of records without an age counts for nothing
    assert torch.allclose(model.modes.weights.sum(1), torch.ones(2), atol=1e-5)


def test_a_record_comes_back_from_its_modes(model: TabularGan):
    x = records(300)
    torch.manual_seed(1)
    wide = model.modes.widen(x)
    assert wide.shape == (300, model.modes.space.width)
    assert torch.allclose(model.modes.narrowed(wide), x, atol=2e-3)


def test_a_real_that_does_not_count_has_no_mode(model: TabularGan):
    x = records(300)
    wide = model.modes.widen(x)
    absent = x[:, 3] == 1
    assert (wide[absent, 5:15] == 0).all() and (wide[absent, 15] == 0.5).all()
    assert (wide[~absent, 5:15].sum(1) == 1).all()


def test_the_grid_needs_no_number():
    modes = Modes(VectorSpace((Block("colour", "choice", 0, 3),)), 10)
    x = torch.eye(3)
    assert torch.equal(modes.widen(x), x) and torch.equal(modes.narrowed(x), x)


def test_shares_are_the_records_own_and_rare_ones_are_asked_for_more_often(model: TabularGan):
    x = records()
    true, asked = model.shares.true, model.shares.asked
    assert torch.allclose(true, x[:, :5].mean(0), atol=1e-6)
    wish = (1 + x[:, :3].sum(0)).log()
    wish = torch.minimum(wish / wish.sum(), HEAVIEST * true[:3])
    assert torch.allclose(asked[:3], wish / wish.sum(), atol=1e-5)
    assert asked[2] > true[2]


def test_weights_average_to_one_for_each_choice(model: TabularGan):
    weights = model.shares.asked / model.shares.true
    for choice in (slice(0, 3), slice(3, 5)):
        assert float((weights * model.shares.true)[choice].sum()) == pytest.approx(1, abs=1e-5)


def test_a_record_stands_for_a_category_of_its_own(model: TabularGan):
    x = records(500)
    asked = model._asked.of(x)[:, 0]
    assert (x[torch.arange(500), asked] == 1).all()
    assert 0.4 < float((asked < 3).double().mean()) < 0.6  # both choices evenly


def test_conditions_at_sampling_follow_the_true_shares_and_never_what_no_record_has(model: TabularGan):
    model.shares.true[:3] = torch.tensor([0.75, 0.25, 0.0])
    drawn = model._asked.by_true_shares(torch.randn(20000, 2, generator=torch.Generator().manual_seed(0))).mean(0)
    assert torch.allclose(drawn, model.shares.true / 2, atol=0.015)
    assert drawn[2] == 0


def test_the_cross_entropy_is_that_of_the_category_asked_for(model: TabularGan):
    raw = torch.randn(4, model.modes.space.width)
    labels = torch.eye(5)[torch.tensor([0, 2, 3, 4])]
    by_hand = [-raw[0, :3].log_softmax(0)[0], -raw[1, :3].log_softmax(0)[2], -raw[2, 3:5].log_softmax(0)[0], -raw[3, 3:5].log_softmax(0)[1]]
    assert torch.allclose(model.maker.disobedience(raw, labels), torch.stack(by_hand), atol=1e-6)


def test_samples_are_records_of_the_space(model: TabularGan):
    drawn = model.sample(200, torch.Generator().manual_seed(0))
    assert drawn.shape == (200, 7) and ((drawn >= 0) & (drawn <= 1)).all()
    assert (drawn[:, :3].sum(1) == 1).all() and (drawn[:, 3:5].sum(1) == 1).all()
    assert (drawn[drawn[:, 3] == 1, 5] == 0.5).all()
