"""The training stage: material in, model and receipt out; the ledger is asked before the records are."""

from __future__ import annotations

import datetime as dt
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import torch

from ..data.material import Material
from ..data.tabular import TabularCodec
from ..registry.home import Home
from ..registry.ledger import Ledger, Reservation
from ..vocabulary.errors import Unsupported
from ..vocabulary.receipt import Mechanism, PrivacyClaim, Receipt
from ..vocabulary.seeds import entropy
from ..vocabulary.spec import GeneratorSpec, PrivacySpec, TrainingSpec
from .contract import Recipe, parameter_count
from .loop import Progress
from .model import FLOOR, Model, build, encode
from .plain import Plain
from .private import Private
from .strategy import Dataset, Strategy

VERSIONS = ("guardrail-generators", "torch", "opacus", "numpy", "pandas")


@dataclass
class LedgerSpending:
    """The ledger's side of a training: reserves before the records are touched, settles when training ended."""

    ledger: Ledger
    data: str
    unit: str
    privacy: PrivacySpec
    what: str
    parent: str | None = None
    reservation: Reservation | None = field(default=None, init=False)

    def reserve(self, mechanisms: tuple[Mechanism, ...]) -> None:
        self.reservation = self.ledger.reserve(
            self.data,
            mechanisms=mechanisms,
            unit=self.unit,
            relation=PrivacyClaim.model_fields["relation"].default,
            epsilon=self.privacy.epsilon,
            delta=self.privacy.delta,
            what=self.what,
            parent=self.parent,
        )

    def settle(self, mechanisms: tuple[Mechanism, ...]) -> str | None:
        if self.reservation is None:
            return None
        self.ledger.settle(self.reservation, mechanisms)
        return self.reservation.reference


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


def train(material: Material, settings: Settings, *, home: Home, report: Callable[[Progress], None]) -> Model:
    """Trains; under privacy, what was reserved stays spent whatever happens next."""
    _refuse_what_is_not_there(settings.training)
    started, clock = dt.datetime.now(dt.UTC), time.perf_counter()
    codec = TabularCodec(material.schema)
    spending = _spending(material, settings, home)
    strategy = _strategy(material, settings, spending)
    device = choose_device(settings.training.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(entropy(settings.seed, "initial weights") % 2**63)
        generator, floor = build(settings.generator, codec), build(GeneratorSpec(name=FLOOR), codec)
        dataset = Dataset(encode(codec, material.train, generator), codec.encode_tokens(material.train), codec.tokens.sizes)
        recipe = _recipe(strategy.recipe(type(generator)), settings.training)
        try:
            outcome = strategy.fit(generator, dataset, recipe, seed=settings.seed, device=device, report=report)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; " + _what_stays(spending)) from None
        floor.initialise(outcome.counts)
    generator.cpu().eval()
    entry = spending.settle(outcome.privacy.mechanisms) if spending and outcome.privacy else None
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
        ledger=entry,
        started=started,
        seconds=round(time.perf_counter() - clock, 3),
        versions=_versions(),
    )
    return Model(settings.generator, generator, floor, codec, receipt)


def _spending(material: Material, settings: Settings, home: Home) -> LedgerSpending | None:
    if settings.privacy is None:
        return None
    what = f"train {settings.generator.name} ({settings.name})"
    return LedgerSpending(Ledger(home), material.fingerprint, material.schema.unit, settings.privacy, what, settings.parent)


def _what_stays(spending: LedgerSpending | None) -> str:
    if spending is None or spending.reservation is None:
        return "no model was written and no epsilon was spent"
    privacy = spending.privacy
    return (
        f"no model was written, but epsilon {privacy.epsilon:g} at delta {privacy.delta:g} was reserved before the records were read "
        "and stays spent: see guardrail budget"
    )


def _strategy(material: Material, settings: Settings, spending: LedgerSpending | None) -> Strategy:
    if settings.privacy is None or spending is None:
        return Plain()
    schema = material.schema
    return Private(
        settings.privacy,
        holdout=settings.holdout,
        schema_sources={name: schema.source_of(name) for name in schema.columns},
        unit=schema.unit,
        records=settings.privacy.records or schema.records,
        spending=spending,
    )


def _recipe(default: Recipe, training: TrainingSpec) -> Recipe:
    said = {key: getattr(training, key) for key in ("epochs", "batch_size", "learning_rate", "clip")}
    changes: dict[str, object] = {key: value for key, value in said.items() if value is not None}
    if training.batch_size is not None:
        changes["sample_rate"] = 1.0  # the batch size alone decides
    return default.model_copy(update=changes)


def choose_device(name: str) -> torch.device:
    """`auto`: the GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _refuse_what_is_not_there(training: TrainingSpec) -> None:
    if training.precision == "bfloat16" or training.compile:
        raise Unsupported("training.precision bfloat16 and training.compile are not available yet; leave them out: they change speed only")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
