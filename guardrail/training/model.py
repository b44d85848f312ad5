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
from ..vocabulary.canaries import CanaryRecord
from ..vocabulary.errors import ArtifactError, SpecError, Unsupported
from ..vocabulary.frozen import parse
from ..vocabulary.monitor import MonitorRecord
from ..vocabulary.plugins import resolve, table
from ..vocabulary.receipt import Receipt
from ..vocabulary.schema import Schema
from ..vocabulary.seeds import entropy, stream
from ..vocabulary.spaces import Space, SpaceKind
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
    canaries: tuple[CanaryRecord, ...] = ()
    """What became of the canaries of a private training that was asked for some; not part of what `load` reads either."""

    def sample(self, n: int, *, seed: int = 0, given: np.ndarray | None = None) -> pd.DataFrame:
        """`n` records; the same seed gives the same ones.

        Args:
            given: (n, conditions) int64 for a conditional model; None: classes by their shares in the training data.
        """
        return self._records(self.generator, n, seed, "sample", given)

    def sample_floor(self, n: int, *, seed: int = 0) -> pd.DataFrame:
        """`n` records of the floor: independent columns, or a Markov chain."""
        return self._records(self.floor, n, seed, "floor", None)

    def _records(self, generator: Generator, n: int, seed: int, name: str, given: np.ndarray | None) -> pd.DataFrame:
        rng, draws = _streams(seed, name)
        classes = torch.from_numpy(self.some_classes(n, draws) if given is None else given) if generator.conditional else None
        with torch.no_grad():
            parts = [
                generator.sample(min(CHUNK, n - start), rng, None if classes is None else classes[start : start + CHUNK])
                for start in range(0, n, CHUNK)
            ]
        return self._decoded(generator, parts, draws, classes)

    def some_classes(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, conditions): classes by their shares in the training data."""
        return np.stack([rng.choice(len(shares), n, p=shares) for shares in self.classes], axis=1)

    def can(self, ability: str) -> bool:
        """Whether the family offers it: `sample`, `where`, `prompt`, `impute`, `translate` …"""
        return ability in table("generators")[self.family.name].abilities

    @property
    def space(self) -> Space:
        """Where the generator lives."""
        return self.codec.spaces[space_of(self.generator, self.codec)]

    def translate(self, frame: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
        """Each record in the other style, with that style as its class; or completed by the part that belongs to its source."""
        rng, draws = _streams(seed, "translate")
        records = encode(self.codec, frame, self.generator)
        with torch.no_grad():
            parts = [self.generator.translate(part, rng) for part in records.split(CHUNK)]
        classes = self.generator.conditions_of_translated(records.given) if self.generator.conditional else None
        return self._decoded(self.generator, parts, draws, classes)

    def encoded(self, frame: pd.DataFrame) -> np.ndarray:
        """The content of the frame in the generator's space."""
        return self.codec.encode(frame, space_of(self.generator, self.codec))

    def complete(self, encoded: np.ndarray, known: np.ndarray, *, seed: int = 0, given: np.ndarray | None = None) -> pd.DataFrame:
        """Records in which what is known stays and the rest is drawn.

        Args:
            encoded: records in the generator's space; what is not known may be anything there.
            known: bool, in the same shape.
            given: (records, conditions) for a conditional model; None: nobody knows the classes, and a family that needs them
                gets some by their shares.
        """
        rng, draws = _streams(seed, "complete")
        classes = None
        if self.generator.conditional and not (given is None and self.generator.fills_unclassed):
            classes = torch.from_numpy(self.some_classes(len(encoded), draws) if given is None else given)
        records, mask = Batch.of(torch.from_numpy(encoded), classes), torch.from_numpy(known)
        with torch.no_grad():
            parts = [self.generator.complete(part, at, rng) for part, at in zip(records.split(CHUNK), mask.split(CHUNK), strict=True)]
        return self._decoded(self.generator, parts, draws, classes)

    def anomaly_score(self, frame: pd.DataFrame) -> np.ndarray:
        """(records,): higher is stranger."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # scores that draw give the same for the same records
            parts = encode(self.codec, frame, self.generator).split(CHUNK)
            return np.concatenate([self.generator.anomaly_score(part).numpy() for part in parts])

    def explain(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """What the model looked at, by name, one row per record."""
        with torch.no_grad():
            found = self.generator.explain(encode(self.codec, frame, self.generator))
        return {name: value.numpy() for name, value in found.items()}

    def latent_grid(self, rows: int, columns: int, *, reach: float, seed: int) -> pd.DataFrame:
        """2 x rows x columns records: `rows` interpolations between drawn codes, then `rows` dimensions traversed from -reach to reach."""
        rng, draws = _streams(seed, "latent")
        ends = self.generator.draw_latent(2 * rows, rng)
        between = torch.lerp(ends[:rows, None], ends[rows:, None], torch.linspace(0, 1, columns)[None, :, None])
        along = torch.zeros(rows, columns, ends.shape[1])
        for row, dimension in enumerate(torch.linspace(0, ends.shape[1] - 1, rows).round().long().tolist()):
            along[row, :, dimension] = torch.linspace(-reach, reach, columns)
        codes = torch.cat([between.flatten(0, 1), along.flatten(0, 1)])
        given = None
        if self.generator.conditional:
            row_of = torch.arange(2 * rows).repeat_interleave(columns)
            given = torch.stack([row_of % size for size in self.codec.condition_sizes], dim=1)
        with torch.no_grad():
            return self._decoded(self.generator, [self.generator.from_latent(codes, given)], draws, None)

    def _decoded(self, generator: Generator, parts: list[Tensor], draws: np.random.Generator, classes: Tensor | None) -> pd.DataFrame:
        encoded = np.concatenate([part.numpy() for part in parts])
        frame = self.codec.decode(encoded, space_of(generator, self.codec), draws)
        return frame if classes is None else pd.concat([frame, self.codec.decode_conditions(classes.numpy(), draws)], axis=1)

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


def preview(generator: Generator, codec: Codec, n: int) -> pd.DataFrame | None:
    """`n` samples of a model in training, always from the same draws; None where it only translates, or diverged."""
    given = None
    if generator.conditional:
        given = torch.stack([torch.arange(n) % size for size in codec.condition_sizes], dim=1)
    rng, draws = _streams(0, "preview")
    try:
        with torch.no_grad():
            drawn = generator.sample(n, rng, given)
    except Unsupported:
        return None
    return codec.decode(drawn.numpy(), space_of(generator, codec), draws) if drawn.isfinite().all() else None


def _streams(seed: int, name: str) -> tuple[torch.Generator, np.random.Generator]:
    """What the generator draws from, and what decoding does."""
    return torch.Generator().manual_seed(entropy(seed, name) % 2**63), stream(seed, f"{name}/decode")


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


def shares_only(receipt: Receipt) -> bool:
    """Whether the floor could be asked for shares and no more."""
    return receipt.privacy is not None or (receipt.federation is not None and receipt.federation.secure_aggregation)


def floor_of(codec: Codec, *, private: bool) -> GeneratorSpec:
    """The family shown beside every model of this modality; under privacy the one whose counts are already paid for."""
    return GeneratorSpec(name="marginals" if private else modality(codec.schema.modality).floor)


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
    generator, floor = build(family, codec), build(floor_of(codec, private=shares_only(receipt)), codec)
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
