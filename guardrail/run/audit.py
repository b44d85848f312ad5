"""The audit stage: every registered audit over one body of evidence, and the evidence read from files of any origin.

An audit that lacks what it needs yields `not_assessable` with the reason, one finding per metric it declares, so that a
report always says what was not looked at. An audit that breaks is a fault of the program: it is not caught here.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .. import __version__
from ..data.fingerprint import fingerprint
from ..data.modality import Modality, modality
from ..data.samples import samples_of
from ..data.schema_file import load_schema
from ..data.sources import open_source
from ..marks.verify import states
from ..registry.home import Home
from ..reports.publish import publish
from ..vocabulary.documents import sha256_of
from ..vocabulary.errors import DataError, SpecError, UnknownName
from ..vocabulary.evidence import Audit, Evidence
from ..vocabulary.finding import Finding
from ..vocabulary.frozen import parse
from ..vocabulary.metrics import METRICS, Direction
from ..vocabulary.plugins import PluginError, resolve, table
from ..vocabulary.report import Audience, Report, Subject
from ..vocabulary.schema import Schema
from ..vocabulary.seeds import stream
from .folder import sample_files, sha256_of_samples

Table = Path | pd.DataFrame
Progress = Callable[[str], None]


def measure(
    evidence: Evidence, *, only: Sequence[str] | None = None, skip: Sequence[str] = (), seed: int = 0, progress: Progress | None = None
) -> tuple[Finding, ...]:
    """The findings of the audits, in the order of their table.

    Args:
        only: names of the audits to run; None: all.
        progress: called with the name of each audit before it runs.
    """
    findings: list[Finding] = []
    for name in chosen(only, skip):
        if progress is not None:
            progress(name)
        findings.extend(_run(name, resolve("audits", name)(), evidence, seed))
    return tuple(findings)


def chosen(only: Sequence[str] | None, skip: Sequence[str]) -> tuple[str, ...]:
    """The names of the audits to run; a name that is none is refused, it would silently change what is judged."""
    known = table("audits")
    for name in (*(only or ()), *skip):
        if name not in known:
            raise UnknownName.among("audit", name, known)
    if not (names := tuple(name for name in known if (only is None or name in only) and name not in skip)):
        raise SpecError("no audit is left to run: only and skip rule out each other")
    return names


def _run(name: str, audit: Audit, evidence: Evidence, seed: int) -> list[Finding]:
    started = time.perf_counter()
    if reason := _not_for(audit, evidence):
        found: tuple[Finding, ...] = tuple(Finding.not_assessable(m, reason, direction=_direction(audit, m)) for m in audit.metrics)
    else:
        found = audit.measure(evidence, stream(seed, f"audit/{name}"))
    if tuple(finding.metric for finding in found) != audit.metrics:
        returned = ", ".join(finding.metric for finding in found) or "nothing"
        raise PluginError(f"audit {name!r} declares {', '.join(audit.metrics)} and returned {returned}; mend or uninstall it")
    seconds, hashes = round(time.perf_counter() - started, 3), _hashes(audit, evidence)
    return [finding.model_copy(update={"seconds": seconds, "evidence": hashes}) for finding in found]


def _not_for(audit: Audit, evidence: Evidence) -> str:
    if evidence.modality not in audit.modalities:
        return f"this audit is for {', '.join(audit.modalities)} data; this is {evidence.modality}"
    return evidence.unmet(audit.needs)


def _direction(audit: Audit, metric: str) -> Direction:
    """Which way is good; a third party's audit tells it in `directions` for metrics of its own."""
    own: Mapping[str, Direction] = getattr(audit, "directions", {})
    return METRICS[metric].direction if metric in METRICS else own.get(metric, "lower")


def _hashes(audit: Audit, evidence: Evidence) -> tuple[str, ...]:
    """What the audit was given: all tables where it looks at samples, else only what it asked for."""
    roles = {"train", "holdout", "synthetic"} if "synthetic" in audit.needs else set(audit.needs)
    roles |= {"synthetic"} if "marks" in roles else set()
    return tuple(evidence.hashes[role] for role in sorted(roles) if role in evidence.hashes)


