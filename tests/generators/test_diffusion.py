import pytest
import torch

from guardrail.generators.diffusion import Diffusion, DiffusionOptions, beyond_lines, signal
from guardrail.training.contract import Batch
from guardrail.vocabulary.spaces import Block, ImageSpace, VectorSpace

IMAGE = ImageSpace(1, 9, 11, (3,))
VECTOR = VectorSpace((Block("a", "choice", 0, 3), Block("b", "real", 3, 1)))


def model(space: ImageSpace | VectorSpace, **options: object) -> Diffusion:
    torch.manual_seed(0)
    return Diffusion(space, DiffusionOptions.model_validate({"width": 8, "steps": 5, **options}))


def test_no_record_moves_the_loss_of_another() -> None:
    generator, x = model(IMAGE), torch.rand(4, 1, 9, 11)
    other = x.clone()
    other[0] = -1
    losses = []
    for records in (x, other):
        torch.manual_seed(1)
        losses.append(generator.losses(Batch.of(records, torch.zeros(4, 1, dtype=torch.int64))))
    assert losses[0][0] != losses[1][0]
    torch.testing.assert_close(losses[0][1:], losses[1][1:])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("levels", [2, 10, 1000])
def test_the_signal_falls_from_all_to_nearly_nothing(schedule: str, levels: int) -> None:
    shares = signal(schedule, levels)
    assert shares[0] == 1
    assert shares[-1] < 0.01
    assert (shares.diff() <= 0).all()


def test_a_step_with_all_the_noise_is_the_posterior_of_ddpm() -> None:
    """Against equation 7 of Ho et al.: the mean, where the network's guess of the record is known, and the variance."""
    generator = model(ImageSpace(1, 4, 4), levels=10, eta=1.0)
    generator._velocity = lambda x, known, level, label: torch.zeros_like(x)  # type: ignore[method-assign]
    rng, x, (level, lower) = torch.Generator().manual_seed(0), torch.full((4000, 1, 4, 4), 0.3), (6, 5)
    out = generator._denoised(x, torch.zeros_like(x, dtype=torch.bool), level, lower, torch.zeros(4000, dtype=torch.int64), rng)
    a, b = (float(generator._signal[i]) for i in (level, lower))
    beta, clean = 1 - a / b, a**0.5 * 0.3
    mean = b**0.5 * beta / (1 - a) * clean + (a / b) ** 0.5 * (1 - b) / (1 - a) * 0.3
    assert float(out.mean()) == pytest.approx(mean, abs=0.01)
    assert float(out.var()) == pytest.approx((1 - b) / (1 - a) * beta, rel=0.05)


def test_what_is_known_stays_and_the_rest_is_drawn() -> None:
    generator = model(IMAGE)
    x, known = torch.rand(3, 1, 9, 11), torch.rand(3, 1, 9, 11) < 0.5
    batch = Batch.of(x, torch.zeros(3, 1, dtype=torch.int64))
    one, two = (generator.complete(batch, known, torch.Generator().manual_seed(i)) for i in range(2))
    torch.testing.assert_close(one[known], x[known])
    assert not torch.equal(one, two)


@pytest.mark.parametrize(("space", "insistence", "pushed"), [(IMAGE, 3.0, 4.0), (IMAGE, None, 3.0), (VECTOR, None, 1.0)])
def test_a_filled_part_is_pushed_away_from_what_is_said_without_the_known_part(
    space: ImageSpace | VectorSpace, insistence: float | None, pushed: float
) -> None:
    """A network that answers 1 where it is shown a part, and 0 where it is not."""
    generator = model(space, insistence=insistence, guidance=0)
    generator._velocity = lambda x, known, level, label: torch.full_like(x, float(known.any()))  # type: ignore[method-assign]
    x, rng, label = torch.zeros(2, *generator._shape), torch.Generator().manual_seed(0), torch.zeros(2, dtype=torch.int64)
    known = torch.zeros_like(x, dtype=torch.bool)
    assert (generator._guided(x, known, 500, label, rng) == 0).all()
    known[..., :3] = True
    assert (generator._guided(x, known, 500, label, rng) == pushed).all()


