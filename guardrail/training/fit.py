"""The training stage: material in, model and receipt out; the ledger is asked before the records are."""

from __future__ import annotations

import datetime as dt
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ..data.codec import Codec
from ..data.material import Material
from ..data.modality import modality
from ..registry.home import Home
from ..registry.ledger import Ledger
from ..vocabulary import documents
from ..vocabulary.errors import SpecError
from ..vocabulary.receipt import Receipt
from ..vocabulary.schema import Schema
from ..vocabulary.seeds import entropy
from ..vocabulary.spec import FederationSpec, GeneratorSpec, LearningSettings, PrivacySpec, TrainingSpec
from .checkpoint import Checkpoints
from .conduct import Conduct, Preview, precision_on
from .contract import Recipe, parameter_count
from .distributed import World, join
from .loop import Progress
from .measured_schema import outlined, query_for, to_measure
from .model import Model, build, encode, floor_of
from .plain import Plain
from .private import Private
from .spending import LedgerSpending
from .strategy import Dataset, Strategy

FEDERATED = ("flwr",)
VERSIONS = ("guardrail-generators", "torch", "opacus", "numpy", "pandas")


@dataclass(frozen=True)
class Settings:
    """What the spec says about training."""

    generator: GeneratorSpec
    training: TrainingSpec
    privacy: PrivacySpec | None
    holdout: float
    seed: int = 0
    name: str = "run"
    parent: str | None = None
    federation: FederationSpec | None = None

    def floor(self, codec: Codec) -> GeneratorSpec:
        masked = self.federation is not None and self.federation.secure_aggregation
        return floor_of(codec, private=self.privacy is not None or masked)


def train(
    material: Material,
    settings: Settings,
    *,
    home: Home,
    report: Callable[[Progress], None],
    tell: Callable[[str], None] = warnings.warn,
    checkpoint: Path | None = None,
    preview: Preview | None = None,
) -> Model:
    """Trains; what the ledger recorded before the first step stays there whatever happens next.

    Under torchrun every process calls this and gets the same model; `distributed.leads()` says which one goes on with it.

    Args:
        report: told after every step.
        tell: told what the ledger has to say about this data set, and what the monitor sees, in words for the user.
        checkpoint: folder that the training is kept in every `training.checkpoint_seconds`, and goes on from where one of
            the same spec, data, seed and versions lies there; `checkpoint.remove(folder)` once the model is written. Not under privacy.
        preview: given step and model (a copy, on the CPU, as it would be released now) every `training.preview_every` steps.
    """
    world, device = join(choose_device(settings.training.device))
    if settings.federation is not None:
        device = torch.device("cpu")  # where the server averages; clients of a simulation share the processors
    spending = _spending(material, settings, home, tell, world)
    conduct = _conduct(material, settings, device, world, tell=tell, checkpoint=checkpoint, preview=preview)
    try:
        return _train(material, settings, spending, report, device, conduct)
    except KeyboardInterrupt:
        kept = conduct.checkpoints.step if conduct.checkpoints else None
        later = f"; step {kept} is kept in {checkpoint}, and the same command goes on from there" if kept else ""
        raise KeyboardInterrupt("interrupted; " + spending.what_stays() + later) from None


def _train(
    material: Material,
    settings: Settings,
    spending: LedgerSpending,
    report: Callable[[Progress], None],
    device: torch.device,
    conduct: Conduct,
) -> Model:
    started, clock = dt.datetime.now(dt.UTC), time.perf_counter()
    strategy = _strategy(material, settings, spending)
    with torch.random.fork_rng(devices=[]):
        schema = _settled(strategy, material, settings, conduct.world)
        codec = modality(schema.modality).codec(schema)
        torch.manual_seed(entropy(settings.seed, "initial weights") % 2**63)
        generator, floor = build(settings.generator, codec), build(settings.floor(codec), codec)
        dataset = Dataset(encode(codec, material.train, generator), codec.encode(material.train, "tokens"), codec.tokens, material.units)
        recipe = _recipe(strategy.recipe(generator), settings.training)
        outcome = strategy.fit(generator, dataset, recipe, seed=settings.seed, device=device, report=report, conduct=conduct)
        floor.initialise(outcome.counts)
    generator.cpu().eval()
    receipt = Receipt(
        generator=settings.generator.name,
        strategy="private" if outcome.privacy else "plain",
        seed=settings.seed,
        data=material.fingerprint,
        trained_rows=outcome.trained_rows,
        epochs=outcome.epochs,
        batch_size=outcome.batch_size,
        steps=outcome.steps,
        learning_rate=recipe.learning_rate,
        device=str(device),
        parameters=parameter_count(generator),
        privacy=outcome.privacy,
        federation=outcome.federation,
        ledger=spending.settle(outcome.privacy),
        started=started,
        seconds=round(time.perf_counter() - clock, 3),
        versions=versions(*FEDERATED if outcome.federation else ()),
    )
    classes = outcome.counts.conditions() if generator.conditional else ()
    return Model(settings.generator, generator, floor, codec, receipt, classes, outcome.monitor, outcome.canaries)


