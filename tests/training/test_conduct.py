"""How a training is carried out changes nothing in what it learns; schedules, rates and averages do what they say."""

import dataclasses

import pytest
import torch

from guardrail.training.conduct import Conduct, precision_on, refuse_under_privacy, reseed
from guardrail.training.contract import Recipe
from guardrail.training.fit import _recipe
from guardrail.training.loop import rate_factor
from guardrail.training.plain import Order
from guardrail.training.private import UNWATCHED
from guardrail.vocabulary.errors import SpecError, Unsupported
from guardrail.vocabulary.spec import LearningSettings, TrainingSpec

QUIET = Conduct(monitor=False)


@pytest.mark.parametrize("size", [1, 3, 16, 99])
def test_micro_batches_give_the_gradient_of_the_whole_batch(studio, size):
    whole = studio.fit(studio.Quiet)
    parts = studio.fit(studio.Quiet, conduct=dataclasses.replace(QUIET, micro_batch=size))
    assert torch.allclose(parts.weights, whole.weights, atol=1e-5)
    assert [p.loss for p in parts.history] == pytest.approx([p.loss for p in whole.history], abs=1e-5)


def test_a_micro_batch_draws_anew_for_each_of_its_parts(studio):
    """Not the same noise over and over."""
    whole = studio.fit(epochs=40)
    parts = studio.fit(epochs=40, conduct=dataclasses.replace(QUIET, micro_batch=4))
    assert parts.history[-1].loss == pytest.approx(whole.history[-1].loss, abs=0.1)


def test_bfloat16_learns_the_same_up_to_its_precision(studio):
    exact = studio.fit(studio.Quiet, epochs=20)
    coarse = studio.fit(studio.Quiet, epochs=20, conduct=dataclasses.replace(QUIET, precision=torch.bfloat16))
    assert not torch.equal(exact.weights, coarse.weights)
    assert all(p.dtype == torch.float32 for p in coarse.model.parameters())
    assert coarse.history[-1].loss == pytest.approx(exact.history[-1].loss, abs=0.05)


def test_auto_precision_is_float32_off_the_gpu():
    assert precision_on(torch.device("cpu"), "auto") == torch.float32
    assert precision_on(torch.device("cpu"), "bfloat16") == torch.bfloat16


@pytest.mark.slow
def test_compiled_losses_learn_the_same(studio):
    told = []
    compiled = studio.fit(studio.Quiet, conduct=dataclasses.replace(QUIET, compile=True, tell=told.append))
    assert told == []
    assert torch.allclose(compiled.weights, studio.fit(studio.Quiet).weights, atol=1e-5)


def test_without_a_compiler_the_losses_run_as_they_are_and_it_is_said(studio, monkeypatch):
    def broken(function):
        def fails(*arguments):
            raise RuntimeError("Failed to find a working compiler\nand a long trace")

        return fails

    monkeypatch.setattr(torch, "compile", broken)
    told = []
    trained = studio.fit(conduct=dataclasses.replace(QUIET, compile=True, tell=told.append))
    assert torch.equal(trained.weights, studio.fit().weights)
    assert told == [
        "training.compile: the losses of noisy could not be compiled here, and run as they are "
        "(RuntimeError: Failed to find a working compiler)"
    ]


def test_a_mistake_in_a_loss_is_not_taken_for_a_missing_compiler(studio):
    class Wrong(studio.Noisy):
        def losses(self, batch):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        studio.fit(Wrong, conduct=dataclasses.replace(QUIET, compile=True))


def test_an_epoch_holds_every_record_once_and_no_two_are_alike():
    order = Order(10, 4, seed=1, name="critic")
    epochs = [torch.cat([order(3 * epoch + i) for i in range(3)]) for epoch in range(3)]
    assert [sorted(epoch.tolist()) for epoch in epochs] == [list(range(10))] * 3
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])


def test_a_batch_follows_from_its_number_alone():
    wandering, straight = Order(10, 4, seed=1, name="critic"), Order(10, 4, seed=1, name="critic")
    for number in (7, 0, 5):
        wandering(number)
    assert torch.equal(wandering(4), straight(4))
    assert not torch.equal(straight(0), Order(10, 4, seed=1, name="forger")(0))
    assert not torch.equal(straight(0), Order(10, 4, seed=2, name="critic")(0))


def test_pictures_show_what_would_be_released_and_change_nothing(studio):
    seen = {}

    def preview(step, model) -> None:
        assert not model.training and model is not trained_model
        torch.rand(3)
        seen[step] = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        for p in model.parameters():
            p.data.zero_()

    torch.manual_seed(5)
    trained_model = studio.Noisy()
    trained = studio.fit(trained_model, conduct=dataclasses.replace(QUIET, preview=preview, preview_every=5))
    assert torch.equal(trained.weights, studio.fit().weights)
    assert list(seen) == [5, 10]
    last = {}
    studio.fit(conduct=dataclasses.replace(QUIET, preview=lambda step, model: last.update({step: model}), preview_every=12))
    assert torch.allclose(torch.cat([p.flatten() for p in last[12].parameters()]), trained.weights)


