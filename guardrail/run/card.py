"""The card stage: people's words, report, verdicts and receipt on one page; needs no torch."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from ..cards import build_card, write_card
from ..registry.home import Home
from ..reports import read_report
from ..vocabulary import documents
from ..vocabulary.card import Words
from ..vocabulary.errors import ArtifactError, SpecError
from ..vocabulary.frozen import parse
from ..vocabulary.report import Report, Verdict
from .folder import RunFolder, document
from .registration import is_registered, register


def read_words(path: Path) -> Words:
    """card.yaml: the words of people."""
    return parse(Words, documents.read_yaml(path, error=SpecError) or {}, where=str(path), error=SpecError)


def write_run_card(folder: RunFolder, report: Report, verdicts: tuple[Verdict, ...]) -> None:
    """card.json, card.md and card.html of a run; refuses a report about other artifacts than the folder holds."""
    artifacts = folder.hashes()
    for role in ("synthetic", "receipt"):
        if report.subject.artifacts.get(role) != artifacts.get(role):
            raise ArtifactError(
                f"the report is about another {role} than {folder.path} holds now, so its numbers are not this run's; "
                f"audit it again with: {folder.audit_command}"
            )
    spec = folder.spec
    card = build_card(
        name=spec.name,
        created=dt.datetime.now(dt.UTC),
        words=read_words(folder.path / "card.yaml"),
        report=report,
        verdicts=verdicts,
        receipt=folder.receipt,
        schema=folder.schema,
        spec=document(spec),
        artifacts=artifacts,
    )
    write_card(card, folder.path, preview=folder.preview.read_bytes() if folder.preview.is_file() else None)


def card_of(folder: RunFolder, *, home: Home) -> None:
    """The card of a run from the report that lies in its folder; the registry of the home that made the run follows."""
    if not folder.report.is_dir():
        raise ArtifactError(f"{folder.path} has no report yet; make it with: {folder.audit_command}")
    report = read_report(folder.report)
    verdicts = (report.verdict,) if report.verdict else ()
    write_run_card(folder, report, verdicts)
    if is_registered(folder, home):
        register(folder, home, verdicts)
