"""The private step against slow truths: a loop of one record at a time, and noise measured from the outside."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from guardrail.training import private_turn
from guardrail.training.accounting import epsilon_prv
from guardrail.training.bookkeeping import supports
from guardrail.training.clipping import OnePass, ways_for
from guardrail.training.contract import Batch, Generator, Player, Recipe
from guardrail.training.layers import MaskedLinear
from guardrail.training.noisy_counts import NoisyCounts
from guardrail.training.private import Private, _poisson
from guardrail.training.private_turn import PrivateTurn, public_size, refuse_mixing_layers
from guardrail.training.secure import SecureStream, SeededStream
from guardrail.training.strategy import Dataset, Outcome
from guardrail.vocabulary.errors import PrivacyRefused, Unsupported
from guardrail.vocabulary.receipt import GaussianQuery, Mechanism, SampledGaussian
from guardrail.vocabulary.spaces import TokenSpace
from guardrail.vocabulary.spec import PrivacySpec

CLIP = 0.3


class Regression(Player):
    """Linear and masked layers; the loss of a record is its squared error."""

    def __init__(self) -> None:
        super().__init__()
        mask = torch.tril(torch.ones(5, 4), diagonal=-1)
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), MaskedLinear(mask), nn.Tanh(), nn.Linear(5, 1, bias=False))

    def losses(self, batch: Batch) -> Tensor:
        return (self.layers(batch.x[:, :4]).squeeze(1) - batch.x[:, 4]).square()


class WithFreeLoss(Regression):
    asked: list[int]

    def free_loss(self, n: int) -> Tensor:
        self.asked.append(n)
        return self.layers[0].bias.sum() * 7.0


class ColumnLoss(Regression):
    def losses(self, batch: Batch) -> Tensor:
        return super().losses(batch)[:, None]


class Normalised(Player):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    def losses(self, batch: Batch) -> Tensor:
        return self.layers(batch.x).sum(1)


def turn_for(player: Player, batch: Tensor | None = None, *, noise: float = 1.0, normaliser: float = 16.0, lr: float = 1.0) -> PrivateTurn:
    """A turn that gets the same batch every time; the empty one where none is given."""
    batches = itertools.repeat(Batch.of(torch.zeros(0, 5) if batch is None else batch))
    optimizer = torch.optim.SGD(player.parameters(), lr=lr)
    return PrivateTurn(player, optimizer, batches, clip=CLIP, noise_multiplier=noise, normaliser=normaliser, source=SecureStream())


def loop_of_one(player: Player, batch: Tensor) -> list[Tensor]:
    """The slow truth: every record's own gradient, clipped by its own norm, summed."""
    sums = [torch.zeros_like(p) for p in player.parameters()]
    for record in batch:
        loss = player.losses(Batch.of(record[None])).sum()
        gradients = torch.autograd.grad(loss, list(player.parameters()), allow_unused=True, materialize_grads=True)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient * min(1.0, CLIP / (norm + 1e-6))
    return sums


@pytest.fixture
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Convolution(Player):
    """Layers that take the two passes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 3, 2), nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(12, 1))

    def losses(self, batch: Batch) -> Tensor:
        return self.layers(batch.x).squeeze(1).square()


class Recurrent(Player):
    """A layer without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Bilinear(5, 5, 1))

    def losses(self, batch: Batch) -> Tensor:
        return self.layers[0](batch.x, batch.x).squeeze(1)


class Sequence(Player):
    """A linear layer on several vectors per record: its gradient is a sum of outer products."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 3)

    def losses(self, batch: Batch) -> Tensor:
        return self.layer(batch.x[:, :, None]).tanh().sum((1, 2)).square()


@pytest.mark.parametrize("kind", [Regression, Convolution, Sequence])
def test_clipped_sum_equals_the_loop_of_one(kind: type[Player], doubles: None):
    torch.manual_seed(0)
    player, batch = kind(), 3 * torch.randn(40, 5)
    expected = loop_of_one(player, batch)
    for fast, slow in zip(turn_for(player).clipped_sum(Batch.of(batch)), expected, strict=True):
        assert torch.allclose(fast, slow, atol=1e-12, rtol=1e-10)


class HalfUsed(Regression):
    """A layer that no loss asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(3, 3)


