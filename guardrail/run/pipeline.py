"""The chain: spec to card. Each stage adds to the run folder as a whole or not at all, and can be entered by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..data.material import Material, gather
from ..data.sources import PREFIX
from ..judging import policies
from ..judging.judge import judge
from ..registry.home import Home
from ..reports import publish, write_report
from ..training.checkpoint import FILE, remove
from ..training.distributed import leads
from ..training.fit import Settings, train
from ..training.loop import Progress
from ..training.model import Model, codec_document
from ..vocabulary import documents
from ..vocabulary.canaries import CanaryRecords
from ..vocabulary.card import Words
from ..vocabulary.errors import ArtifactError, SpecError
from ..vocabulary.frozen import parse
from ..vocabulary.plugins import resolve
from ..vocabulary.report import Report, Verdict
from ..vocabulary.spec import FederationSpec, Spec
from .audit import chosen, report_on
from .card import read_words, write_run_card
from .evidence import assemble
from .folder import RunFolder, building, document, new_id, require_place
from .registration import register
from .sample import default_rows, own_samples, refuse_unavailable_marks, write_preview, write_samples
from .watch import Watch, checkpoint_folder

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Listener:
    """Who is told how far a run has come."""

    training: Callable[[Progress], None] = lambda _: None
    stage: Tell = lambda _: None


@dataclass(frozen=True)
class Order:
    """A spec with everything it refers to found and checked, before a record is read."""

    spec: Spec
    base: Path
    words: Words
    also: tuple[str, ...] = ()
    """Policies whose verdicts the card shows beside the spec's own."""


@dataclass
class Run:
    """A run in memory, stage by stage."""

    folder: RunFolder
    home: Home
    spec: Spec
    words: Words
    material: Material
    model: Model
    also: tuple[str, ...] = ()
    reported: Report | None = None
    verdicts: tuple[Verdict, ...] = field(default=())

    @property
    def report(self) -> Report:
        if self.reported is None:
            raise ArtifactError(f"{self.folder.path} has no report yet; make it with: {self.folder.audit_command}")
        return self.reported


def read_order(path: Path) -> Order:
    """The spec of a file, checked as far as it can be without the records."""
    spec = parse(Spec, documents.read_yaml(path, error=SpecError), where=str(path), error=SpecError)
    return check(spec, path.parent)


def federated(order: Order, clients: int | None = None) -> Order:
    """The same order for a federation; with another number of clients, where one is given."""
    if order.spec.federation is None:
        raise SpecError(
            "the spec has no section federation; add for instance `federation: {clients: 10, rounds: 20}`, or use guardrail run"
        )
    if clients is None:
        return order
    said = order.spec.federation.model_dump() | {"clients": clients}
    federation = parse(FederationSpec, said, where="--clients", error=SpecError)
    return replace(order, spec=order.spec.model_copy(update={"federation": federation}))


def check(spec: Spec, base: Path, *, words: Words | None = None, also: tuple[str, ...] = ()) -> Order:
    """Names, policy, options, marks and card file exist and fit: nothing of this may fail after epsilon was spent."""
    kind = resolve("generators", spec.generator.name)
    parse(kind.Options, spec.generator.options, where=f"generator.options of {spec.generator.name}", error=SpecError)
    chosen(spec.audit.only, spec.audit.skip)
    for policy in (spec.policy, *also):
        policies.load(_beside(policy, base))
    refuse_unavailable_marks(spec.sample.marks)
    return Order(spec, base, words or (read_words(base / spec.card) if spec.card else Words()), also)


def _beside(policy: str, base: Path) -> str | Path:
    """A policy file is looked for beside the spec; a bare name is a built-in."""
    return base / policy if (base / policy).is_file() else policy


def run(order: Order, *, home: Home, runs: Path, listener: Listener = Listener()) -> Run:
    """Train, sample, audit, judge, card."""
    made = train_run(order, home=home, runs=runs, listener=listener)
    with _if_interrupted(_kept(made.folder, made.model, home)):
        sample_run(made, listener)
        audit_run(made, listener)
        card_run(made, listener)
    return made


def train_run(order: Order, *, home: Home, runs: Path, listener: Listener = Listener()) -> Run:
    """The run folder with model and receipt; the audits and the card can follow later."""
    spec = order.spec
    with _if_interrupted("nothing was written and no epsilon was spent"):
        require_place(runs)
        listener.stage(f"reading {spec.data.source}")
        material = gather(spec.data, base=order.base, privacy=spec.privacy, seed=spec.seed, home=home, federation=spec.federation)
        if material.skipped:
            listener.stage(f"note: {material.skipped} of the source could not be read and were left out (data.on_error: skip)")
        listener.stage(f"training {spec.generator.name} on {_described(material)}" + _among(spec) + _promise(spec))
    privacy = spec.privacy
    if privacy is not None and privacy.records is None:
        privacy = privacy.model_copy(update={"records": material.schema.records})
    settings = Settings(
        spec.generator, spec.training, privacy, spec.data.holdout, spec.seed, spec.name, spec.data.parent, federation=spec.federation
    )
    watch, checkpoint = Watch(material.schema), checkpoint_folder(runs, settings, material.fingerprint)
    if checkpoint is not None and (checkpoint / FILE).exists():
        listener.stage(f"going on from where an earlier training of the same spec was stopped ({checkpoint})")

    def report(progress: Progress) -> None:
        watch.history.append(progress)
        listener.training(progress)

    model = train(
        material,
        settings,
        home=home,
        report=report,
        tell=lambda text: listener.stage(f"note: {text}"),
        checkpoint=checkpoint,
        preview=watch.preview if material.schema.content is not None else None,
    )
    if not leads():
        raise SystemExit(0)  # under torchrun the first process writes what all of them made
    folder = RunFolder(runs / new_id(spec.name))
    with _if_interrupted(f"no model was written{_spent(model)}"), building(folder.path) as partial:
        write_training(partial, portable(order), model, order.words, watch)
    if checkpoint is not None:
        remove(checkpoint)
    with _if_interrupted(_kept(folder, model, home)):
        register(folder, home, ())
    return Run(folder, home, spec, order.words, material, model, order.also)


