"""Units of privacy with several records each: drawn, measured and clipped as one.

A unit's loss is the mean of its records' losses, so its gradient is the mean of theirs, and that is what is clipped: whoever has more
records than others moves a step no further than they.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .contract import Batch


@dataclass(frozen=True)
class Units:
    """Indexed and split by unit, like a batch by record."""

    records: Batch
    of: Tensor
    """(units, most) int64: each unit's records; one with fewer than `most` repeats its first."""
    weights: Tensor
    """(units, most): a unit's sum to 1, and repeats have 0."""

    @classmethod
    def grouped(cls, records: Batch, owners: np.ndarray) -> Units:
        """`owners`: (records,) int, whose each is."""
        _, codes, counts = np.unique(owners, return_inverse=True, return_counts=True)
        order, starts = np.argsort(codes, kind="stable"), np.cumsum(counts) - counts
        places = np.arange(counts.max())[None]
        there = places < counts[:, None]
        of = order[starts[:, None] + np.where(there, places, 0)]
        device = records.x.device
        return cls(
            records, torch.from_numpy(of).to(device), torch.from_numpy(there / counts[:, None]).to(device, torch.get_default_dtype())
        )

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, index: Any) -> Units:
        return Units(self.records, self.of[index], self.weights[index])

    def split(self, size: int) -> Iterator[Units]:
        return (self[start : start + size] for start in range(0, len(self), size))

    @property
    def device(self) -> torch.device:
        return self.of.device

    @property
    def each(self) -> int:
        """Records of a unit, repeats included."""
        return self.of.shape[1]

    @property
    def batch(self) -> Batch:
        """(units x each) records, unit by unit."""
        return self.records[self.of.flatten()]

    def joined(self, losses: Tensor) -> Tensor:
        """(units x each,) losses of the batch -> (units,)."""
        return (losses.view(len(self), self.each) * self.weights.to(losses)).sum(1)


def shares_of(owners: np.ndarray | None, records: int) -> np.ndarray:
    """(records,): each record's part in its unit, so that a unit counts as one."""
    if owners is None:
        return np.ones(records)
    _, codes, counts = np.unique(owners, return_inverse=True, return_counts=True)
    shares: np.ndarray = 1 / counts[codes]
    return shares
