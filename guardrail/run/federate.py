"""A federation on real hosts, from the server's side: a run like any other, whose records nobody here has ever seen."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from pathlib import Path

from ..data.builtin import load as builtin
from ..data.modality import modality
from ..data.samples import samples_of
from ..data.schema_file import load_schema, require_public
from ..data.sources import PREFIX
from ..marks.verify import states
from ..registry.home import Home
from ..reports import publish, write_report
from ..training.federation.hosts import Address, serve
from ..training.federation.job import Job
from ..training.federation.released import model_of
from ..training.federation.state import ServerFile
from ..training.fit import FEDERATED, versions
from ..training.loop import Progress
from ..training.model import Model
from ..vocabulary import documents
from ..vocabulary.errors import FederationFailed, SpecError
from ..vocabulary.evidence import Evidence
from ..vocabulary.report import Report, Subject, Verdict
from ..vocabulary.schema import Schema
from .audit import report_on
from .card import write_run_card
from .folder import RunFolder, building, new_id, require_place, sample_files
from .pipeline import Listener, Order, judged, portable, write_training
from .registration import register
from .sample import default_rows, own_samples, write_preview, write_samples
from .watch import Watch


@dataclass(frozen=True)
class Served:
    """What a federation left here."""

    folder: RunFolder
    model: Model
    report: Report
    verdicts: tuple[Verdict, ...]


def serve_run(order: Order, address: Address, *, home: Home, runs: Path, listener: Listener) -> Served:
    """Waits for the clients, trains with them, samples, audits what can be audited without records, judges, and writes the card."""
    spec, schema = order.spec, _schema(order)
    if spec.federation is None:
        raise SpecError("the spec has no section federation")
    require_public(schema)
    require_place(runs)
    job = Job.of(spec.generator, spec.training, spec.privacy, spec.federation, schema, spec.seed)
    started, clock, watch = dt.datetime.now(dt.UTC), time.perf_counter(), Watch(schema)

    def report(progress: Progress) -> None:
        watch.history.append(progress)
        listener.training(progress)

    kept = ServerFile(runs / f".federation-{_key(job)}")
    if kept.path.exists():
        listener.stage(
            f"going on after round {kept.read().round} of {job.federation.rounds}, where an earlier start of it ended; {kept.advice}"
        )
    try:
        weights, outcome = serve(job, address, kept, report=report, tell=listener.stage)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; the same command goes on after the last whole round: {kept.advice}") from None
    except FederationFailed as fault:
        raise FederationFailed(f"{fault}. The same command goes on after the last whole round; {kept.advice}") from None
    model = model_of(job, weights, outcome, started=started, seconds=time.perf_counter() - clock)
    folder = RunFolder(runs / new_id(spec.name))
    with building(folder.path) as partial:
        write_training(partial, portable(order), model, order.words, watch)
    kept.remove()
    register(folder, home, ())
    return _judged(order, folder, model, home, listener)


def _key(job: Job) -> str:
    """Of a training: the same spec under other versions is another one."""
    what = {"job": job.document(), "versions": versions(*FEDERATED)}
    return documents.sha256_of(documents.canonical_json(what)).removeprefix("sha256:")[:16]


def _judged(order: Order, folder: RunFolder, model: Model, home: Home, listener: Listener) -> Served:
    spec, schema = order.spec, model.codec.schema
    n = spec.sample.n or default_rows(model, round(float(model.receipt.trained_rows or 0)))
    listener.stage(f"sampling {n:,} {'rows' if schema.modality == 'tabular' else 'records'}")
    frame = own_samples(model, n, seed=spec.seed, sources=None)
    write_samples(folder, model, frame, marks=spec.sample.marks, home=home)
    write_preview(folder, frame)
    listener.stage("auditing what can be audited without records")
    evidence, subject = evidence_without_records(folder, model, home)
    audit = spec.audit
    report = report_on(
        evidence, subject, only=audit.only, skip=audit.skip, seed=spec.seed, progress=lambda name: listener.stage(f"  {name}")
    )
    report, verdicts = judged(report, folder.spec.policy, order.also)
    report = publish(report) if audit.audience == "public" else report
    write_report(report, folder.report)
    listener.stage("writing the model card")
    write_run_card(folder, report, verdicts)
    register(folder, home, verdicts)
    return Served(folder, model, report, verdicts)


def evidence_without_records(folder: RunFolder, model: Model, home: Home) -> tuple[Evidence, Subject]:
    """Samples, receipt, marks, canaries: what compares with records is not assessable here, and says so."""
    schema, hashes = model.codec.schema, folder.hashes()
    synthetic, valid = samples_of(modality(schema.modality).read(folder.samples), schema, where=str(folder.samples))
    evidence = Evidence(
        schema=schema,
        synthetic=synthetic,
        synthetic_valid=valid,
        receipt=model.receipt,
        marks=dict(states(sample_files(folder.samples), home=home)),
        modality=schema.modality,
        canaries=folder.canaries,
        served=model.receipt.served,
        hashes=hashes,
    )
    subject = Subject(
        name=folder.spec.name,
        modality=schema.modality,
        family=model.receipt.generator,
        receipt=hashes["receipt"],
        target=schema.target,
        artifacts=hashes,
        rows={"synthetic": len(synthetic)},
    )
    return evidence, subject


def _schema(order: Order) -> Schema:
    """The clients' records are described by the schema; nothing here could draft one."""
    data = order.spec.data
    if data.schema_:
        schema = load_schema(order.base / data.schema_)
    elif data.source.startswith(PREFIX):
        schema = builtin(data.source.removeprefix(PREFIX))[1]
    else:
        raise SpecError("data.schema: the schema travels to the clients, and there is none; `guardrail schema` drafts one")
    said = {"target": data.target, "sensitive": data.sensitive, "unit": data.unit}
    return schema.model_copy(update={key: value for key, value in said.items() if value is not None})
