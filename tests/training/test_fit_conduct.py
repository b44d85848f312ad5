"""What the spec and the caller ask of the training stage: checkpoints bound to the training, pictures, the monitor's record."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from guardrail.data.cast import cast
from guardrail.data.material import Material
from guardrail.training.checkpoint import FILE
from guardrail.training.fit import Settings, checkpoint_key, train
from guardrail.vocabulary.errors import ArtifactError, SpecError, Unsupported
from guardrail.vocabulary.schema import Schema
from guardrail.vocabulary.spec import GeneratorSpec, PrivacySpec, TrainingSpec

DATA = "hmac-sha256:" + "a" * 64
SCHEMA = Schema.model_validate(
    {
        "declared_by": "this test",
        "columns": {"age": {"kind": "integer", "low": 0, "high": 9}, "colour": {"kind": "categorical", "categories": ["red", "blue"]}},
    }
)
SEEDED = PrivacySpec(epsilon=2, noise="seeded")


def material(data: str = DATA, n: int = 60) -> Material:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(0, 10, n), "colour": rng.choice(["red", "blue"], n)})
    return Material(SCHEMA, cast(frame, SCHEMA), None, data)


def settings(*, privacy=None, seed: int = 0, generator: str = "vae", **training) -> Settings:
    spec = TrainingSpec.model_validate({"epochs": 3, "device": "cpu", "checkpoint_seconds": 0, "batch_size": 20, **training})
    return Settings(GeneratorSpec(name=generator), spec, privacy, 0.0, seed=seed)


def trained(home, asked: Settings, *, report=lambda _: None, told=None, data: str = DATA, **keywords):
    return train(material(data), asked, home=home, report=report, tell=(told if told is not None else []).append, **keywords)


def stop_at(step: int):
    def report(progress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return report


def test_an_interrupted_training_says_where_it_goes_on_and_does(own_home, tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"step 4 is kept in .*same command goes on"):
        trained(own_home, settings(), report=stop_at(5), checkpoint=tmp_path)
    steps = []
    resumed = trained(own_home, settings(), report=lambda progress: steps.append(progress.step), checkpoint=tmp_path)
    assert steps == [5, 6, 7, 8, 9]
    assert resumed.weights() == trained(own_home, settings()).weights()


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"learning_rate": 0.5},
        {"epochs": 4},
        {"data": "hmac-sha256:" + "b" * 64},
        {"generator": "made"},
    ],
)
def test_another_training_never_goes_on_from_it(own_home, tmp_path, other):
    trained(own_home, settings(), checkpoint=tmp_path)
    data = other.pop("data", DATA)
    with pytest.raises(ArtifactError, match="is of another training"):
        trained(own_home, settings(**other), data=data, checkpoint=tmp_path)


def test_speed_may_change_between_the_parts(own_home, tmp_path):
    assert checkpoint_key(settings(), DATA) == checkpoint_key(settings(compile=True, precision="bfloat16", micro_batch=4), DATA)
    trained(own_home, settings(), checkpoint=tmp_path)
    assert trained(own_home, settings(micro_batch=4), checkpoint=tmp_path).receipt.steps == 9


def test_under_privacy_nothing_is_kept_and_nothing_resumed(own_home, tmp_path):
    with pytest.raises(Unsupported, match="checkpoints"):
        trained(own_home, settings(privacy=SEEDED), checkpoint=tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("asked", [{"precision": "bfloat16"}, {"compile": True}, {"micro_batch": 4}, {"monitor": True}])
def test_what_privacy_does_without_is_refused_before_anything_is_spent(own_home, asked):
    from guardrail.registry.ledger import Ledger

    with pytest.raises(Unsupported, match=f"training.{next(iter(asked))}"):
        trained(own_home, settings(privacy=SEEDED, **asked))
    assert Ledger(own_home).entries(DATA) == ()


def test_the_monitors_record_comes_with_the_model_and_not_under_privacy(own_home):
    model = trained(own_home, settings())
    assert model.monitor.steps == 9 and set(model.monitor.losses) == {"vae"}
    assert trained(own_home, settings(monitor=False)).monitor is None
    assert trained(own_home, settings(generator="marginals")).monitor is None
    private = dataclasses.replace(settings(privacy=SEEDED), training=TrainingSpec(epochs=1, device="cpu"))
    seen = []
    assert trained(own_home, private, preview=lambda step, model: seen.append((step, model.training))).monitor is None
    assert len(seen) >= 10 and not any(training for _, training in seen)  # pictures of a private model are free


def test_what_the_monitor_says_reaches_the_user(own_home):
    told = []
    with pytest.raises(SpecError, match="training diverged"):
        trained(own_home, settings(learning_rate=1e4, epochs=40, average=0.0, schedule="constant"), told=told)
    assert any("steadies it" in text for text in told)