def test_a_layer_that_does_not_run_owes_nothing(doubles: None):
    torch.manual_seed(0)
    player, batch = HalfUsed(), 3 * torch.randn(20, 5)
    turn = turn_for(player)
    sums = dict(zip((name for name, _ in player.named_parameters()), turn.clipped_sum(Batch.of(batch)), strict=True))
    assert turn.way == "one pass" and not sums["spare.weight"].any() and not sums["spare.bias"].any()
    plain = Regression()
    plain.load_state_dict({k: v for k, v in player.state_dict().items() if not k.startswith("spare")})
    for fast, slow in zip(list(sums.values())[: len(sums) - 2], loop_of_one(plain, batch), strict=True):
        assert torch.allclose(fast, slow, atol=1e-12, rtol=1e-10)


def test_all_ways_of_clipping_agree(doubles: None):
    torch.manual_seed(0)
    player, batch = Regression(), torch.randn(30, 5)
    turn = turn_for(player)
    sums = {}
    for way in ways_for(player):
        turn._ways = [way]
        sums[turn.way] = turn.clipped_sum(Batch.of(batch))
    assert list(sums) == ["one pass", "two passes", "one gradient per record"]
    for other in sums.values():
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(sums["one pass"], other, strict=True))


def test_only_players_made_of_layers_with_rules_take_one_pass():
    assert supports(Regression()) and supports(Convolution()) and not supports(Recurrent())
    tied = Regression()
    tied.layers[4].weight = nn.Parameter(tied.layers[2].weight[:1].detach())
    tied.extra = nn.Linear(4, 4)
    tied.extra.weight = tied.layers[0].weight
    assert not supports(tied)


def test_clipped_sum_does_not_depend_on_the_physical_batch(doubles: None, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    player, batch = Regression(), torch.randn(40, 5)
    turn = turn_for(player)
    whole = turn.clipped_sum(Batch.of(batch))
    monkeypatch.setattr(OnePass, "records", 7)
    for one, other in zip(whole, turn.clipped_sum(Batch.of(batch)), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_adding_a_record_moves_the_sum_by_at_most_the_clip(doubles: None):
    torch.manual_seed(1)
    player = Regression()
    turn, batch = turn_for(player), torch.randn(20, 5)
    for scale in (1.0, 1e3, 1e6):
        outlier = scale * torch.randn(1, 5)
        before, after = turn.clipped_sum(Batch.of(batch)), turn.clipped_sum(Batch.of(torch.cat([batch, outlier])))
        moved = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(after, before, strict=True)))
        assert moved <= CLIP * (1 + 1e-9)


def test_noise_has_the_promised_deviation_and_the_public_normaliser(doubles: None):
    player = Regression()
    turn = turn_for(player, noise=2.0, normaliser=10.0)
    moves = []
    for _ in range(800):
        before = [p.detach().clone() for p in player.parameters()]
        turn.step()
        moves.append(torch.cat([(p - b).flatten() for p, b in zip(player.parameters(), before, strict=True)]).detach())
    deviation = torch.stack(moves).std(0)
    assert torch.all((deviation / (2.0 * CLIP / 10.0) - 1).abs() < 0.2)
    assert abs(float(torch.stack(moves).std()) / (2.0 * CLIP / 10.0) - 1) < 0.02


def test_an_empty_batch_still_takes_a_noisy_step():
    player = Regression()
    before = [p.detach().clone() for p in player.parameters()]
    turn_for(player).step()
    assert all(not torch.equal(p, b) for p, b in zip(player.parameters(), before, strict=True))


def test_without_noise_to_speak_of_the_step_goes_down_the_gradient():
    torch.manual_seed(3)
    player, batch = Regression(), torch.randn(64, 5)
    turn = turn_for(player, batch, noise=1e-9, normaliser=64.0, lr=0.2)
    before = player.losses(Batch.of(batch)).mean().item()
    for _ in range(20):
        turn.step()
    assert player.losses(Batch.of(batch)).mean().item() < before


def test_a_loss_of_the_wrong_shape_is_refused_before_it_can_broadcast():
    with pytest.raises(Unsupported, match=r"must be \(6,\)"):
        turn_for(ColumnLoss(), torch.randn(6, 5)).step()


def test_batch_norm_is_refused():
    with pytest.raises(Unsupported, match="BatchNorm"):
        refuse_mixing_layers(Normalised())


