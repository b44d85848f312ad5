"""A trained model: generator, floor, codec and receipt, enough to draw from it and to save and load it without pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..data.codec import Codec
from ..data.modality import modality
from ..privacy_accounting.receipts import read_receipt
from ..vocabulary import documents
from ..vocabulary.errors import ArtifactError, SpecError
from ..vocabulary.frozen import parse
from ..vocabulary.monitor import MonitorRecord
from ..vocabulary.plugins import resolve, table
from ..vocabulary.receipt import Receipt
from ..vocabulary.schema import Schema
from ..vocabulary.seeds import entropy, stream
from ..vocabulary.spaces import SpaceKind
from ..vocabulary.spec import GeneratorSpec
from .contract import Batch, Generator

CHUNK = 8192


@dataclass(frozen=True)
class Model:
    """What a training leaves."""

    family: GeneratorSpec
    generator: Generator
    floor: Generator
    codec: Codec
    receipt: Receipt

    classes: tuple[np.ndarray, ...] = ()
    """Per condition the shares of the classes in the training data: what a conditional model draws from where nothing is asked."""
    monitor: MonitorRecord | None = None
    """What was seen of its training, where it was watched; not part of what `load` reads."""

    def sample(self, n: int, *, seed: int = 0, given: Tensor | None = None) -> pd.DataFrame:
        """`n` records; the same seed gives the same ones.

        Args:
            given: (n, conditions) int64 for a conditional model; None: classes by their shares in the training data.
        """
        return self._records(self.generator, n, seed, "sample", given)

    def sample_floor(self, n: int, *, seed: int = 0) -> pd.DataFrame:
        """`n` records of the floor: independent columns, or a Markov chain."""
        return self._records(self.floor, n, seed, "floor", None)

    def _records(self, generator: Generator, n: int, seed: int, name: str, given: Tensor | None) -> pd.DataFrame:
        rng = torch.Generator().manual_seed(entropy(seed, name) % 2**63)
        draws = stream(seed, f"{name}/decode")
        if generator.conditional and given is None:
            given = torch.from_numpy(np.stack([draws.choice(len(shares), n, p=shares) for shares in self.classes], axis=1))
        with torch.no_grad():
            parts = [
                generator.sample(min(CHUNK, n - start), rng, None if given is None else given[start : start + CHUNK])
                for start in range(0, n, CHUNK)
            ]
        encoded = np.concatenate([part.numpy() for part in parts])
        frame = self.codec.decode(encoded, space_of(generator, self.codec), draws)
        return frame if given is None else pd.concat([frame, self.codec.decode_conditions(given.numpy(), draws)], axis=1)

    def can(self, ability: str) -> bool:
        """Whether the family offers it: `sample`, `where`, `prompt`, `impute`, `translate` …"""
        return ability in table("generators")[self.family.name].abilities

    def translate(self, frame: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
        """Each record in the other style, or completed by the part that belongs to its source."""
        rng, draws = torch.Generator().manual_seed(entropy(seed, "translate") % 2**63), stream(seed, "translate/decode")
        with torch.no_grad():
            parts = [self.generator.translate(part, rng) for part in encode(self.codec, frame, self.generator).split(CHUNK)]
        return self._decoded(parts, draws)

    def complete(self, frame: pd.DataFrame, known: np.ndarray, *, seed: int = 0) -> pd.DataFrame:
        """Records in which what is known stays and the rest is drawn.

        Args:
            known: bool, in the shape of the encoded records.
        """
        records = encode(self.codec, frame, self.generator)
        return self.complete_encoded(records, torch.from_numpy(known), seed=seed)

    def complete_encoded(self, records: Batch, known: Tensor, *, seed: int = 0) -> pd.DataFrame:
        rng, draws = torch.Generator().manual_seed(entropy(seed, "complete") % 2**63), stream(seed, "complete/decode")
        with torch.no_grad():
            parts = [self.generator.complete(part, mask, rng) for part, mask in zip(records.split(CHUNK), known.split(CHUNK), strict=True)]
        return self._decoded(parts, draws)

    def anomaly_score(self, frame: pd.DataFrame) -> np.ndarray:
        """(records,): higher is stranger."""
        with torch.no_grad():
            return np.concatenate(
                [self.generator.anomaly_score(part).numpy() for part in encode(self.codec, frame, self.generator).split(CHUNK)]
            )

    def _decoded(self, parts: list[Tensor], draws: np.random.Generator) -> pd.DataFrame:
        encoded = np.concatenate([part.numpy() for part in parts])
        return self.codec.decode(encoded, space_of(self.generator, self.codec), draws)

    @property
    def has_likelihood(self) -> bool:
        return type(self.generator).log_likelihood is not Generator.log_likelihood

    def log_likelihood(self, frame: pd.DataFrame) -> np.ndarray:
        """(records,): log-probability of each record in the generator's space, in nats."""
        records = encode(self.codec, frame, self.generator)
        with torch.no_grad():
            return np.concatenate([self.generator.log_likelihood(part).numpy() for part in records.split(CHUNK)])

    def floor_likelihood(self, frame: pd.DataFrame) -> np.ndarray:
        """(records,): the same of the floor, over the same tokens."""
        records = encode(self.codec, frame, self.floor)
        with torch.no_grad():
            return np.concatenate([self.floor.log_likelihood(part).numpy() for part in records.split(CHUNK)])

    def weights(self) -> bytes:
        """Both generators' weights as one safetensors file."""
        named = {f"model.{k}": v for k, v in self.generator.state_dict().items()}
        named |= {f"floor.{k}": v for k, v in self.floor.state_dict().items()}
        content: bytes = save({name: tensor.detach().cpu().contiguous() for name, tensor in named.items()})
        return content


