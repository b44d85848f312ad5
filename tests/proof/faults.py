"""Faults that make a privacy claim false, planted in real trainings, and the attack that has to find them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from guardrail.audits.privacy.claim import Claim
from guardrail.data.material import Material
from guardrail.registry.home import Home
from guardrail.training import noisy_counts, private_turn
from guardrail.training.bookkeeping import Notes
from guardrail.training.fit import Settings, train
from guardrail.training.layer_rules import Owed
from guardrail.training.model import Model, build
from guardrail.training.secure import Stream, gaussian
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plugins import table
from guardrail.vocabulary.spec import GeneratorSpec, PrivacySpec, TrainingSpec
from tests.contracts.worlds import WORLDS

Fault = Callable[[], Any]
"""A context within which every training has the fault."""


def families_of_gradients() -> list[tuple[str, str]]:
    """Every registered family that learns by gradients, with the first modality that it is for."""
    cases = ((name, entry.modalities[0]) for name, entry in table("generators").items() if "private" in entry.abilities)
    return [(name, modality) for name, modality in cases if _learns_by_gradients(name, modality)]


def _learns_by_gradients(name: str, modality: str) -> bool:
    return bool(build(GeneratorSpec(name=name), WORLDS[modality].codec).players())


def weakened(by: float) -> Callable[[Stream, int], Tensor]:
    return lambda source, n: gaussian(source, n).mul_(by)


@contextmanager
def less_noise(by: float) -> Iterator[None]:
    with mock.patch.object(private_turn, "gaussian", weakened(by)), mock.patch.object(noisy_counts, "gaussian", weakened(by)):
        yield


@contextmanager
def one_layer_unclipped() -> Iterator[None]:
    """The layer with the largest weight of each player is left out of the norms, and the watch over them is off as well."""
    honest = Notes.__init__

    def noting(self: Notes, player: Any) -> None:
        honest(self, player)
        layer = max(self._rules, key=lambda layer: max(p.numel() for p in layer.parameters(recurse=False)))
        rule = self._rules[layer]

        def unmeasured(layer: nn.Module, uses: Sequence[Any]) -> Owed:
            owed = rule(layer, uses)
            return owed._replace(squares=torch.zeros_like(owed.squares))

        self._rules[layer] = unmeasured

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Notes, "__init__", noting))
        stack.enter_context(mock.patch.object(private_turn.PrivateTurn, "_sees", lambda *_: True))
        yield


FAULTS: dict[str, Fault] = {
    "noise off": lambda: less_noise(1e-9),
    "noise halved": lambda: less_noise(0.5),
    "clip skipped on one layer": one_layer_unclipped,
}


def trained(name: str, modality: str, *, epsilon: float, canaries: int = 2000, seed: int = 0) -> Model:
    """A small training with secure noise."""
    world = WORLDS[modality]
    material = Material(world.schema, world.records(400, seed), None, "hmac-sha256:test")
    training = TrainingSpec.model_validate({"epochs": 4})
    privacy = PrivacySpec(epsilon=epsilon, canaries=canaries)
    settings = Settings(GeneratorSpec(name=name), training, privacy, holdout=0.0, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        return train(material, settings, home=Home(Path(folder) / "home"), report=lambda _: None, tell=lambda _: None)


def attacked(
    name: str, modality: str, *, epsilon: float, fault: Fault = ExitStack, canaries: int = 2000, seed: int = 0
) -> dict[str, Finding]:
    """What the audit finds in one training, by metric."""
    with fault():
        model = trained(name, modality, epsilon=epsilon, canaries=canaries, seed=seed)
    evidence = Evidence(schema=WORLDS[modality].schema, receipt=model.receipt, canaries=model.canaries)
    return {finding.metric: finding for finding in Claim().measure(evidence, np.random.default_rng(0))}