def test_batch_norm_is_refused_by_what_it_does_where_no_validator_knows_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(private_turn, "refuse_mixing_layers", lambda player: None)
    with pytest.raises(Unsupported, match="move another's loss"):
        turn_for(Normalised(), torch.randn(6, 5)[:, :4]).step()


class Unweighted(Regression):
    """A batch norm that has nothing to train."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, affine=False)


class Remembering(Regression):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(5))

    def losses(self, batch: Batch) -> Tensor:
        self.mean.mul_(0.5).add_(0.5 * batch.x.mean(0))
        return super().losses(batch)


class Tied(Player):
    """The embedding's weight is the output layer's as well, by a function call."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 6)

    def losses(self, batch: Batch) -> Tensor:
        logits = nn.functional.linear(self.embedding(batch.x[:, 0].long() % 4), self.embedding.weight)
        return nn.functional.cross_entropy(logits, batch.x[:, 1].long() % 4, reduction="none")


def test_batch_norm_without_weights_is_refused():
    with pytest.raises(Unsupported, match="BatchNorm"):
        refuse_mixing_layers(Unweighted())


def test_a_buffer_that_learns_from_the_records_is_refused():
    with pytest.raises(Unsupported, match="running mean"):
        turn_for(Remembering(), torch.randn(6, 5)).step()


class TiedByAssignment(Player):
    """The same by one parameter in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.output = nn.Embedding(4, 6), nn.Linear(6, 4, bias=False)
        self.output.weight = self.embedding.weight

    def losses(self, batch: Batch) -> Tensor:
        logits = self.output(self.embedding(batch.x[:, 0].long() % 4))
        return nn.functional.cross_entropy(logits, batch.x[:, 1].long() % 4, reduction="none")


class Penalised(Regression):
    """A slope in its loss, and no word of it."""

    def losses(self, batch: Batch) -> Tensor:
        x = batch.x[:, :4].detach().requires_grad_(True)
        scores = self.layers(x).squeeze(1)
        (slopes,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        return scores.square() + slopes.square().sum(1)


class Choosing(Regression):
    """What is computed depends on the data, and nothing of it can be vectorised; a weight is used outside its layer."""

    def losses(self, batch: Batch) -> Tensor:
        lost = [row[:4] @ self.layers[0].weight[0] if float(row[4]) > 0 else row.sum() * self.layers[0].bias[0] for row in batch.x]
        return torch.stack(lost).square()


@pytest.mark.parametrize("kind", [Tied, TiedByAssignment, Penalised, Choosing])
def test_what_no_layer_measures_is_clipped_by_every_record_s_own_gradient(kind: type[Player], doubles: None):
    """A weight used outside its layer (tied, functional, in a slope): clipping by the layers' norms would not bound it."""
    torch.manual_seed(0)
    player, batch = kind(), torch.randint(-3, 4, (70, 5)).to(torch.float64)
    turn = turn_for(player)
    found = turn.clipped_sum(Batch.of(batch))
    assert turn.way == "one gradient per record"
    for fast, slow in zip(found, loop_of_one(player, batch), strict=True):
        assert torch.allclose(fast, slow, atol=1e-12, rtol=1e-9)