def space_of(generator: Generator | type[Generator], codec: Codec) -> SpaceKind:
    """The first of the family's spaces that the codec lands in."""
    for kind in generator.spaces:
        if kind in codec.spaces:
            return kind
    name = generator.__name__ if isinstance(generator, type) else type(generator).__name__
    raise SpecError(
        f"the family {name} lives on {', '.join(generator.spaces)}, and {codec.schema.modality} data come as "
        f"{', '.join(codec.spaces)}; see guardrail list generators for those that fit"
    )


def encode(codec: Codec, frame: pd.DataFrame, generator: Generator) -> Batch:
    """The frame in the generator's space, with its conditions where the generator uses them."""
    x = torch.from_numpy(codec.encode(frame, space_of(generator, codec)))
    return Batch.of(x, torch.from_numpy(codec.encode_conditions(frame)) if generator.conditional else None)


def build(family: GeneratorSpec, codec: Codec) -> Generator:
    """A generator with its initial weights, from torch's generator as it stands."""
    kind: type[Generator] = resolve("generators", family.name)
    options = parse(kind.Options, family.options, where=f"generator.options of {family.name}", error=SpecError)
    return kind(codec.spaces[space_of(kind, codec)], options)


def floor_of(codec: Codec) -> GeneratorSpec:
    """The family shown beside every model of this modality; under privacy its counts are already paid for."""
    return GeneratorSpec(name=modality(codec.schema.modality).floor)


def load(folder: Path) -> Model:
    """The model of a run folder."""
    codec_file = documents.read_json(folder / "codec.json", error=ArtifactError)
    if not isinstance(codec_file, dict) or set(codec_file) != {"schema", "generator", "classes"}:
        raise ArtifactError(f"{folder / 'codec.json'}: not a codec file of guardrail; was the run folder edited?")
    family = parse(GeneratorSpec, codec_file["generator"], where="codec.json", error=ArtifactError)
    schema = parse(Schema, codec_file["schema"], where="codec.json", error=ArtifactError)
    codec = modality(schema.modality).codec(schema)
    receipt = read_receipt(folder / "receipt.json")
    weights = _read_weights(folder / "weights.safetensors")
    generator, floor = build(family, codec), build(floor_of(codec), codec)
    for part, prefix in ((generator, "model."), (floor, "floor.")):
        state = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        try:
            part.load_state_dict(state)
        except RuntimeError as fault:
            raise ArtifactError(f"{folder / 'weights.safetensors'} does not fit the {family.name} of codec.json: {fault}") from None
        part.eval()
    return Model(family, generator, floor, codec, receipt, tuple(np.array(shares, dtype=float) for shares in codec_file["classes"]))


def codec_document(model: Model) -> dict[str, Any]:
    return {
        "schema": model.codec.schema.model_dump(mode="json"),
        "generator": model.family.model_dump(mode="json"),
        "classes": [shares.tolist() for shares in model.classes],
    }


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = load_file(path)
        return weights
    except (OSError, SafetensorError, ValueError) as fault:
        raise ArtifactError(f"{path}: not a safetensors file ({fault}); was the run folder damaged?") from None
