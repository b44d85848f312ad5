"""What the monitor saw of a training without privacy: the evidence of the audits of stability, mode collapse and duality gap."""

from __future__ import annotations

from pydantic import Field

from .frozen import Frozen

Curve = tuple[tuple[int, float], ...]
"""(step, value), by step; finite values only, thinned to at most 200 points."""


class MonitorModes(Frozen):
    """Clusters of the training records, looked for among samples of the finished model."""

    found: int = Field(ge=0)
    """Clusters that got at least a tenth of their expected share."""
    total: int = Field(gt=0)
    n_samples: int = Field(gt=0)


class MonitorRecord(Frozen):
    steps: int = Field(ge=0)
    """Of the training."""
    losses: dict[str, Curve] = {}
    """By player."""
    gradient_norms: dict[str, Curve] = {}
    """By player: the norm of a step's whole gradient, before any bound on it."""
    dead_units: float | None = None
    """Share of the rectified units that gave nothing on a whole batch at the last look; None: there are none to look at."""
    win_rate: Curve = ()
    """How often the critic scores a record above a sample; of adversarial families."""
    diagnostics: dict[str, Curve] = {}
    """What else the family tells of itself, by name."""
    modes: Curve = ()
    """Share of the clusters found."""
    mode_counts: MonitorModes | None = None
    """At the end of training."""
    duality_gap: Curve = ()
    """In the units of the game's value: what the worst opponent of each side gains over the present one, summed; 0 at a Nash
    equilibrium."""
    duality_reference: float | None = None
    """The gap of the untrained players, before the first step."""
    warnings: tuple[str, ...] = ()
    """What was said while training."""
    lost: int = Field(default=0, ge=0)
    """Steps whose loss was not a finite number."""