class Twice(Player):
    """Every layer runs three times in one loss, on other numbers of the record."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer, self.norm = nn.Embedding(3, 4), nn.Linear(4, 4), nn.LayerNorm(4)
        self.masked, self.kernel = MaskedLinear(torch.tril(torch.ones(4, 4))), nn.Conv1d(1, 2, 2)
        self.back = nn.ConvTranspose1d(2, 1, 2)

    def losses(self, batch: Batch) -> Tensor:
        hidden = self.embedding(batch.x[:, 0].long() % 3)
        for i in range(3):
            hidden = self.masked(self.norm(self.layer(hidden + batch.x[:, i : i + 1]).tanh())) + self.embedding(batch.x[:, i].long() % 3)
            hidden = hidden + self.back(self.kernel(hidden[:, None]).tanh())[:, 0]
        return hidden.square().sum(1)


class Steep(Player):
    """A slope of its own network in its loss, by linear layers and convolutions."""

    second_order = True

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 3, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(18, 6), nn.Tanh(), nn.Linear(6, 1)
        )

    def losses(self, batch: Batch) -> Tensor:
        x = batch.x.detach().requires_grad_(True)
        (slopes,) = torch.autograd.grad(self.network(x).sum(), x, create_graph=True)
        return (slopes.square().sum(1).sqrt() - 1).square() - self.network(batch.x).squeeze(1)


class TiedBehindZero(Tied):
    """The records that come first have no gradient, and so tell nothing."""

    def losses(self, batch: Batch) -> Tensor:
        return super().losses(batch) * (batch.x[:, 4] != 0)


class NowAndThen(Regression):
    """A weight is used outside its layer by some records only."""

    def losses(self, batch: Batch) -> Tensor:
        outside = batch.x[:, :4] @ self.layers[0].weight[0]
        return super().losses(batch) + torch.where(batch.x[:, 4] > 1, outside.square(), 0.0)


@pytest.mark.parametrize(("kind", "last"), [(TiedBehindZero, 0.0), (NowAndThen, -1.0)])
def test_a_first_record_that_tells_nothing_is_no_proof(kind: type[Player], last: float, doubles: None):
    torch.manual_seed(0)
    player, batch = kind(), torch.randint(1, 4, (40, 5)).to(torch.float64)
    batch[:5, 4] = last
    turn = turn_for(player)
    for fast, slow in zip(turn.clipped_sum(Batch.of(batch)), loop_of_one(player, batch), strict=True):
        assert torch.allclose(fast, slow, atol=1e-12, rtol=1e-9)


class SometimesIdle(Regression):
    """Draws for all records alike whether there is anything to learn: as a mask may leave nothing unknown."""

    def losses(self, batch: Batch) -> Tensor:
        return super().losses(batch) * float(torch.rand(()) < 0.5)


def test_one_idle_draw_is_not_that_of_every_record_tried():
    """Else a training in two would be clipped the slow way, and its claim not be attacked."""
    ways = []
    for seed in range(30):
        turn = turn_for(SometimesIdle(), torch.randn(12, 5))
        torch.manual_seed(seed)
        turn.step()
        ways.append(turn.way)
    assert ways.count("one pass") >= 29  # all of eight draws are idle once in 256


def test_the_watch_draws_anew_at_every_look():
    """Where one draw hides the fault another shows it; the same draw each time would hide it for good."""

    class Turning(Regression):
        late = False

        def losses(self, batch: Batch) -> Tensor:
            hidden = float(torch.rand(()) < 0.5)
            return super().losses(batch) + (1 - hidden) * (batch.x[:, :4] @ self.layers[0].weight[0]).square() * self.late

    caught = 0
    for seed in range(12):
        torch.manual_seed(seed)
        player = Turning()
        turn = turn_for(player, torch.randn(6, 5))
        turn.step()
        player.late = True
        try:
            for _ in range(200):
                turn.step()
        except Unsupported:
            caught += 1
    assert caught >= 11  # eight looks: all of them miss once in 256


class Centred(Regression):
    """Mixes records without any layer that would say so."""

    def losses(self, batch: Batch) -> Tensor:
        return (self.layers(batch.x[:, :4]).squeeze(1) - batch.x[:, 4].mean()).square()


def test_a_mean_over_the_batch_outside_any_layer_is_refused():
    with pytest.raises(Unsupported, match="move another's loss"):
        turn_for(Centred(), torch.randn(6, 5)).step()


class Turning(Regression):
    """Begins to use a weight outside its layer in the course of its training."""

    late = False

    def losses(self, batch: Batch) -> Tensor:
        return super().losses(batch) + (batch.x[:, :4] @ self.layers[0].weight[0]).square() * self.late


def test_a_player_that_changes_what_it_computes_is_stopped():
    player = Turning()
    turn = turn_for(player, torch.randn(6, 5))
    for _ in range(5):
        turn.step()
    player.late = True
    with pytest.raises(Unsupported, match="in the course of its training"):
        for _ in range(8):
            turn.step()


@pytest.mark.parametrize("kind", [Twice, Steep])
def test_layers_used_several_times_by_a_loss_still_take_one_pass(kind: type[Player], doubles: None):
    torch.manual_seed(0)
    player, batch = kind(), torch.randint(0, 4, (30, 5)).to(torch.float64) + 0.1 * torch.randn(30, 5)
    turn = turn_for(player)
    found = turn.clipped_sum(Batch.of(batch))
    assert turn.way == "one pass"
    for fast, slow in zip(found, loop_of_one(player, batch), strict=True):
        assert torch.allclose(fast, slow, atol=1e-12, rtol=1e-9)
    assert not any("forward" in vars(module) for module in player.modules())  # it leaves the layers as they were


def test_noisy_sums_lie_on_a_grid_that_no_record_had_a_say_in():
    """Single precision would tell by its low-order bits whether noise was added to 0 or to something."""
    player = Regression()
    turn = turn_for(player, torch.randn(6, 5), noise=2.0, normaliser=1.0)
    turn.step()
    grid = 2.0 * CLIP * 2.0**-20
    noisy = torch.cat([parameter.grad.flatten() for parameter in player.parameters()]).double() / grid
    # Whole multiples, up to the rounding of single precision itself.
    assert torch.all((noisy - noisy.round()).abs() <= noisy.abs() * 2.0**-23)
    assert noisy.abs().median() > 1e4


def test_a_record_without_a_finite_gradient_contributes_nothing_and_poisons_nobody(doubles: None):
    torch.manual_seed(2)
    player, batch = Regression(), torch.randn(12, 5)
    broken = batch.clone()
    broken[4, 4] = torch.nan
    turn = turn_for(player)
    with pytest.warns(RuntimeWarning, match="not finite"):
        found = turn.clipped_sum(Batch.of(broken))
    expected = turn.clipped_sum(Batch.of(torch.cat([batch[:4], batch[5:]])))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected, strict=True))


class SquareRoot(Regression):
    """The square root has a finite value and an infinite slope at 0."""

    def losses(self, batch: Batch) -> Tensor:
        return (self.layers(batch.x[:, :4]).squeeze(1) * batch.x[:, 4]).abs().sqrt()


@pytest.mark.parametrize("name", ["one pass", "two passes", "one gradient per record"])
def test_a_record_with_an_infinite_gradient_contributes_nothing_and_poisons_nobody(name: str, doubles: None):
    torch.manual_seed(2)
    player, batch = SquareRoot(), torch.randn(8, 5)
    batch[3, 4] = 0.0
    turn = turn_for(player)
    turn._ways = [next(way for way in ways_for(player) if way.name == name)]
    with pytest.warns(RuntimeWarning, match="not finite"):
        found = turn.clipped_sum(Batch.of(batch))
    expected = turn.clipped_sum(Batch.of(torch.cat([batch[:3], batch[4:]])))
    assert all(g.isfinite().all() for g in found)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected, strict=True))


def test_the_free_part_of_a_loss_is_neither_clipped_nor_told_the_secret_batch_size(doubles: None):
    player = WithFreeLoss()
    player.asked = []
    turn = turn_for(player, noise=1e-9, normaliser=32.0)
    before = player.layers[0].bias.detach().clone()
    turn.step()
    assert player.asked == [32]
    assert public_size(0.05) == 1  # of one record at a rate of 0.05
    assert torch.allclose(before - player.layers[0].bias, torch.full((4,), 7.0), atol=1e-6)


def counted(records: Tensor, tokens: np.ndarray, sizes: tuple[int, ...]) -> Dataset:
    return Dataset(Batch.of(records), tokens, TokenSpace(tuple(f"column {i}" for i in range(len(sizes))), sizes))


def counting(columns: int, noise: float) -> GaussianQuery:
    return GaussianQuery(what="counts", sensitivity=math.sqrt(columns), noise_multiplier=noise)


def test_classes_are_counted_apart_with_noise_of_their_own():
    tokens, given = np.zeros((4000, 2), dtype=np.int64), torch.arange(4000)[:, None] % 4
    space = TokenSpace(("a", "b"), (2, 2), conditions=(4,))
    dataset = Dataset(Batch(torch.from_numpy(tokens), given), tokens, space)
    noisy = [NoisyCounts(dataset, queries=[counting(2, 3.0), counting(1, 7.0)], source=SecureStream()) for _ in range(800)]
    errors = np.concatenate([one._conditions[0] - 1000 for one in noisy])
    assert abs(errors.std() / 7.0 - 1) < 0.1 and abs(noisy[0].conditions()[0].sum() - 1) < 1e-9


def test_the_classes_counts_are_paid_from_the_same_total():
    spending = Bookkeeping()
    plan = strategy(spending).planner.of(15, {}, 1.0, 0.1, 0, conditions=1)
    assert [query.sensitivity for query in plan] == [pytest.approx(math.sqrt(15)), 1.0]
    assert epsilon_prv(plan, 1e-5) <= strategy(spending)._privacy.epsilon < 1.01 * epsilon_prv(plan, 1e-5)


def test_noisy_counts_have_the_noise_of_their_sensitivity():
    tokens = np.stack([np.arange(3000) % 100, np.arange(3000) % 60, np.arange(3000) % 50, np.arange(3000) % 40], axis=1)
    dataset = counted(torch.from_numpy(tokens), tokens, (100, 60, 50, 40))
    errors = []
    for _ in range(60):
        noisy = NoisyCounts(dataset, queries=[counting(4, 5.0)], source=SecureStream())
        errors += [count - 3000 / len(count) for count in noisy._counts]
    assert abs(np.concatenate(errors).std() / (5.0 * math.sqrt(4)) - 1) < 0.05


def test_noisy_counts_are_drawn_once():
    tokens = np.zeros((100, 1), dtype=np.int64)
    noisy = NoisyCounts(counted(torch.from_numpy(tokens), tokens, (5,)), queries=[counting(1, 3.0)], source=SecureStream())
    assert all(np.array_equal(a, b) for a, b in zip(noisy.one_way(), noisy.one_way(), strict=True))
    assert noisy.records() == noisy.records()


class Bookkeeping:
    """Records what was reserved, and when."""

    def __init__(self) -> None:
        self.reserved: tuple[Mechanism, ...] | None = None

    def reserve(self, mechanisms: tuple[Mechanism, ...]) -> None:
        self.reserved = mechanisms


class Tiny(Generator, Regression):
    spaces = ("vector",)
    plain = private = Recipe(epochs=2, sample_rate=0.25, learning_rate=0.01, clip=CLIP)

    def __init__(self) -> None:
        Regression.__init__(self)

    def players(self) -> dict[str, Player]:
        return {"tiny": self}

    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def strategy(spending: Bookkeeping, *, records: int | None = None, **privacy: object) -> Private:
    spec = PrivacySpec.model_validate({"epsilon": 2.0, **privacy})
    return Private(spec, holdout=0.0, schema_sources={}, unit="row", records=records, spending=spending)


@cache
def dataset(rows: int = 400) -> Dataset:
    rng = np.random.default_rng(0)
    return counted(torch.from_numpy(rng.normal(size=(rows, 5)).astype(np.float32)), rng.integers(0, 3, (rows, 2)), (3, 3))


def fitted(spending: Bookkeeping, data: Dataset, recipe: Recipe = Tiny.private, **settings: object):
    return strategy(spending, **settings).fit(Tiny(), data, recipe, seed=0, device=torch.device("cpu"), report=lambda _: None)  # type: ignore[arg-type]


@cache
def fitted_once(records: int | None = None, rows: int = 400) -> tuple[Outcome, Bookkeeping]:
    """Calibration takes a second, so tests that only look share a training."""
    spending = Bookkeeping()
    return fitted(spending, dataset(rows), records=records), spending


def test_the_claim_is_what_was_reserved_and_at_most_what_was_asked():
    outcome, spending = fitted_once()
    claim = outcome.privacy
    assert claim is not None and spending.reserved is not None
    assert 1.95 <= claim.epsilon <= 2.0 <= claim.epsilon_rdp
    for reserved, claimed in zip(spending.reserved, claim.mechanisms, strict=True):
        assert reserved.model_dump(exclude={"normaliser"}) == claimed.model_dump(exclude={"normaliser"})


def test_the_plan_does_not_depend_on_the_secret_record_count():
    assert fitted_once(rows=400)[1].reserved == fitted_once(rows=50)[1].reserved


def test_without_a_public_count_the_normaliser_rests_on_a_noisy_one():
    claim = fitted_once()[0].privacy
    assert claim is not None and claim.records_source == "measured under DP"
    gradients = claim.mechanisms[1]
    assert isinstance(gradients, SampledGaussian) and gradients.normaliser == pytest.approx(0.25 * claim.records_public)
    assert claim.records_public != 400 and abs(claim.records_public - 400) < 200


def test_a_declared_count_is_used_as_it_stands():
    claim = fitted_once(records=1000)[0].privacy
    assert claim is not None and claim.records_source == "declared public" and claim.records_public == 1000


def test_a_batch_size_needs_a_public_count():
    recipe = Tiny.private.model_copy(update={"batch_size": 32})
    with pytest.raises(PrivacyRefused, match="records: <public number"):
        fitted(Bookkeeping(), dataset(), recipe)
    claim = fitted(Bookkeeping(), dataset(), recipe, records=320).privacy
    assert claim is not None and isinstance(claim.mechanisms[1], SampledGaussian) and claim.mechanisms[1].sample_rate == 0.1


def test_delta_must_be_below_one_over_the_records():
    with pytest.raises(PrivacyRefused, match="not below 1 over"):
        strategy(Bookkeeping(), records=100, delta=0.01)


def test_delta_is_held_against_a_measured_count_as_well():
    with pytest.raises(PrivacyRefused, match="not below 1 over"):
        fitted(Bookkeeping(), dataset(), delta=0.02)


def test_two_players_never_share_a_batch():
    """The accountant composes independent batches."""
    batches = _poisson(Batch.of(torch.arange(2000)), 0.5, SecureStream())
    first, second = next(batches), next(batches)
    both = np.intersect1d(first.x.numpy(), second.x.numpy()).size
    assert abs(both - 500) < 120


def test_batches_are_poisson_and_not_shuffled_or_cut_to_size():
    """Sizes spread as a binomial's do, small and empty ones included, and whether a record comes says nothing of the one before."""
    batches = _poisson(Batch.of(torch.arange(40)), 0.05, SecureStream())
    drawn = torch.stack([torch.zeros(40).index_fill_(0, next(batches).x, 1.0) for _ in range(3000)])
    sizes = drawn.sum(1)
    assert abs(float(sizes.mean()) / 2 - 1) < 0.1 and abs(float(sizes.var()) / 1.9 - 1) < 0.2
    assert abs(float((sizes == 0).float().mean()) - 0.95**40) < 0.04 and sizes.max() > 5
    assert float((drawn[1:] * drawn[:-1]).mean()) == pytest.approx(0.05**2, rel=0.2)


