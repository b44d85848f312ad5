"""What client and server have to agree on: recipe, players, which weights travel, and by which plan a client is private."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...vocabulary.errors import ArtifactError
from ...vocabulary.receipt import Mechanism
from ...vocabulary.spaces import TokenSpace
from ...vocabulary.spec import LearningSettings
from ..contract import Generator, Player, Recipe
from ..optimizers import moments_of, optimizer_of, put_moments
from ..private import Private
from .counts import Answer
from .job import Job

Arrays = dict[str, np.ndarray]
MOMENTS, SQUARES = "moments/", ("exp_avg_sq", "square_avg")
WEIGHT, WEIGHT_UNIT = "weight/", 2.0**10
"""Of a client, among the numbers under masks, in units that keep what is multiplied by it in their range."""
NORMALISING = (nn.modules.batchnorm._NormBase,)


class Unasked:
    """Clients settle with their own ledgers before they come to this."""

    def reserve(self, mechanisms: tuple[Mechanism, ...]) -> None:
        """Nothing to keep."""


def private_of(job: Job) -> Private:
    """A client's side of record-level privacy: no client's count of records is public, and all have the same plan."""
    if job.privacy is None:
        raise ValueError("a job without privacy has no private side")
    privacy = job.privacy.model_copy(update={"records": None})
    sources = job.records.sources()
    return Private(
        privacy,
        holdout=0.0,
        schema_sources=sources,
        unit=job.records.unit,
        records=None,
        spending=Unasked(),
        rounds=job.federation.rounds,
    )


def recipe_of(generator: Generator, job: Job) -> Recipe:
    """The family's, with the spec's changes. What is averaged is what clients send, so nobody averages over steps."""
    default = private_of(job).recipe(generator) if job.local_privacy else generator.plain
    said = {key: value for key in LearningSettings.model_fields if (value := getattr(job.learning, key)) is not None}
    rate = {"sample_rate": 1.0} if job.learning.batch_size is not None else {}  # the batch size alone decides
    return default.model_copy(update={**said, **rate, "average": 0.0})


def trained_players(generator: Generator, job: Job) -> dict[str, Player]:
    """Those that clients train: all, or those that see records, while the server trains the others."""
    return {name: player for name, player in generator.players().items() if job.federation.players == "all" or player.sees_records}


def travelling(generator: Generator, players: Mapping[str, Player]) -> dict[str, Tensor]:
    """What clients send back, by its name in the model: weights that these players train, and what normalising layers keep."""
    trained = {id(weight) for player in players.values() for weight in player.parameters() if weight.requires_grad}
    found: dict[str, Tensor] = {name: weight for name, weight in generator.named_parameters() if id(weight) in trained}
    for name, layer in generator.named_modules():
        if isinstance(layer, NORMALISING):
            found |= {f"{name}.{key}": value for key, value in layer.named_buffers() if value.is_floating_point()}
    return found


def arrays_of(generator: Generator, players: Mapping[str, Player]) -> Arrays:
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in travelling(generator, players).items()}


def moments_in(optimizers: Mapping[str, torch.optim.Optimizer]) -> Arrays:
    """What each player's optimizer remembers, by names that no weight has. It travels with the weights: an adaptive optimizer that began
    anew with every round would take steps of one size whatever the gradient's, and clients of unlike records would be averaged as if
    by a vote. With moments in common all scale their gradients alike, and the mean of their steps is a step along the mean gradient.
    Squares travel as their roots: what is small in them would be nothing under masks, and nobody can make one negative."""
    found = {f"{MOMENTS}{name}.{key}": value for name, optimizer in optimizers.items() for key, value in moments_of(optimizer).items()}
    return {name: _rooted(name, value.detach().cpu()).numpy().copy() for name, value in found.items()}


def put_moments_in(optimizers: Mapping[str, torch.optim.Optimizer], arrays: Arrays) -> None:
    for name, optimizer in optimizers.items():
        own = {key.removeprefix(f"{MOMENTS}{name}."): value for key, value in arrays.items() if key.startswith(f"{MOMENTS}{name}.")}
        put_moments(optimizer, {key: _squared(key, torch.from_numpy(value.copy())) for key, value in own.items()})


def _rooted(name: str, value: Tensor) -> Tensor:
    return value.sqrt() if name.endswith(SQUARES) else value


def _squared(name: str, value: Tensor) -> Tensor:
    """A number of steps that an attack has made negative would turn powers of it into complex numbers."""
    return value.square() if name.endswith(SQUARES) else value.clamp_min(0) if name.endswith("step") else value


def no_moments(generator: Generator, players: Mapping[str, Player], recipe: Recipe) -> Arrays:
    """Before the first step: nothing remembered, in the shapes that will be."""
    dummies = copy.deepcopy(dict(players))
    optimizers = {name: optimizer_of(player, recipe) for name, player in dummies.items()}
    for name, optimizer in optimizers.items():
        for weight in dummies[name].parameters():
            weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
        optimizer.step()
    return {name: np.zeros_like(value) for name, value in moments_in(optimizers).items()}


def whole(generator: Generator) -> Arrays:
    """The whole state, which the server sends: also what was counted."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in generator.state_dict().items()}


def load(generator: Generator, arrays: Mapping[str, np.ndarray]) -> None:
    """Puts these parts of the state in their places.

    Raises:
        ArtifactError: They are of another model.
    """
    state: dict[str, Any] = {name: torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape)) for name, value in arrays.items()}
    try:
        generator.load_state_dict({**generator.state_dict(), **state})
    except RuntimeError as fault:
        raise ArtifactError(f"the weights that came are of another model: {fault}") from None


class Anchors:
    """FedProx (Li et al. 2020, arXiv 1812.06127): every step is drawn back to the weights that the round began with. The pull reads no
    record, so under privacy it acts after the noise and costs nothing."""

    def __init__(self, strength: float) -> None:
        self._strength = strength

    def hold(self, optimizer: torch.optim.Optimizer) -> None:
        if not self._strength:
            return
        base: torch.optim.Optimizer = getattr(optimizer, "original_optimizer", optimizer)
        held = [(weight, weight.detach().clone()) for group in base.param_groups for weight in group["params"]]

        def draw_back(*_: Any) -> None:
            for weight, anchor in held:
                if weight.grad is not None:
                    weight.grad.add_(weight.detach() - anchor, alpha=self._strength)

        base.register_step_pre_hook(draw_back)


def one_each(answer: Answer, space: TokenSpace) -> Answer:
    """Shares in place of counts: however many records a client has, it moves every column's sum by at most 1."""
    sizes = {"tokens": space.sizes, "classes": space.conditions}
    return {name: np.concatenate([np.zeros(0), *_shares(value, sizes[name])]) for name, value in answer.items()}


def _shares(counts: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    parts = np.split(counts, np.cumsum(sizes)[:-1]) if len(counts) else []
    return [part / max(1.0, float(part.sum())) for part in parts]
