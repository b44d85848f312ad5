"""What a codec lands in and a generator lives on: the shape of a space, without the records and without the codec.

Every space also says what its records may be conditioned on: `conditions` holds, per condition (the class of an image, the
style of a drawing), how many values it can take. A record's conditions are int64 tokens beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

SpaceKind = Literal["tokens", "vector", "image", "series"]


@dataclass(frozen=True)
class TokenSpace:
    """One token per position: records are int64 (records, positions).

    A table row has one position per column, each with a vocabulary of its own. A sequence (text, music, pixels, quantised
    series) shares one vocabulary between its positions, and may end before its last position.
    """

    names: tuple[str, ...]
    """What stands at each position: the column; in a sequence the field, which repeats (the voice, the colour)."""
    sizes: tuple[int, ...]
    """Tokens at position j are 0 … sizes[j] - 1."""
    shared: bool = False
    """A token means the same at every position; all sizes are equal."""
    end: int | None = None
    """Shared vocabularies only: the token that ends a record. It fills the positions after the end, which count for nothing."""
    conditions: tuple[int, ...] = ()
    kind: ClassVar[SpaceKind] = "tokens"

    @property
    def length(self) -> int:
        return len(self.sizes)


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
    conditions: tuple[int, ...] = ()
    kind: ClassVar[SpaceKind] = "vector"

    @property
    def width(self) -> int:
        return self.blocks[-1].stop if self.blocks else 0


@dataclass(frozen=True)
class ImageSpace:
    """Records are float32 (records, channels, height, width) in [-1, 1]."""

    channels: int
    height: int
    width: int
    conditions: tuple[int, ...] = ()
    kind: ClassVar[SpaceKind] = "image"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.height, self.width)


@dataclass(frozen=True)
class SeriesSpace:
    """Records are float32 (records, steps, width): the channels' values in [-1, 1], then, where cells may be missing or a
    record may be shorter than `steps`, one mark per channel: 1 where the value was observed, -1 where it was not (its value
    is 0 then)."""

    channels: tuple[str, ...]
    steps: int
    marked: bool = False
    conditions: tuple[int, ...] = ()
    kind: ClassVar[SpaceKind] = "series"

    @property
    def width(self) -> int:
        return len(self.channels) * (1 + self.marked)


Space = TokenSpace | VectorSpace | ImageSpace | SeriesSpace