def _settled(strategy: Strategy, material: Material, settings: Settings, world: World) -> Schema:
    """The schema, its bins measured where they are to be; only once the ledger has everything that the training will do."""
    if not isinstance(strategy, Private) or not to_measure(material.schema):
        return material.schema
    outline = outlined(material.schema)
    codec = modality(outline.modality).codec(outline)
    generator = build(settings.generator, codec)
    strategy.announce(generator, codec.tokens, _recipe(strategy.recipe(generator), settings.training))
    return strategy.measure(material.schema, material.train, material.units, seed=settings.seed, world=world)


def _spending(material: Material, settings: Settings, home: Home, tell: Callable[[str], None], world: World) -> LedgerSpending:
    federation = settings.federation
    what = f"train {settings.generator.name} ({settings.name})"
    if federation is not None:
        what = f"federate {settings.generator.name} with {federation.clients} clients, simulated ({settings.name})"
    unit = "client" if federation and federation.level == "client" else material.schema.unit
    return LedgerSpending(Ledger(home), material.fingerprint, unit, settings.privacy, what, settings.parent, tell, world)


def _conduct(
    material: Material,
    settings: Settings,
    device: torch.device,
    world: World,
    *,
    tell: Callable[[str], None],
    checkpoint: Path | None,
    preview: Preview | None,
) -> Conduct:
    training, private = settings.training, settings.privacy is not None
    key = checkpoint_key(settings, material.fingerprint)
    return Conduct(
        precision=torch.float32 if private and training.precision == "auto" else precision_on(device, training.precision),
        compile=training.compile,
        micro_batch=training.micro_batch,
        monitor=not private if training.monitor is None else training.monitor,
        preview=preview,
        preview_every=training.preview_every,
        checkpoints=Checkpoints(checkpoint, key, training.checkpoint_seconds, world) if checkpoint is not None else None,
        tell=tell if world.leads else lambda _: None,
        world=world,
    )


def checkpoint_key(settings: Settings, data: str) -> str:
    """What a training is, as far as it decides its weights: whatever differs here is another training."""
    learning = {name: getattr(settings.training, name) for name in LearningSettings.model_fields}
    what = {
        "generator": settings.generator.model_dump(mode="json"),
        "training": learning,
        "seed": settings.seed,
        "data": data,
        "holdout": settings.holdout,
        "versions": versions(),
    }
    return documents.sha256_of(documents.canonical_json(what))


def _strategy(material: Material, settings: Settings, spending: LedgerSpending) -> Strategy:
    if settings.federation is not None:
        return _federated(material, settings, spending)
    if settings.privacy is None:
        return Plain(spending)
    schema = material.schema
    return Private(
        settings.privacy,
        holdout=settings.holdout,
        schema_sources=schema.sources(),
        unit=schema.unit,
        records=settings.privacy.records,
        spending=spending,
        schema_query=query_for(schema, settings.privacy),
    )


def _federated(material: Material, settings: Settings, spending: LedgerSpending) -> Strategy:
    from .federation.federated import Federated  # what needs Flower is imported where there is a federation
    from .federation.job import Job

    assert settings.federation is not None and material.clients is not None  # noqa: S101 - whoever gathers for one deals the records
    job = Job.of(settings.generator, settings.training, settings.privacy, settings.federation, material.schema, settings.seed)
    return Federated(job, material.clients, spending)


def _recipe(default: Recipe, training: TrainingSpec) -> Recipe:
    said = {key: getattr(training, key) for key in LearningSettings.model_fields}
    changes: dict[str, object] = {key: value for key, value in said.items() if value is not None}
    if training.batch_size is not None:
        changes["sample_rate"] = 1.0  # the batch size alone decides
    return default.model_copy(update=changes)


def choose_device(name: str) -> torch.device:
    """`auto`: the GPU where there is one. A device that is not there is refused before anything is spent on it."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, found in there.items() if found))
    if not there[name]:
        raise SpecError(f"training.device {name!r} is not available on this machine; leave it out, or name cpu")
    return torch.device(name)


def versions(*more: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in (*VERSIONS, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
