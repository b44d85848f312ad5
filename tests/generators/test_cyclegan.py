import pytest
import torch

from guardrail.generators.cyclegan import Cyclegan, CycleganOptions
from guardrail.training.contract import Batch
from guardrail.vocabulary.errors import SpecError, Unsupported
from guardrail.vocabulary.spaces import ImageSpace


def model(height: int = 9, width: int = 11) -> Cyclegan:
    torch.manual_seed(0)
    return Cyclegan(ImageSpace(1, height, width, (2,)), CycleganOptions(width=4, blocks=1))


def batch(n: int = 6, height: int = 9, width: int = 11) -> Batch:
    return Batch.of(torch.rand(n, 1, height, width) * 2 - 1, torch.arange(n)[:, None] % 2)


@pytest.mark.parametrize("name", ["critic_0", "critic_1", "into_0", "into_1"])
def test_the_loss_of_a_record_is_what_it_is_alone(name: str) -> None:
    player, records = model().players()[name], batch()
    alone = torch.cat([player.losses(records[i : i + 1]) for i in range(len(records))])
    torch.testing.assert_close(player.losses(records), alone)


@pytest.mark.parametrize("name", ["critic_0", "critic_1", "into_0", "into_1"])
def test_a_turn_moves_only_its_own_network(name: str) -> None:
    generator = model()
    player = generator.players()[name]
    player.losses(batch()).mean().backward()
    own = {id(p) for p in player.parameters()}
    assert all((p.grad is not None) == (id(p) in own) for p in generator.parameters())


def test_each_record_is_translated_into_the_style_that_is_not_its_own() -> None:
    generator, records = model(), batch()
    out = generator.translate(records, torch.Generator())
    for i in range(len(records)):
        network = generator.into[1 - int(records.given[i])].network
        torch.testing.assert_close(out[i], network(records.x[i : i + 1])[0].clamp(-1, 1))


def test_a_model_that_only_translates_says_so_when_asked_for_samples() -> None:
    with pytest.raises(Unsupported, match="translate"):
        model().sample(3, torch.Generator(), torch.zeros(3, 1, dtype=torch.int64))


@pytest.mark.parametrize("conditions", [(), (3,), (2, 2)])
def test_anything_but_two_styles_is_refused_by_the_name_of_the_field(conditions: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match=r"data\.target"):
        Cyclegan(ImageSpace(1, 8, 8, conditions), CycleganOptions())


def test_bright_and_dark_images_are_turned_into_one_another() -> None:
    generator = model(8, 8)
    records = batch(64, 8, 8)
    records = Batch(0.2 * records.x + torch.where(records.given == 1, 0.5, -0.5)[:, :, None, None], records.given)
    optimizers = {n: torch.optim.Adam(p.parameters(), 0.003, (0.5, 0.999)) for n, p in generator.players().items()}
    for _ in range(150):
        for name, player in generator.players().items():
            optimizers[name].zero_grad()
            player.losses(records).mean().backward()
            optimizers[name].step()
    out = generator.translate(records, torch.Generator())
    assert out[records.given[:, 0] == 0].mean() > 0.2
    assert out[records.given[:, 0] == 1].mean() < -0.2
