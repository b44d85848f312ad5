"""What a codec lands in and a generator lives on: the shape of a space, without the records and without the codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TokenSpace:
    """One token per column, each column with a vocabulary of its own: records are int64 (records, columns)."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    """Tokens of column j are 0 … sizes[j] - 1."""


@dataclass(frozen=True)
class Block:
    """Consecutive entries of a vector that belong together: `choice`, one of `size`; `real`, one number in [0, 1]."""

    column: str
    kind: Literal["choice", "real"]
    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class VectorSpace:
    """Records are float32 (records, width); the blocks lie end to end."""

    blocks: tuple[Block, ...]

    @property
    def width(self) -> int:
        return self.blocks[-1].stop if self.blocks else 0