@pytest.mark.parametrize("space", [IMAGE, VECTOR], ids=["image", "vector"])
def test_samples_are_records_of_the_space_and_follow_from_the_given_generator(space: ImageSpace | VectorSpace) -> None:
    generator = model(space)
    given = torch.zeros(4, 1, dtype=torch.int64) if space.conditions else None
    one, two = (generator.sample(4, torch.Generator().manual_seed(3), given) for _ in range(2))
    assert torch.equal(one, two)
    assert float(one.abs().max()) <= 1
    if isinstance(space, VectorSpace):
        assert torch.equal(one[:, :3].sort(1).values, torch.tensor([0.0, 0, 1]).expand(4, 3))


@pytest.mark.parametrize("space", [IMAGE, VECTOR], ids=["image", "vector"])
def test_training_shows_nothing_or_a_part_but_seldom_all(space: ImageSpace | VectorSpace) -> None:
    known = model(space, known=0.5)._some_known(2000, torch.device("cpu"))
    shown = known.float().flatten(1).mean(1)
    assert 0.5 <= float((shown == 0).float().mean()) < 0.75
    assert 0.1 < float(((shown > 0) & (shown < 1)).float().mean()) < 0.5
    if isinstance(space, VectorSpace):
        assert (known[:, :3] == known[:, :1]).all()  # a choice is known as a whole


def test_the_unknown_part_of_an_image_can_be_any_half() -> None:
    torch.manual_seed(0)
    unknown = ~beyond_lines(2000, 8, 8, torch.device("cpu"))
    for half in (unknown[:, :4], unknown[:, 4:], unknown[:, :, :4], unknown[:, :, 4:]):
        assert 0.03 < float(half.float().flatten(1).mean(1).gt(0.9).float().mean()) < 0.5
    assert float(unknown.float().mean()) == pytest.approx(0.3, abs=0.15)


def test_the_loss_counts_what_is_unknown_alone() -> None:
    """By hand: half of the entries known, a network that answers 0, so that the loss is the mean square of the other half's velocity."""
    generator, x = model(ImageSpace(1, 4, 4)), torch.full((5, 1, 4, 4), 0.5)
    known = torch.zeros(5, 1, 4, 4, dtype=torch.bool)
    known[..., :2, :] = True
    generator._some_known = lambda n, device: known  # type: ignore[method-assign]
    generator._velocity = lambda x, known, level, label: torch.zeros_like(x)  # type: ignore[method-assign]
    torch.manual_seed(0)
    losses = generator.losses(Batch.of(x))
    torch.manual_seed(0)
    level, noise = torch.randint(1, 1001, (5,)), torch.randn_like(x)
    keep, lose = generator._scales(level, x)
    torch.testing.assert_close(losses, (keep * noise - lose * x)[..., 2:, :].square().flatten(1).mean(1))


@pytest.mark.parametrize("conditions", [(2,), ()], ids=["class", "no class"])
def test_the_model_learns_classes_and_completions(conditions: tuple[int, ...]) -> None:
    """One choice tied to one number: 0 with 0.2, 1 with 0.8. Completed with the class untold, where there is one."""
    space = VectorSpace((Block("a", "choice", 0, 2), Block("b", "real", 2, 1)), conditions)
    generator = model(space, width=16, steps=20)
    label = torch.arange(256)[:, None] % 2
    x = torch.cat([1.0 - label, label, 0.2 + 0.6 * label], dim=1)
    optimizer = torch.optim.Adam(generator.parameters(), 0.003)
    for _ in range(400):
        optimizer.zero_grad()
        generator.losses(Batch.of(x, label)).mean().backward()
        optimizer.step()
    rng = torch.Generator().manual_seed(0)
    made = generator.sample(256, rng, label if conditions else None)
    assert ((made[:, 2] > 0.5) == (made[:, 1] == 1)).float().mean() > 0.9
    if conditions:
        assert (made[:, 1] == label[:, 0]).float().mean() > 0.95
        assert (made[:, 2] - x[:, 2]).abs().mean() < 0.1
    known = torch.tensor([False, False, True]).expand(256, 3)
    filled = generator.complete(Batch.of(torch.cat([torch.zeros(256, 2), x[:, 2:]], dim=1)), known, rng)
    assert (filled[:, 1] == label[:, 0]).float().mean() > 0.95
    known = torch.tensor([True, True, False]).expand(256, 3)
    filled = generator.complete(Batch.of(torch.cat([x[:, :2], torch.zeros(256, 1)], dim=1)), known, rng)
    assert (filled[:, 2] - x[:, 2]).abs().mean() < 0.1
