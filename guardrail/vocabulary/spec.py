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
    kind: Literal["iid", "dirichlet", "by_column", "files"] = "iid"
    by: str | None = None
    alpha: float = Field(default=0.5, gt=0)


class FederationSpec(Frozen):
    clients: int = Field(default=10, gt=0)
    rounds: int = Field(default=20, gt=0)
    strategy: str = "fedavg"
    partition: Partition = Partition()
    secure_aggregation: bool = False
    level: Literal["record", "client"] = "record"


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
