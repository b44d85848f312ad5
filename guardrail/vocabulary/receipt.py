"""The receipt of a training: every mechanism that touched the records, and what they cost together.

Covered: everything that leaves by training (noisy counts, noisy gradients, a noisy record count).
Not covered: what audits print, since they read private records; other releases from the same data (the ledger adds
those up). Public seeds only: the streams of noise and sampling are secret and never stored.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from .frozen import Frozen


class GaussianQuery(Frozen):
    """One query answered with Gaussian noise; std = noise_multiplier x sensitivity."""

    kind: Literal["gaussian"] = "gaussian"
    what: str
    sensitivity: float = Field(gt=0, description="L2, under the receipt's neighbouring relation")
    noise_multiplier: float = Field(gt=0)


class SampledGaussian(Frozen):
    """DP-SGD: clipped per-record gradients of a Poisson-sampled batch, summed, with Gaussian noise, `steps` times."""

    kind: Literal["sampled_gaussian"] = "sampled_gaussian"
    what: str
    noise_multiplier: float = Field(gt=0)
    sample_rate: float = Field(gt=0, le=1)
    steps: int = Field(ge=0)
    clip: float = Field(gt=0)
    normaliser: float | None = Field(
        default=None, gt=0, description="public expected batch size that divides the noisy sum; null until a record count is measured"
    )


Mechanism = Annotated[GaussianQuery | SampledGaussian, Field(discriminator="kind")]


class PrivacyClaim(Frozen):
    """(epsilon, delta)-differential privacy of the released model and everything drawn from it."""

    epsilon: float = Field(ge=0)
    """By the PRV accountant, an upper bound at `delta`."""
    epsilon_rdp: float = Field(ge=0)
    """The same mechanisms by Rényi accounting, for comparison."""
    delta: float = Field(gt=0, lt=1)
    unit: str
    """`row`, or the column that names the person."""
    relation: Literal["add-or-remove one unit"] = "add-or-remove one unit"
    rows_per_unit: int = 1
    mechanisms: tuple[Mechanism, ...]
    records_public: float
    """The record count used in public places (normaliser, sampling rate): declared, or measured with noise."""
    records_source: Literal["declared public", "measured under DP"]
    noise: Literal["secure", "seeded"]
    schema_sources: dict[str, str]
    """Where the knowledge of each column comes from, and who declared it public."""

    @property
    def bounded_by(self) -> str:
        """How much of a unit there may be."""
        if self.unit == "client":
            return "with all its records"
        return f"at most {self.rows_per_unit} row{'s' if self.rows_per_unit > 1 else ''} each"

    @property
    def valid(self) -> bool:
        """Seeded noise is for tests: whoever knows the seed removes it, so there is no claim."""
        return self.noise == "secure"


MOST_GROUPS = 100
"""In a client's word."""


class Shortfall(Frozen):
    value: float
    low: float
    high: float


class ClientServed(Frozen):
    """How well the common model serves one client, as that client measured it."""

    client: int
    shortfall: float
    """Mean total variation distance of its records from samples, column by column, beyond that of samples from samples."""
    low: float
    high: float
    groups: Annotated[dict[str, Annotated[dict[str, Shortfall], Field(max_length=MOST_GROUPS)]], Field(max_length=MOST_GROUPS)] = {}
    """The same within this client, by sensitive attribute and its value; groups that are too small to say are not in it."""

    def most_unequal(self) -> tuple[str, str, str] | None:
        """The sensitive attribute whose groups are served most unequally, its value that is served best, and the one served worst."""
        extremes = [
            (name, min(groups, key=lambda value: groups[value].value), max(groups, key=lambda value: groups[value].value))
            for name, groups in self.groups.items()
            if len(groups) > 1
        ]
        return max(extremes, key=lambda found: self.groups[found[0]][found[2]].value - self.groups[found[0]][found[1]].value, default=None)


class FederationRecord(Frozen):
    """How a federated training went. Whom it protects from whom is for the card to say."""

    clients: int
    rounds: int
    strategy: str
    players: Literal["all", "readers"]
    weights: Literal["uniform", "counts"]
    sample: float
    """Share of the clients asked in a round."""
    level: Literal["record", "client"] | None
    """Whose epsilon the claim is; null without privacy."""
    secure_aggregation: bool
    simulated: bool
    """On one machine: then nothing was kept from anybody, and only the computation is that of a federation."""
    participants: tuple[int, ...]
    """Updates that went into each round; of level client a secret, and empty."""
    left_out: dict[str, tuple[str, ...]]
    """Clients whose answers could not be used, by number, and why; of level client a secret, and empty."""
    served: tuple[ClientServed, ...] = ()
    """Of tables without privacy; under it every client keeps to itself what nobody paid for."""


class Receipt(Frozen):
    generator: str
    strategy: Literal["plain", "private"]
    seed: int
    """The public streams only: initialisation and split."""
    data: str
    """Keyed fingerprint of the source before splitting."""
    trained_rows: int | None
    """Rows in the training part; null under privacy, where it is not public."""
    epochs: int
    batch_size: int
    steps: int
    learning_rate: float
    device: str
    parameters: int
    privacy: PrivacyClaim | None
    """None: trained without privacy."""
    federation: FederationRecord | None = None
    """None: trained in one place."""
    ledger: str | None = None
    """The ledger's entry of this training, as `home-id/entry`: what paid, or that no epsilon bounds it."""
    started: AwareDatetime
    seconds: float
    versions: dict[str, str]

    @property
    def served(self) -> tuple[ClientServed, ...] | None:
        """None where no client said how the model serves it."""
        return (self.federation.served or None) if self.federation else None
