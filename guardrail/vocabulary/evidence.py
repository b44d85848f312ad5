"""What an audit may look at, and what an audit is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from .canaries import CanaryRecord
from .finding import Finding
from .monitor import MonitorRecord
from .receipt import ClientServed, Receipt
from .schema import Schema

Need = Literal[
    "train",
    "holdout",
    "synthetic",
    "receipt",
    "target",
    "sensitive",
    "marks",
    "log_likelihood",
    "monitor",
    "update_attack",
    "served",
]


@dataclass(frozen=True)
class Evidence:
    """Tables are frames cast to the schema's kinds: same columns, same order, one missing value (NaN, NaT, None)."""

    schema: Schema
    train: pd.DataFrame | None = None
    holdout: pd.DataFrame | None = None
    """Real records the generator never saw. None: what needs one is not assessable; train is never silently split."""
    synthetic: pd.DataFrame | None = None
    synthetic_valid: np.ndarray | None = None
    """(rows,) bool: which synthetic rows obeyed the schema as they came, before the cast made the rest missing."""
    floor: pd.DataFrame | None = None
    """Rows of the floor model (independent marginals under the same privacy), shown beside the generator's."""
    receipt: Receipt | None = None
    marks: dict[str, str] = field(default_factory=dict)
    """State of the manifest of each sample file: `proven`, `absent`, `tampered`, `untrusted`."""
    log_likelihood: Callable[[pd.DataFrame], np.ndarray] | None = None
    """The released model's log-density per record, (rows,), where we have the model and it offers one."""
    floor_likelihood: Callable[[pd.DataFrame], np.ndarray] | None = None
    """The same of the floor; comparable where both live on tokens."""
    monitor: MonitorRecord | None = None
    """What was seen of the training, where it was watched."""
    canaries: tuple[CanaryRecord, ...] = ()
    """What became of the canaries of a private training, by player."""
    update_attack: Callable[[int, np.random.Generator], np.ndarray] | None = None
    """Of a federation: attacks the updates of so many clients with one training record each, (records, 2) decibels: of what it makes
    of the update, and of the mean of the record's class."""
    served: tuple[ClientServed, ...] | None = None
    """What the clients of a federation say of the model."""
    modality: str = "tabular"
    hashes: dict[str, str] = field(default_factory=dict)
    """Artifact hashes by role; findings cite them."""

    def lacks(self, need: Need) -> str | None:
        """Why `need` is not met, or None."""
        if need == "target":
            return None if self.schema.target else "no target column was named (--target, or `target:` in the schema)"
        if need == "sensitive":
            return None if self.schema.sensitive else "no sensitive column was named (--sensitive, or `sensitive:` in the schema)"
        if need == "marks":
            return None if self.marks else "no sample file was examined for a manifest"
        if getattr(self, need) is not None:
            return None
        if need == "served":
            return self._unserved()
        return {
            "train": "no training data was given",
            "holdout": "no holdout was given: real records that the generator never saw",
            "synthetic": "no synthetic data was given",
            "receipt": "no training receipt: these samples come from elsewhere",
            "log_likelihood": "no model of ours that gives probabilities",
            "monitor": self._unwatched(),
            "update_attack": "no update of a client to attack: trained in one place, or by a family that sends none",
        }[need]

    def _unserved(self) -> str:
        if self.receipt is None or self.receipt.federation is None:
            return "no clients who could say how they are served: trained in one place"
        if self.receipt.privacy is not None:
            return "under privacy what a client's records say of the model stays with the client: nobody paid for it"
        return "the clients did not say how the model serves them"

    def _unwatched(self) -> str:
        if self.receipt is None:
            return "no monitor record: these samples come from elsewhere"
        if self.receipt.privacy is not None:
            return "no monitor record: private training is not watched, every look at the records would be one that nobody paid for"
        return "no monitor record: the training was not watched, or the family learns in closed form"

    def unmet(self, needs: Iterable[Need]) -> str:
        """Why each of `needs` that is not met is not; empty where all are."""
        return "; ".join(reason for need in needs if (reason := self.lacks(need)))

    def floor_rows(self, rng: np.random.Generator) -> pd.DataFrame:
        """The floor model's rows, or else train with every column shuffled by itself (same marginals, no dependence)."""
        if self.floor is not None:
            return self.floor
        if self.train is None:
            raise ValueError("the floor needs train")
        shuffled = {name: column.iloc[rng.permutation(len(column))].reset_index(drop=True) for name, column in self.train.items()}
        return pd.DataFrame(shuffled)  # each column keeps its kind


@runtime_checkable
class Audit(Protocol):
    """A frozen dataclass whose first docstring line is the question a reader would ask, then its settings, then measure()."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    needs: ClassVar[tuple[Need, ...]]
    modalities: ClassVar[tuple[str, ...]]

    def measure(self, evidence: Evidence, rng: np.random.Generator) -> tuple[Finding, ...]:
        """One finding per metric. What cannot be computed is a finding `not_assessable`; only misuse raises."""
        ...
