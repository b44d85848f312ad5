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

from ..data.tabular import TabularCodec
from ..privacy_accounting.receipts import read_receipt
from ..vocabulary import documents
from ..vocabulary.errors import ArtifactError, SpecError
from ..vocabulary.frozen import parse
from ..vocabulary.plugins import resolve
from ..vocabulary.receipt import Receipt
from ..vocabulary.schema import Schema
from ..vocabulary.seeds import entropy, stream
from ..vocabulary.spec import GeneratorSpec
from .contract import Generator

FLOOR = "marginals"
"""The family shown beside every model; under privacy its counts are already paid for."""
CHUNK = 8192


@dataclass(frozen=True)
class Model:
    """What a training leaves."""

    family: GeneratorSpec
    generator: Generator
    floor: Generator
    codec: TabularCodec
    receipt: Receipt

    def sample(self, n: int, *, seed: int = 0) -> pd.DataFrame:
        """`n` rows; the same seed gives the same rows."""
        return self._rows(self.generator, n, seed, "sample")

    def sample_floor(self, n: int, *, seed: int = 0) -> pd.DataFrame:
        """`n` rows of independent marginals."""
        return self._rows(self.floor, n, seed, "floor")

    def _rows(self, generator: Generator, n: int, seed: int, name: str) -> pd.DataFrame:
        rng = torch.Generator().manual_seed(entropy(seed, name) % 2**63)
        with torch.no_grad():
            encoded = np.concatenate([generator.sample(min(CHUNK, n - start), rng).numpy() for start in range(0, n, CHUNK)])
        decode = self.codec.decode_tokens if generator.space == "tokens" else self.codec.decode_vector
        return decode(encoded, stream(seed, f"{name}/decode"))

    @property
    def has_likelihood(self) -> bool:
        return type(self.generator).log_likelihood is not Generator.log_likelihood

    def log_likelihood(self, frame: pd.DataFrame) -> np.ndarray:
        """(rows,): log-probability of each record's tokens, in nats."""
        records = encode(self.codec, frame, self.generator)
        with torch.no_grad():
            return np.concatenate([self.generator.log_likelihood(part).numpy() for part in records.split(CHUNK)])

    def weights(self) -> bytes:
        """Both generators' weights as one safetensors file."""
        named = {f"model.{k}": v for k, v in self.generator.state_dict().items()}
        named |= {f"floor.{k}": v for k, v in self.floor.state_dict().items()}
        content: bytes = save({name: tensor.detach().cpu().contiguous() for name, tensor in named.items()})
        return content


def encode(codec: TabularCodec, frame: pd.DataFrame, generator: Generator) -> Tensor:
    """The frame in the generator's space."""
    return torch.from_numpy(codec.encode_tokens(frame) if generator.space == "tokens" else codec.encode_vector(frame))


def build(family: GeneratorSpec, codec: TabularCodec) -> Generator:
    """A generator with its initial weights, from torch's generator as it stands."""
    kind: type[Generator] = resolve("generators", family.name)
    options = parse(kind.Options, family.options, where=f"generator.options of {family.name}", error=SpecError)
    return kind(codec.tokens if kind.space == "tokens" else codec.vector, options)


def load(folder: Path) -> Model:
    """The model of a run folder."""
    codec_file = documents.read_json(folder / "codec.json", error=ArtifactError)
    if not isinstance(codec_file, dict) or set(codec_file) != {"schema", "generator"}:
        raise ArtifactError(f"{folder / 'codec.json'}: not a codec file of guardrail; was the run folder edited?")
    family = parse(GeneratorSpec, codec_file["generator"], where="codec.json", error=ArtifactError)
    codec = TabularCodec(parse(Schema, codec_file["schema"], where="codec.json", error=ArtifactError))
    receipt = read_receipt(folder / "receipt.json")
    weights = _read_weights(folder / "weights.safetensors")
    generator, floor = build(family, codec), build(GeneratorSpec(name=FLOOR), codec)
    for part, prefix in ((generator, "model."), (floor, "floor.")):
        state = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        try:
            part.load_state_dict(state)
        except RuntimeError as fault:
            raise ArtifactError(f"{folder / 'weights.safetensors'} does not fit the {family.name} of codec.json: {fault}") from None
        part.eval()
    return Model(family, generator, floor, codec, receipt)


def codec_document(model: Model) -> dict[str, Any]:
    return {"schema": model.codec.schema.model_dump(mode="json"), "generator": model.family.model_dump(mode="json")}


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = load_file(path)
        return weights
    except (OSError, SafetensorError, ValueError) as fault:
        raise ArtifactError(f"{path}: not a safetensors file ({fault}); was the run folder damaged?") from None
