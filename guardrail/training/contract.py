"""What a generator offers the loop, and all the loop knows about it.

A `Player` is one network in the training game. It gives one loss per record and owns no loop: it cannot tell whether the
losses are averaged (plain), clipped and noised (private) or computed at a client (federated). A generator without players
(a table of marginals) learns from counts alone, and the strategy decides whether those are exact or noisy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ..vocabulary.frozen import Frozen

SpaceKind = Literal["tokens", "vector"]


class Recipe(Frozen):
    """How a family is trained unless the spec says otherwise; chosen on public data, never on the user's."""

    epochs: int = Field(gt=0)
    sample_rate: float = Field(gt=0, le=1)
    """Share of the records per step. Under privacy it keeps the record count out of the plan."""
    batch_size: int | None = Field(default=None, gt=0)
    """In plain training, at most this many records per step; under privacy, so many in expectation in place of `sample_rate`."""
    learning_rate: float = Field(gt=0)
    clip: float = Field(default=1.0, gt=0)
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average of the weights; 0: the last weights."""


class Player(nn.Module):
    """One network in the training game."""

    sees_records: ClassVar[bool] = True

    @abstractmethod
    def losses(self, batch: Tensor) -> Tensor:
        """(records, ...) -> (records,): one loss per record, which no other record moves."""

    def free_loss(self, n: int) -> Tensor | None:
        """The part of the loss that reads no record, for `n` records' worth: neither clipped nor noised."""
        return None

    def after_step(self) -> None:
        """Post-processing of the weights (a projection), free of privacy cost."""


class Counts(Protocol):
    """Closed-form questions a generator may ask about the records. The strategy answers, exactly or with charged noise."""

    def one_way(self) -> tuple[np.ndarray, ...]:
        """Per column the share of each token, (tokens,) float64, non-negative, summing to 1."""
        ...


class Generator(nn.Module):
    """A family of models on one space."""

    space: ClassVar[SpaceKind]
    plain: ClassVar[Recipe]
    private: ClassVar[Recipe]
    Options: ClassVar[type[Frozen]]

    @abstractmethod
    def __init__(self, space: Any, options: Any) -> None:
        """`space`: TokenSpace or VectorSpace. Draws initial weights from torch's generator, which the caller seeds."""
        super().__init__()

    def initialise(self, counts: Counts) -> None:
        """What can be learned in closed form before the first step."""

    def players(self) -> Mapping[str, Player]:
        """The networks to train, in the order of their turns; empty for closed-form families."""
        return {}

    @abstractmethod
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """`n` records of the space: (n, columns) int64 tokens, or (n, width) floats for the codec to decode."""

    def log_likelihood(self, records: Tensor) -> Tensor:
        """(records, columns) -> (records,): log-probability in nats, where the family has one."""
        raise NotImplementedError


def parameter_count(generator: Generator) -> int:
    return sum(parameter.numel() for parameter in generator.parameters())