def test_a_refused_reservation_leaves_the_records_unread():
    class Refusing(Bookkeeping):
        def reserve(self, mechanisms: tuple[Mechanism, ...]) -> None:
            raise PermissionError("no budget")

    class Untouched:
        def __getattribute__(self, name: str) -> object:
            raise AssertionError("the records were read")

        __len__ = __getitem__ = __array__ = __iter__ = __getattribute__  # type: ignore[assignment]

    with pytest.raises(PermissionError):
        fitted(Refusing(), Dataset(Untouched(), Untouched(), dataset().space))  # type: ignore[arg-type]


def test_seeded_noise_claims_nothing_and_secure_noise_does():
    assert not fitted(Bookkeeping(), dataset(), noise="seeded").privacy.valid  # type: ignore[union-attr]
    assert fitted_once()[0].privacy.valid  # type: ignore[union-attr]


def test_two_secure_runs_of_one_seed_differ_and_two_seeded_runs_do_not():
    def weights(noise: str) -> Tensor:
        torch.manual_seed(0)
        model = Tiny()
        strategy(Bookkeeping(), noise=noise).fit(model, dataset(), Tiny.private, seed=0, device=torch.device("cpu"), report=lambda _: None)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights("seeded"), weights("seeded"))
    assert not torch.equal(weights("secure"), weights("secure"))


