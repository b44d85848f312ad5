"""What is public about the content of a record that is no table row: the image, the text, the piece of music, the series.

A schema has one of these under the name of its modality; its `columns` then describe what is known beside the content (a
class, a writer, a season).

    modality: image                             modality: text
    declared_by: camera manual                  declared_by: this project
    target: digit                               unit: author
    image: {height: 28, width: 28}              text: {vocabulary: characters, length: 128, alphabet: " abc…"}
    columns: {digit: {kind: categorical, …}}    columns: {}
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from .frozen import Frozen

Modality = Literal["tabular", "image", "text", "music", "series"]
Source = Literal["public", "private-paid", "data"]


class _Content(Frozen):
    column: ClassVar[str]
    """The column of a frame that holds the content."""

    source: Source = "public"
    declared_by: str = ""
    """Who declared it public; the schema's own `declared_by` where empty."""


class ImageContent(_Content):
    """Pixels: a cell is a uint8 array (height, width, channels). Images of another size are resized, antialiased."""

    column = "image"
    height: int = Field(ge=1, le=1024)
    width: int = Field(ge=1, le=1024)
    channels: Literal[1, 3] = 1
    levels: int = Field(default=16, ge=2, le=256, description="grey levels of a channel where pixels become tokens")


class TextContent(_Content):
    """Text: a cell is a str. Documents of more than `length` tokens are cut into pieces."""

    column = "text"
    vocabulary: Literal["bytes", "characters", "bpe"] = "bytes"
    length: int = Field(default=128, ge=2, le=8192, description="tokens of a piece, its end included")
    alphabet: str | None = Field(default=None, min_length=1, description="`characters`: those that have a token; others share one")
    merges: tuple[str, ...] | None = Field(default=None, description="`bpe`: the merges in their order, `left right`, in byte letters")

    @model_validator(mode="after")
    def _vocabulary_is_there(self) -> TextContent:
        if self.vocabulary == "characters" and not self.alphabet:
            raise ValueError("vocabulary: characters needs an alphabet: the characters that have a token of their own")
        if self.alphabet and len(set(self.alphabet)) < len(self.alphabet):
            twice = next(letter for letter in self.alphabet if self.alphabet.count(letter) > 1)
            raise ValueError(f"the alphabet lists {twice!r} twice")
        if self.vocabulary == "bpe" and self.merges is None:
            raise ValueError("vocabulary: bpe needs its merges; guardrail.data.text.drafted_merges learns them from texts")
        return self


class MusicContent(_Content):
    """Music: a cell is an int array. `grid`: (steps, voices) MIDI pitches at even steps, 0 a rest. `events`: (notes, 4) rows of
    onset and length in milliseconds, pitch, velocity."""

    column = "notes"
    encoding: Literal["grid", "events"] = "events"
    voices: tuple[str, ...] = Field(default=("voice",), min_length=1, description="`grid`: the voices, from the highest")
    low: int = Field(default=21, ge=1, le=127, description="lowest MIDI pitch")
    high: int = Field(default=108, ge=1, le=127, description="highest MIDI pitch")
    length: int = Field(default=128, ge=2, le=8192, description="`grid`: steps of a piece; `events`: tokens of a piece, its end included")
    steps_per_quarter: int = Field(default=4, ge=1, le=48, description="`grid`: steps to a quarter note")
    quarter_ms: int = Field(default=600, ge=100, le=4000, description="`grid`: length of a quarter note in milliseconds when written")

    @model_validator(mode="after")
    def _ascends(self) -> MusicContent:
        if self.low > self.high:
            raise ValueError(f"low {self.low} must not exceed high {self.high}")
        if len(set(self.voices)) != len(self.voices):
            raise ValueError("a voice is listed twice")
        return self


class Channel(Frozen):
    """One measured quantity of a series."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ascends(self) -> Channel:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must be less than high {self.high}")
        return self


class SeriesContent(_Content):
    """A time series: a cell is a float array (steps, channels), NaN where nothing was measured; shorter ones end early."""

    column = "values"
    channels: dict[str, Channel] = Field(min_length=1)
    steps: int = Field(ge=2, le=8192, description="the longest series; longer ones are cut into pieces")
    missing: bool = False
    """Values may be missing."""
    variable: bool = False
    """Series may be shorter than `steps`."""
    levels: int = Field(default=32, ge=2, le=1024, description="levels of a channel where values become tokens")


Content = ImageContent | TextContent | MusicContent | SeriesContent
