"""What became of the canaries of a private training: the evidence of the audit that attacks its claim."""

from __future__ import annotations

from pydantic import Field, model_validator

from .frozen import Frozen


class CanaryRecord(Frozen):
    """Canaries are contributions that no person stands behind, each in an entry of its own that nothing else reaches. A fair secret
    coin decides which take part; those are sampled and clipped like records."""

    what: str
    """The mechanism they took part in, as the receipt names it."""
    where: str
    """The weight beside whose entries theirs lie, or what was counted."""
    included: tuple[bool, ...]
    scores: tuple[float, ...]
    """Per canary, in clips (of a count: in sensitivities): what left with noise in its entry, summed over all steps. Free of records."""
    total_variation: float = Field(default=1.0, ge=0, le=1)
    """Of the whole mechanism with one unit more or less, an upper bound by the accountant that computed the receipt's epsilon: who
    guesses a coin is right with probability at most (1 + this) / 2. At 1 nothing can be refuted."""

    @model_validator(mode="after")
    def _pairs(self) -> CanaryRecord:
        if len(self.included) != len(self.scores):
            raise ValueError(f"{len(self.included)} coins for {len(self.scores)} scores")
        return self


class CanaryRecords(Frozen):
    """Of one training: the file canaries.json."""

    canaries: tuple[CanaryRecord, ...]