def audit_files(
    train: Table,
    *,
    holdout: Table | None = None,
    synthetic: Table | None = None,
    schema: Path | Schema | None = None,
    target: str | None = None,
    sensitive: Sequence[str] | None = None,
    name: str | None = None,
    only: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    seed: int = 0,
    audience: Audience = "internal",
    home: Home | None = None,
    progress: Progress | None = None,
) -> Report:
    """A report on samples of any origin: no model of ours is needed. Train alone audits what can be said without samples.

    Args:
        schema: a file, a schema, or None: drafted from train and holdout, which are then what is valid.
        target: overrides the schema's, as `sensitive` does.
        home: keeps the key under which private records are fingerprinted.
    """
    chosen(only, skip)  # before any file is read
    tables = {role: given for role, given in {"train": train, "holdout": holdout, "synthetic": synthetic}.items() if given is not None}
    given_schema = load_schema(schema) if isinstance(schema, Path) else schema
    read = {role: _read(given, given_schema) for role, given in tables.items()}
    raw, kind = {role: frame for role, (frame, _) in read.items()}, read["train"][1]
    if others := [role for role, (_, found) in read.items() if found.name != kind.name]:
        raise DataError(f"{others[0]} is {read[others[0]][1].name} data and train is {kind.name} data; name files of one kind")
    settled = _schema(given_schema, raw, kind, target, sensitive)
    where = {role: role if isinstance(given, pd.DataFrame) else str(given) for role, given in tables.items()}
    real = {role: kind.cast(raw[role], settled, on_error="fail", where=where[role])[0] for role in ("train", "holdout") if role in raw}
    samples, valid = samples_of(raw["synthetic"], settled, where=where["synthetic"]) if "synthetic" in raw else (None, None)
    home = home or Home.find()
    hashes: dict[str, str] = {role: fingerprint(raw[role], home.key()) for role in real}
    if synthetic is not None:
        hashes["synthetic"] = sha256_of_samples(synthetic) if isinstance(synthetic, Path) else _sha256_of_frame(synthetic)
    evidence = Evidence(
        schema=settled,
        train=real["train"],
        holdout=real.get("holdout"),
        synthetic=samples,
        synthetic_valid=valid,
        marks={**states(sample_files(synthetic), home=home)} if isinstance(synthetic, Path) else {},
        modality=kind.name,
        hashes=hashes,
    )
    subject = Subject(
        name=name or _named(synthetic if synthetic is not None else train),
        modality=kind.name,
        target=settled.target,
        artifacts=hashes,
        rows={role: len(frame) for role, frame in raw.items()},
    )
    return report_on(evidence, subject, only=only, skip=skip, seed=seed, audience=audience, progress=progress)


def report_on(
    evidence: Evidence,
    subject: Subject,
    *,
    only: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    seed: int = 0,
    audience: Audience = "internal",
    progress: Progress | None = None,
) -> Report:
    """The findings with what they were computed from; not judged yet, which is best done before anything is made public."""
    findings = measure(evidence, only=only, skip=skip, seed=seed, progress=progress)
    created = dt.datetime.now(dt.UTC).replace(microsecond=0)
    report = Report(created=created, guardrail_version=__version__, subject=subject, findings=findings)
    return publish(report) if audience == "public" else report


def _read(given: Table, schema: Schema | None) -> tuple[pd.DataFrame, Modality]:
    """The raw records and what they are; a frame made in Python is what its schema says, a table without one."""
    if isinstance(given, pd.DataFrame):
        return given, modality(schema.modality if schema else "tabular")
    source = open_source(str(given), Path(), schema=schema)
    return source.frame, source.modality


def _schema(
    schema: Schema | None, raw: dict[str, pd.DataFrame], kind: Modality, target: str | None, sensitive: Sequence[str] | None
) -> Schema:
    """The schema with the caller's words about target and sensitive columns."""
    if schema is None:
        return kind.draft(_real(raw), target=target, sensitive=tuple(sensitive or ()), unit="row")
    said = {"target": target, "sensitive": None if sensitive is None else tuple(sensitive)}
    changes: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    return parse(Schema, {**schema.model_dump(), **changes}, where="the schema, with --target and --sensitive", error=SpecError)


def _real(raw: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Train and holdout together say what is valid; a holdout of other columns is left for the cast to refuse by name."""
    train, holdout = raw["train"], raw.get("holdout")
    if holdout is None or set(holdout.columns) != set(train.columns):
        return train
    return pd.concat([train, holdout[list(train.columns)]], ignore_index=True)


def _named(source: Table) -> str:
    return source.name if isinstance(source, Path) else "samples"


def _sha256_of_frame(frame: pd.DataFrame) -> str:
    """Of a synthetic table that never was a file: its CSV. A plain hash would not do for private records."""
    return sha256_of(frame.to_csv(index=False, lineterminator="\n").encode("utf-8", "surrogatepass"))
