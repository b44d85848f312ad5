"""What everybody may know of a federated training. It holds no record and no secret; the schema travels in place of statistics."""

from __future__ import annotations

from typing import Any, Literal

import torch

from ...data.codec import Codec
from ...data.modality import modality
from ...vocabulary.documents import canonical_json, sha256_of
from ...vocabulary.frozen import Frozen
from ...vocabulary.schema import Schema
from ...vocabulary.seeds import entropy
from ...vocabulary.spec import FederationSpec, GeneratorSpec, LearningSettings, PrivacySpec, TrainingSpec
from ..contract import Generator
from ..model import build, floor_of


class Job(Frozen):
    generator: GeneratorSpec
    learning: LearningSettings
    privacy: PrivacySpec | None
    federation: FederationSpec
    records: Schema
    """The schema of the records, which is public under privacy."""
    seed: int
    """Public streams only."""
    training: str = ""
    """Name of this training, by which clients know it again once the server was started again; empty where they keep nothing."""

    @classmethod
    def of(
        cls,
        generator: GeneratorSpec,
        training: TrainingSpec,
        privacy: PrivacySpec | None,
        federation: FederationSpec,
        records: Schema,
        seed: int,
    ) -> Job:
        learning = LearningSettings(**{name: getattr(training, name) for name in LearningSettings.model_fields})
        return cls(generator=generator, learning=learning, privacy=privacy, federation=federation, records=records, seed=seed)

    @property
    def key(self) -> str:
        return sha256_of(canonical_json(self.model_dump(mode="json")))

    @property
    def local_privacy(self) -> PrivacySpec | None:
        """What a client's own training is bound to; None where nobody's is, or the server protects whole clients."""
        return self.privacy if self.federation.level == "record" else None

    @property
    def guards_clients(self) -> bool:
        return self.privacy is not None and self.federation.level == "client"

    @property
    def shares_only(self) -> bool:
        """Whether the floor is the family that needs no more than shares: others would cost more, or could not be added under masks."""
        return self.privacy is not None or self.federation.secure_aggregation

    @property
    def codec(self) -> Codec:
        return modality(self.records.modality).codec(self.records)

    def built(self) -> tuple[Generator, Generator]:
        """The model and the floor with the initial weights that server and clients all start from."""
        codec: Codec = self.codec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(entropy(self.seed, "initial weights") % 2**63)
            return build(self.generator, codec), build(floor_of(codec, private=self.shares_only), codec)

    @property
    def weights(self) -> Literal["uniform", "counts"]:
        """By records unless said otherwise; where clients are the unit all alike."""
        return "uniform" if self.guards_clients else self.federation.weights or "counts"

    def document(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
