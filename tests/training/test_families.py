"""Every registered family in the engine: killed and resumed, watched, in bfloat16, in micro-batches, and no weight the worse for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from guardrail.training.checkpoint import Checkpoints
from guardrail.training.conduct import Conduct
from guardrail.training.contract import Generator
from guardrail.training.model import build, encode
from guardrail.training.plain import Plain
from guardrail.training.strategy import Dataset, Outcome
from guardrail.vocabulary.plugins import table
from guardrail.vocabulary.spec import GeneratorSpec
from tests.contracts.worlds import WORLDS

CASES = [(name, entry.modalities[0]) for name, entry in table("generators").items()]
UNWATCHED = Conduct(monitor=False)


class Free:
    def reserve(self, mechanisms: object) -> None:
        """No ledger here."""


class Stopped(Exception):
    pass


def fit(name: str, modality: str, conduct: Conduct, epochs: int = 6) -> tuple[Generator, Outcome, list]:
    """Two steps an epoch."""
    torch.manual_seed(0)
    codec, frame = WORLDS[modality].codec, WORLDS[modality].records(110, 0)
    generator = build(GeneratorSpec(name=name), codec)
    if not generator.players():
        pytest.skip("learns from counts")
    dataset = Dataset(encode(codec, frame, generator), codec.encode(frame, "tokens"), codec.tokens)
    recipe = generator.plain.model_copy(update={"epochs": epochs, "batch_size": 55, "sample_rate": 1.0})
    history: list = []
    outcome = Plain(Free()).fit(generator, dataset, recipe, seed=0, device=torch.device("cpu"), report=history.append, conduct=conduct)
    return generator, outcome, history


def weights(generator: Generator) -> Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in generator.state_dict().values()])


@pytest.mark.parametrize(("name", "modality"), CASES)
def test_watched_killed_and_resumed_it_ends_where_it_would_have(name: str, modality: str, tmp_path: Path):
    """No state hides outside of weights, buffers and moments, and no look disturbs it."""
    whole, _, _ = fit(name, modality, UNWATCHED)

    class Killing(Checkpoints):
        def after_step(self, training, companions) -> None:
            super().after_step(training, companions)
            if training.step == 11:
                raise Stopped

    with pytest.raises(Stopped):
        fit(name, modality, Conduct(checkpoints=Killing(tmp_path, "k", 0)))
    resumed, outcome, history = fit(name, modality, Conduct(checkpoints=Checkpoints(tmp_path, "k", 0)))
    assert [progress.step for progress in history] == [12]
    assert torch.equal(weights(resumed), weights(whole))
    assert outcome.monitor is not None and all(len(curve) == 12 for curve in outcome.monitor.losses.values())


@pytest.mark.parametrize(("name", "modality"), CASES)
def test_bfloat16_and_micro_batches_train_it(name: str, modality: str):
    generator, _, history = fit(name, modality, Conduct(precision=torch.bfloat16, micro_batch=20, monitor=False), epochs=1)
    assert weights(generator).isfinite().all()
    assert all(torch.tensor(list(progress.losses.values())).isfinite().all() for progress in history)
    assert all(parameter.dtype == torch.float32 for parameter in generator.parameters())