@contextmanager
def _if_interrupted(what_stays: str) -> Iterator[None]:
    """Whoever stops a run is told what it leaves behind."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {what_stays}") from None


def _spent(model: Model) -> str:
    claim = model.receipt.privacy
    if claim is None or not claim.valid:
        return "; that no epsilon bounds this training stays in the ledger: see guardrail budget"
    return f"; epsilon {claim.epsilon:.3g} at delta {claim.delta:g} was spent and stays spent: see guardrail budget"


def _kept(folder: RunFolder, model: Model, home: Home) -> str:
    elsewhere = "" if home.path == Home.find().path else f"GUARDRAIL_HOME={home.path} "
    return (
        f"the trained model and its receipt are kept in {folder.path}{_spent(model)}; go on with: {elsewhere}guardrail sample {folder.path}"
    )


def _described(material: Material) -> str:
    """Under privacy the number of records is nobody's business; what they are is public."""
    schema = material.schema
    return f"{len(schema.columns)} columns" if schema.modality == "tabular" else f"{schema.modality} records"


def _among(spec: Spec) -> str:
    return f" of {spec.federation.clients} clients" if spec.federation else ""


def _promise(spec: Spec) -> str:
    if spec.privacy is None:
        return " without privacy"
    if spec.privacy.noise == "seeded":
        return " with seeded noise: no privacy claim"
    return f" with epsilon {spec.privacy.epsilon:g} at delta {spec.privacy.delta:g}"


def portable(order: Order) -> Spec:
    """The spec with paths that still hold from inside the run folder."""
    spec, base = order.spec, order.base.resolve()
    source = spec.data.source if spec.data.source.startswith(PREFIX) else str(base / Path(spec.data.source).expanduser())
    data = spec.data.model_copy(update={"source": source, "schema_": str(base / spec.data.schema_) if spec.data.schema_ else None})
    return spec.model_copy(update={"data": data, "policy": str(_beside(spec.policy, base)), "card": "card.yaml"})


def write_training(partial: Path, spec: Spec, model: Model, words: Words, watch: Watch) -> None:
    documents.write_yaml(partial / "spec.yaml", spec.model_dump(mode="json", by_alias=True, exclude_none=True))
    documents.write_yaml(partial / "card.yaml", words.model_dump())
    documents.write_json(partial / "schema.json", document(model.codec.schema))
    documents.write_json(partial / "codec.json", codec_document(model))
    documents.write_json(partial / "receipt.json", document(model.receipt))
    documents.write_atomic(partial / "weights.safetensors", model.weights())
    documents.write_atomic(partial / "metrics.jsonl", watch.log(private=model.receipt.privacy is not None))
    if model.monitor is not None:
        documents.write_json(partial / "monitor.json", document(model.monitor))
    if model.canaries:
        documents.write_json(partial / "canaries.json", document(CanaryRecords(canaries=model.canaries)))
    for step, picture in watch.pictures.items():
        documents.write_atomic(partial / "pictures" / f"step-{step:06d}.png", picture)


def sample_run(made: Run, listener: Listener = Listener()) -> None:
    n = made.spec.sample.n or default_rows(made.model, len(made.material.train))
    listener.stage(f"sampling {n:,} {'rows' if made.material.schema.modality == 'tabular' else 'records'}")
    frame = own_samples(made.model, n, seed=made.spec.seed, sources=made.material.holdout)
    write_samples(made.folder, made.model, frame, marks=made.spec.sample.marks, home=made.home)
    write_preview(made.folder, frame)


def audit_run(made: Run, listener: Listener = Listener()) -> None:
    """Findings, verdicts and the report directory."""
    evidence, subject = assemble(made.folder, made.material, made.model, home=made.home)
    listener.stage("auditing")
    audit = made.spec.audit
    report = report_on(
        evidence, subject, only=audit.only, skip=audit.skip, seed=made.spec.seed, progress=lambda name: listener.stage(f"  {name}")
    )
    judged_report, made.verdicts = judged(report, made.folder.spec.policy, made.also)
    made.reported = publish(judged_report) if audit.audience == "public" else judged_report
    write_report(made.report, made.folder.report)
    register(made.folder, made.home, made.verdicts)


def judged(report: Report, policy: str, also: tuple[str, ...] = ()) -> tuple[Report, tuple[Verdict, ...]]:
    """The report with the verdict of `policy`, and the verdicts of every policy, that one first."""
    main = judge(report, policies.load(policy))
    verdicts = [main, *(judge(report, policies.load(name)) for name in also)]
    return main, tuple(one.judged for one in verdicts)


def card_run(made: Run, listener: Listener = Listener()) -> None:
    listener.stage("writing the model card")
    write_run_card(made.folder, made.report, made.verdicts)
    register(made.folder, made.home, made.verdicts)