def test_ten_pictures_are_made_where_nobody_says_how_many(studio):
    seen = []
    studio.fit(epochs=20, conduct=dataclasses.replace(QUIET, preview=lambda step, _: seen.append(step)))
    assert len(seen) == 10 and seen[-1] == 120


def test_every_player_has_its_loss_reported(studio):
    history = studio.fit(studio.Game, epochs=2).history
    assert set(history[0].losses) == {"critic", "forger"} and history[0].loss == history[0].losses["critic"]


def test_a_training_that_diverged_is_given_up(studio):
    class Diverging(studio.Quiet):
        def losses(self, batch):
            return super().losses(batch) * (float("nan") if float(self.asked) > 10 else 1.0)

    steps, told = [], []
    with pytest.raises(SpecError, match=r"diverged: after step 30 .* lower training\.learning_rate"):
        studio.fit(Diverging, epochs=100, conduct=Conduct(tell=told.append, preview=lambda step, _: steps.append(step), preview_every=1))
    assert steps[-1] == 30 and any("not finite numbers any more" in text for text in told)


def test_weights_that_are_no_numbers_are_not_released(studio):
    class Late(studio.Quiet):
        def losses(self, batch):
            return super().losses(batch) * (float("nan") if float(self.asked) > 11 else 1.0)

    with pytest.raises(SpecError, match="diverged: after step 12"):
        studio.fit(Late)


def test_a_warmup_rises_and_every_schedule_does_what_its_name_says():
    def rates(**changes):
        recipe = Recipe(epochs=1, sample_rate=1, learning_rate=1).model_copy(update=changes)
        return [rate_factor(recipe, progress) for progress in (0, 0.05, 0.1, 0.55, 0.999)]

    assert rates(schedule="constant") == [1, 1, 1, 1, 1]
    assert rates(schedule="linear", warmup=0.1)[2:] == pytest.approx([1, 0.5, 0.0011], abs=1e-3)
    assert rates(schedule="cosine", warmup=0.1)[2:] == pytest.approx([1, 0.5, 0], abs=1e-3)
    assert 0 < rates(warmup=0.1)[0] < rates(warmup=0.1)[1] < 1


def test_a_bound_on_the_gradient_bounds_the_step(studio):
    free, bound = (
        studio.fit(optimizer="sgd", average=0.0, epochs=1, max_norm=norm, schedule="constant", betas=(0.0, 0.9)) for norm in (None, 1e-4)
    )
    torch.manual_seed(5)
    start = torch.cat([p.detach().flatten() for p in studio.Noisy().parameters()])
    assert float((bound.weights - start).norm()) <= 6 * 0.01 * 1e-4 * 1.01 < float((free.weights - start).norm())


def test_an_average_of_zero_releases_the_last_weights(studio):
    assert not torch.equal(studio.fit(average=0.0).weights, studio.fit(average=0.9).weights)
    one_step = {"epochs": 1, "batch_size": 96}
    assert torch.allclose(studio.fit(average=0.0, **one_step).weights, studio.fit(average=0.9, **one_step).weights, atol=1e-6)


def test_what_the_spec_says_of_learning_overrules_the_recipe():
    said = {"epochs": 3, "learning_rate": 0.5, "optimizer": "sgd", "schedule": "linear", "warmup": 0.2, "average": 0.5, "max_norm": 2.0}
    recipe = _recipe(Recipe(epochs=1, sample_rate=0.5, learning_rate=1), TrainingSpec.model_validate(said))
    assert recipe.model_dump(include=set(said)) == said and recipe.sample_rate == 0.5
    assert set(LearningSettings.model_fields) <= set(Recipe.model_fields)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"monitor": True}, "training.monitor"),
        ({"precision": torch.bfloat16}, "training.precision"),
        ({"compile": True}, "training.compile"),
        ({"micro_batch": 8}, "training.micro_batch"),
        ({"checkpoints": object()}, "checkpoints"),
    ],
)
def test_what_a_private_training_may_not_do_is_refused_by_name(changes, named):
    refuse_under_privacy(UNWATCHED)
    with pytest.raises(Unsupported, match=f"not available under privacy: {named}"):
        refuse_under_privacy(dataclasses.replace(UNWATCHED, **changes))


def test_seeding_reaches_what_losses_draw_from():
    reseed(torch.device("cpu"), 2**80 + 3)
    first = torch.rand(3)
    reseed(torch.device("cpu"), 2**80 + 3)
    assert torch.equal(torch.rand(3), first)