def test_a_closed_form_generator_spends_everything_on_counts():
    spending = Bookkeeping()
    plan = strategy(spending).planner.of(15, {}, 1.0, 0.1, 0)
    assert len(plan) == 1 and isinstance(plan[0], GaussianQuery) and plan[0].sensitivity == pytest.approx(math.sqrt(15))


def test_no_loss_is_reported_under_privacy():
    seen = []
    strategy(Bookkeeping()).fit(Tiny(), dataset(), Tiny.private, seed=0, device=torch.device("cpu"), report=seen.append)
    assert seen and all(progress.loss is None for progress in seen)
    metered = [progress.epsilon for progress in seen if progress.epsilon is not None]
    assert metered == sorted(metered) and metered[-1] <= 2.0


def test_seeded_streams_serve_tests_only():
    assert isinstance(strategy(Bookkeeping(), noise="seeded").source(0), SeededStream)
    assert isinstance(strategy(Bookkeeping()).source(0), SecureStream)


class Unready(Tiny):
    private = None


def test_a_family_without_a_private_recipe_is_refused_before_a_record_is_read():
    spending = Bookkeeping()
    with pytest.raises(Unsupported, match="cannot be trained privately yet, and nothing was read"):
        strategy(spending).recipe(Unready())
    assert spending.reserved is None
