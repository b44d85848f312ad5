"""What a strategy is given and what it gives back: the seam between how a model is trained and what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ..vocabulary.canaries import CanaryRecord
from ..vocabulary.monitor import MonitorRecord
from ..vocabulary.receipt import FederationRecord, Mechanism, PrivacyClaim
from ..vocabulary.spaces import TokenSpace
from .conduct import Conduct
from .contract import Batch, Counts, Generator, Recipe
from .loop import Progress


@dataclass(frozen=True)
class Dataset:
    """The training part, encoded."""

    records: Batch
    """In the generator's space, with their conditions."""
    tokens: np.ndarray
    """(records, positions) int64: what counting queries read."""
    space: TokenSpace
    """Whose tokens these are."""
    units: np.ndarray | None = None
    """(records,) int: whose each is; None where every record is a unit of privacy by itself."""


@dataclass(frozen=True)
class Outcome:
    """What the receipt needs to know of a finished training."""

    counts: Counts
    steps: int
    batch_size: int
    epochs: int
    privacy: PrivacyClaim | None
    trained_rows: int | None
    monitor: MonitorRecord | None = None
    """None: closed-form families, private trainings, and where nobody wanted it."""
    canaries: tuple[CanaryRecord, ...] = ()
    """Of a private training that was asked for some, by player."""
    federation: FederationRecord | None = None
    """None: trained in one place."""


class Spending(Protocol):
    """The ledger, as far as a strategy sees it: asked once, before the records are."""

    def reserve(self, mechanisms: tuple[Mechanism, ...]) -> None:
        """Everything that will bound what leaves by training; nothing at all where nothing does."""
        ...


class Strategy(Protocol):
    """Owns the way from records to weights. `Plain`, `Private`; `Federated` wraps either."""

    def recipe(self, generator: Generator) -> Recipe:
        """The model's defaults under this strategy."""
        ...

    def fit(
        self,
        generator: Generator,
        dataset: Dataset,
        recipe: Recipe,
        *,
        seed: int,
        device: torch.device,
        report: Callable[[Progress], None],
        conduct: Conduct = ...,
    ) -> Outcome:
        """Trains in place."""
        ...


def smoothed_shares(counts: np.ndarray) -> np.ndarray:
    """Counts as shares that sum to 1 and are never 0: noise can make a count negative, and a logarithm follows."""
    floored = np.maximum(counts, 0.0) + 0.5
    return np.asarray(floored / floored.sum(), dtype=np.float64)
