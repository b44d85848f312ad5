"""gan, dcgan, cgan, wgan, progan: losses by hand, no mixing of records, bounds that hold, every mode of a ring found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from guardrail.training.conduct import Conduct
from guardrail.training.contract import Batch, Generator, Player, Rival
from guardrail.training.plain import Plain
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.errors import SpecError
from guardrail.vocabulary.plugins import resolve
from guardrail.vocabulary.spaces import Block, ImageSpace, SeriesSpace, Space, TokenSpace, VectorSpace

TABLE = VectorSpace((Block("colour", "choice", 0, 3), Block("age", "real", 3, 1), Block("size", "choice", 4, 2)))
POINTS = VectorSpace((Block("x", "real", 0, 1), Block("y", "real", 1, 1)))
GREY, ODD, CLASSED = ImageSpace(1, 8, 8), ImageSpace(3, 13, 9), ImageSpace(1, 12, 12, conditions=(3,))
SERIES = SeriesSpace(("a", "b"), 8, marked=True)
CASES: list[tuple[str, Space]] = [
    *[(name, space) for name in ("gan", "wgan") for space in (TABLE, GREY, SERIES)],
    *[(name, space) for name in ("dcgan", "wgan", "progan") for space in (GREY, ODD, CLASSED)],
    ("cgan", CLASSED),
    ("cgan", SeriesSpace(("a",), 6, conditions=(2,))),
    ("cgan", VectorSpace(POINTS.blocks, conditions=(4,))),
]


class Free:
    def reserve(self, mechanisms: object) -> None: ...


def build(name: str, space: Space, **options: Any) -> Generator:
    kind: type[Generator] = resolve("generators", name)
    torch.manual_seed(0)
    return kind(space, kind.Options(**options))


def records(space: Space, n: int, seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    given = torch.stack([torch.randint(size, (n,), generator=rng) for size in space.conditions], 1) if space.conditions else None
    if isinstance(space, VectorSpace):
        return Batch.of(torch.rand(n, space.width, generator=rng), given)
    shape = space.shape if isinstance(space, ImageSpace) else (space.steps, space.width)  # type: ignore[union-attr]
    return Batch.of(torch.rand(n, *shape, generator=rng) * 2 - 1, given)


def losses(player: Player, batch: Batch) -> torch.Tensor:
    torch.manual_seed(1)
    return player.losses(batch)


def fit(generator: Generator, batch: Batch, seed: int = 0, conditions: tuple[int, ...] = (), **changes: Any) -> list[float]:
    seen: list[float] = []
    dataset = Dataset(batch, np.zeros((len(batch), 1), np.int64), TokenSpace(("x",), (1,), conditions=conditions))
    recipe = type(generator).plain.model_copy(update=changes)
    Plain(Free()).fit(
        generator,
        dataset,
        recipe,
        seed=seed,
        device=torch.device("cpu"),
        report=lambda progress: seen.append(progress.loss or 0.0),
        conduct=Conduct(monitor=False),
    )
    generator.eval()
    return seen


@pytest.mark.parametrize(("name", "space"), CASES)
def test_a_record_moves_its_own_loss_and_no_other(name: str, space: Space):
    generator, batch = build(name, space), records(space, 6)
    critic = generator.players()["critic"]
    changed = Batch(torch.cat([records(space, 1, 9).x, batch.x[1:]]), batch.given)
    before, after = losses(critic, batch), losses(critic, changed)
    assert before.shape == (6,)
    assert torch.allclose(before[1:], after[1:], atol=1e-5) and not torch.isclose(before[0], after[0], atol=1e-7)


@pytest.mark.parametrize(("name", "space"), CASES)
def test_each_player_moves_its_own_weights_only(name: str, space: Space):
    generator, batch = build(name, space), records(space, 6)
    players = generator.players()
    for moving, resting in (("critic", "maker"), ("maker", "critic")):
        player = players[moving]
        loss = player.free_loss(6)
        assert loss is not None
        (loss + losses(player, batch).mean() if player.sees_records else loss).backward()
        assert all(parameter.grad is None for parameter in players[resting].parameters())
        assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in player.parameters())
        generator.zero_grad(set_to_none=True)


@pytest.mark.parametrize(("name", "space"), CASES)
def test_samples_lie_in_the_space_and_come_from_their_generator_alone(name: str, space: Space):
    generator, batch = build(name, space), records(space, 12)
    fit(generator, batch, conditions=space.conditions, epochs=1, batch_size=6, sample_rate=1.0)
    given = batch.given if generator.conditional else None
    drawn = [generator.sample(12, torch.Generator().manual_seed(seed), given) for seed in (1, 1, 2)]
    assert drawn[0].shape == batch.x.shape and torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert drawn[0].abs().max() <= 1
    if space is TABLE:
        for block in TABLE.blocks:
            part = drawn[0][:, block.start : block.stop]
            assert (part.sum(1) == 1).all() and ((part == 0) | (part == 1)).all() if block.kind == "choice" else (part >= 0).all()
    if space is SERIES:
        assert set(drawn[0][..., 2:].unique().tolist()) <= {-1.0, 1.0}
        assert (drawn[0][..., :2][drawn[0][..., 2:] < 0] == 0).all()
    assert set(generator.diagnose(batch)) == {"win_rate"} and generator.game_value(batch).requires_grad


def test_codes_between_two_codes_give_records_between_them():
    generator = build("gan", GREY)
    codes = generator.draw_latent(2, torch.Generator().manual_seed(0))
    path = generator.from_latent(torch.stack([codes[0].lerp(codes[1], share) for share in (0.0, 1e-4, 1.0)]))
    assert torch.allclose(path[0], path[1], atol=1e-3) and not torch.allclose(path[0], path[2], atol=1e-3)


def test_the_penalty_is_the_slope_that_finite_differences_find():
    torch.set_default_dtype(torch.float64)
    try:
        generator, batch = build("wgan", POINTS, activation="tanh"), Batch.of(torch.rand(5, 2, dtype=torch.float64))
        critic: Any = generator.players()["critic"]
        torch.manual_seed(1)
        fast = critic.excess(batch)
        torch.manual_seed(1)
        labels = critic._noise.one_hot(batch.given, 5, batch.x)
        made, _ = critic.made(5, batch.x, labels)
        share = torch.rand(5, 1)
        between = share * batch.x + (1 - share) * made
        step = 1e-6
        slopes = [
            (critic.network(between + step * e, labels) - critic.network(between - step * e, labels)) / (2 * step) for e in torch.eye(2)
        ]
        assert torch.allclose(fast, (torch.stack(slopes, 1).norm(dim=1) - 1).square(), atol=1e-5)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("space", [POINTS, GREY, ODD])
def test_the_spectral_bound_holds_for_every_pair_of_records(space: Space):
    generator = build("wgan", space, lipschitz="spectral")
    critic: Any = generator.players()["critic"]
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(20)
    critic.after_step()
    one, other = records(space, 200, 1).x, records(space, 200, 2).x
    near = one + 1e-2 * (other - one)
    steepest = 2.0 if isinstance(space, VectorSpace) else 1.0  # vectors are stretched from [0, 1] to [-1, 1] first
    none = torch.zeros(200, 0)
    with torch.no_grad():
        rise = (critic.network(one, none) - critic.network(near, none)).abs()
    assert (rise <= steepest * (one - near).flatten(1).norm(dim=1) * (1 + 1e-3) + 1e-4).all()


def test_a_convolutions_bound_is_no_less_than_its_true_norm():
    from guardrail.generators.wgan import layer_norm

    layer = nn.Conv2d(1, 3, 4, 2, 1, bias=False)
    matrix = torch.stack([layer(unit.reshape(1, 1, 6, 6)).flatten() for unit in torch.eye(36)], 1)
    assert torch.linalg.matrix_norm(matrix, 2) <= layer_norm(layer)


def test_clipping_keeps_the_weights_within_the_bound():
    generator = build("wgan", POINTS, lipschitz="clipping", bound=0.01)
    fit(generator, records(POINTS, 20), epochs=1)
    assert all(parameter.abs().max() <= 0.01 for parameter in generator.players()["critic"].parameters())


def test_a_rival_is_frozen_while_it_is_played_against():
    network = nn.Linear(2, 1)
    x = torch.ones(1, 2, requires_grad=True)
    Rival(network)(x).sum().backward()
    assert network.weight.grad is None and x.grad is not None and network.weight.requires_grad


def test_cgan_without_a_class_names_the_target():
    with pytest.raises(SpecError, match=r"data\.target"):
        build("cgan", GREY)


def test_images_too_small_to_halve_are_refused_by_name():
    with pytest.raises(SpecError, match="3x5"):
        build("dcgan", ImageSpace(1, 3, 5))


def test_progan_grows_from_four_pixels_to_the_whole_image():
    generator = build("progan", ImageSpace(1, 28, 28))
    maker: Any = generator.players()["maker"]
    seen = []
    for progress in np.linspace(0, 1, 400, endpoint=False):
        maker.before_step(float(progress))
        seen.append(float(maker.network.level))
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == 3
    assert {0.0, 1.0, 2.0, 3.0} <= set(seen) and max(np.diff(seen)) < 0.1
    assert np.mean(np.array(seen) == 3) >= 0.5


def test_progan_below_its_last_stage_shows_blocks_of_equal_pixels():
    generator = build("progan", ImageSpace(1, 16, 16))
    maker: Any = generator.players()["maker"]
    maker.before_step(0.0)
    image = generator.sample(2, torch.Generator().manual_seed(0))
    assert torch.equal(image, image[..., ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_fading_in_begins_where_the_stage_before_ended():
    generator = build("progan", ImageSpace(1, 16, 16))
    maker: Any = generator.players()["maker"]
    critic: Any = generator.players()["critic"]
    pictures, scores = [], []
    for level in (1.0, 1.0 + 1e-6):
        maker.network.level.fill_(level)
        critic.network.level.fill_(level)
        pictures.append(generator.sample(2, torch.Generator().manual_seed(0)))
        scores.append(critic.network(pictures[0], torch.zeros(2, 0)))
    assert torch.allclose(*pictures, atol=1e-4) and torch.allclose(*scores, atol=1e-3)


@pytest.mark.parametrize("layer", ["conv", "halving", "doubling"])
def test_layers_of_equal_pace_hand_on_unit_noise_at_twice_its_variance(layer: str):
    """Before the rectifier, which halves it; far from the border, where a kernel meets nothing but zeros."""
    from guardrail.generators import progan

    torch.manual_seed(0)
    out = getattr(progan, layer)(32, 64)(torch.randn(4, 32, 16, 16)).detach()
    assert float(out[..., 2:-2, 2:-2].var()) == pytest.approx(2.0, rel=0.1)


def test_the_level_that_progan_reached_is_saved_with_it():
    generator, again = build("progan", GREY), build("progan", GREY)
    generator.players()["maker"].before_step(0.0)
    again.load_state_dict(generator.state_dict())
    assert torch.equal(generator.sample(2, torch.Generator().manual_seed(0)), again.sample(2, torch.Generator().manual_seed(0)))


def test_minibatch_stddev_is_off_because_it_mixes_records():
    kind = resolve("generators", "progan")
    assert kind.Options().minibatch_stddev is False and "mixes records" in kind.Options.model_fields["minibatch_stddev"].description
    generator, batch = build("progan", GREY, minibatch_stddev=True), records(GREY, 4)
    critic = generator.players()["critic"]
    changed = Batch.of(torch.cat([records(GREY, 1, 9).x, batch.x[1:]]))
    assert not torch.allclose(losses(critic, batch)[1:], losses(critic, changed)[1:], atol=1e-6)


def gaussians(which: str, n: int) -> tuple[np.ndarray, Batch, float]:
    """Centres and records in the unit square, and a mode's standard deviation."""
    angles = 2 * np.pi * np.arange(8) / 8
    ring, steps = np.stack([np.cos(angles), np.sin(angles)], 1) * 0.4 + 0.5, np.linspace(0.1, 0.9, 5)
    centres = ring if which == "ring" else np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    rng, deviation = np.random.default_rng(0), 0.004 if which == "ring" else 0.005
    x = centres[rng.integers(0, len(centres), n)] + deviation * rng.normal(size=(n, 2))
    return centres, Batch.of(torch.tensor(x, dtype=torch.float32)), deviation


def modes_found(which: str, seed: int, n: int = 2500, **changes: Any) -> tuple[int, int]:
    """A mode counts as found where at least a tenth of its share of the samples lies within three of its deviations."""
    centres, batch, deviation = gaussians(which, 10_000)
    kind = resolve("generators", "wgan")
    torch.manual_seed(seed)
    generator = kind(POINTS, kind.Options())
    fit(generator, batch, seed=seed, **changes)
    distances = np.linalg.norm(generator.sample(n, torch.Generator().manual_seed(0)).numpy()[:, None] - centres, axis=2)
    near = distances.argmin(1)[distances.min(1) < 3 * deviation]
    return int((np.bincount(near, minlength=len(centres)) >= 0.1 * n / len(centres)).sum()), len(centres)


def test_wgan_finds_the_modes_of_a_ring_in_a_third_of_its_training():
    found, there = modes_found("ring", 0, epochs=12)
    assert found == there


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("which", ["ring", "grid"])
def test_wgan_finds_every_mode(which: str, seed: int):
    found, there = modes_found(which, seed)
    assert found == there
