"""The spec: one YAML file that says everything about a run. Unknown keys are refused with the nearest known one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from .frozen import Frozen
from .report import Audience


class DataSpec(Frozen):
    source: str
    """CSV or Parquet file, or `builtin:adult`; relative to the spec."""
    schema_: str | None = Field(default=None, alias="schema")
    """Schema file; built-in data bring their own. None: drafted from the records, which a private run refuses."""
    unit: str | None = None
    target: str | None = None
    sensitive: tuple[str, ...] | None = None
    """These three override the schema's."""
    holdout: float = Field(default=0.2, ge=0, lt=1)
    """Share of the units kept from training, for audits."""
    on_error: Literal["fail", "skip", "clip"] = "fail"
    """Rows that contradict the schema: stop; leave them out; or move values to the nearest allowed one."""
    parent: str | None = None
    """Fingerprint of the data set this one was made from by editing or dropping rows."""


class GeneratorSpec(Frozen):
    name: str = "made"
    options: dict[str, Any] = {}


class LearningSettings(Frozen):
    """Settings that change what is learned, and under privacy the claim. None: the generator's recipe."""

    epochs: int | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, gt=0, description="under privacy: the expected size of a Poisson-sampled batch")
    learning_rate: float | None = Field(default=None, gt=0)
    clip: float | None = Field(default=None, gt=0, description="bound on one record's gradient norm; used under privacy only")
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] | None = None
    weight_decay: float | None = Field(default=None, ge=0)
    schedule: Literal["cosine", "linear", "constant"] | None = Field(default=None, description="of the learning rate")
    warmup: float | None = Field(default=None, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    average: float | None = Field(default=None, ge=0, lt=1, description="decay of the moving average of the weights; 0: the last weights")
    max_norm: float | None = Field(default=None, gt=0, description="bound on the norm of a step's gradient; used without privacy only")


class SpeedSettings(Frozen):
    """Settings that change speed, memory and what is looked at, not what is learned, and can touch no claim."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="auto: bfloat16 on a GPU that has it")
    compile: bool = Field(default=False, description="compile the losses, where there is a compiler; without privacy only")
    micro_batch: int | None = Field(default=None, gt=0, description="records per backward pass, where a batch does not fit into memory")
    checkpoint_seconds: float = Field(default=60, ge=0, description="how often a training without privacy is saved, to go on after a kill")
    preview_every: int | None = Field(default=None, gt=0, description="steps between sample pictures; None: ten in a training")
    monitor: bool | None = Field(default=None, description="watch for instability and mode collapse; None: without privacy only")


class TrainingSpec(LearningSettings, SpeedSettings):
    pass


class PrivacySpec(Frozen):
    """The only place epsilon stands. Absent: not private, and the card says so."""

    epsilon: float = Field(gt=0, le=1000)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    records: int | None = Field(default=None, gt=0)
    """Public number of units (rows, or persons) in the source; None: counted under DP and charged."""
    rows_per_unit: int = Field(default=4, gt=0, le=64)
    """Where a person has several rows, or a document several pieces, at most so many count; they are clipped together."""
    schema_epsilon: float = Field(default=0, ge=0)
    noise: Literal["secure", "seeded"] = "secure"
    canaries: int = Field(default=2000, ge=0, le=100_000)
    """Contributions of nobody, per player and per answer, by which the audit `claim` attacks what the receipt says. They lie beside the
    model, not in it; 0: none, and the claim is not attacked."""

    @model_validator(mode="after")
    def _schema_share(self) -> PrivacySpec:
        if self.schema_epsilon >= self.epsilon:
            raise ValueError("schema_epsilon is part of epsilon and must be smaller")
        return self


class Partition(Frozen):
    """Who has which records, in a simulation."""

    kind: Literal["iid", "dirichlet", "by_column", "files"] = "iid"
    """Evenly; by shares of every value of `by` drawn from a Dirichlet distribution (Hsu et al. 2019, arXiv 1909.06335); every value of
    `by` with one client; or one file of the folder `data.source` each."""
    by: str | None = None
    alpha: float = Field(default=0.5, gt=0)
    """Of dirichlet: the smaller, the more of a value lies with few clients."""

    @model_validator(mode="after")
    def _column(self) -> Partition:
        if self.kind in ("dirichlet", "by_column") and self.by is None:
            raise ValueError(f"partition {self.kind} needs a column: by: NAME")
        return self


RANKING = ("fedmedian", "krum", "trimmed_mean")
"""Strategies that look at single updates."""


MOST_MASKED = 2**14 - 1
"""With so many numbers of 50 bits a sum stays within 64."""


class FederationSpec(Frozen):
    """Training on records that stay where they are. Whose the epsilon of `privacy` is, `level` says."""

    clients: int = Field(default=10, gt=0, le=100_000)
    rounds: int = Field(default=20, gt=0)
    strategy: Literal["fedavg", "fedprox", "fedadam", "fedmedian", "krum", "trimmed_mean"] = "fedavg"
    partition: Partition = Partition()
    secure_aggregation: bool = False
    level: Literal["record", "client"] = "record"
    players: Literal["all", "readers"] = "all"
    """What clients train and send: every player; or those that see records, while the server trains the others (a GAN's generator)."""
    weights: Literal["uniform", "counts"] | None = None
    """Of a client in the average: the same for all, or by its records, up to 10 times the median; under privacy of records by its noisy
    count of them, which is paid for. None: counts; of level client uniform."""
    sample: float = Field(default=1.0, gt=0, le=1)
    """Share of the clients in a round, each drawn by itself and in secret."""
    quorum: float = Field(default=0.5, gt=0, le=1)
    """Share of those asked that have to answer, else the training stops."""
    deadline_seconds: float = Field(default=600, gt=0)
    """How long a round waits."""
    clip: float = Field(default=1.0, gt=0)
    """Of level client: bound on the norm of one client's update."""
    proximal: float = Field(default=0.01, gt=0)
    """Of fedprox: how strongly steps are drawn back to the round's beginning."""
    byzantine: int = Field(default=1, ge=0)
    """Of krum and trimmed_mean: how many clients may be malicious."""

    @model_validator(mode="after")
    def _fits(self) -> FederationSpec:
        if self.secure_aggregation and self.strategy in RANKING:
            raise ValueError(
                f"strategy {self.strategy} ranks single updates, and under secure_aggregation nobody sees one; use fedavg, fedprox or "
                "fedadam, or leave secure_aggregation out"
            )
        if self.secure_aggregation and not 3 <= self.clients <= MOST_MASKED:
            raise ValueError(f"secure_aggregation is for 3 to {MOST_MASKED:,} clients: the sum of two tells each the other's part")
        if self.level == "client" and self.strategy in (*RANKING, "fedadam"):
            raise ValueError(
                f"level client lays noise on the sum of updates, which strategy {self.strategy} does not form; use fedavg or fedprox"
            )
        need = {"krum": 2 * self.byzantine + 3, "trimmed_mean": 2 * self.byzantine + 1}.get(self.strategy, 1)
        if self.clients * self.sample < need:
            raise ValueError(
                f"strategy {self.strategy} against {self.byzantine} malicious clients needs at least {need} clients in a round"
            )
        return self


class SampleSpec(Frozen):
    n: int | None = Field(default=None, gt=0)
    """Rows to draw; None: as many as the public record count, or the training part."""
    marks: tuple[Literal["manifest", "watermark"], ...] = ("manifest",)


class AuditSpec(Frozen):
    only: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    audience: Audience = "internal"


class Spec(Frozen):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = Field(default=0, ge=0)
    """The public streams only."""
    data: DataSpec
    generator: GeneratorSpec = GeneratorSpec()
    training: TrainingSpec = TrainingSpec()
    privacy: PrivacySpec | None = None
    federation: FederationSpec | None = None
    sample: SampleSpec = SampleSpec()
    audit: AuditSpec = AuditSpec()
    policy: str = "release"
    card: str | None = None

    @model_validator(mode="after")
    def _federated_privacy(self) -> Spec:
        federation, privacy = self.federation, self.privacy
        if federation is None:
            return self
        if federation.level == "client" and federation.weights == "counts":
            raise ValueError("federation.weights counts: where clients are the unit, a client's number of records is a secret; use uniform")
        if privacy is not None and privacy.schema_epsilon:
            raise ValueError("privacy.schema_epsilon: in a federation the schema travels in place of statistics, so it has to be public")
        if privacy is not None and federation.level == "record" and self.training.batch_size is not None:
            raise ValueError("training.batch_size: no client's number of records is public, so a batch is a share of them; leave it out")
        if privacy is None and federation.level == "client":
            raise ValueError("federation.level client says whose epsilon it is, and there is none; add a section privacy")
        if federation.level == "client" and self.sample.n is None:
            raise ValueError("sample.n: of a model that protects clients nobody may know how many records it saw; say how many to draw")
        return self
