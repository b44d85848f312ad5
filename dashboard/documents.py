"""What the pages show of one run, read from its folder; what is missing or broken is said and never invented."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guardrail.registry.inside import read_inside, text_inside
from guardrail.registry.runs import RunRecord
from guardrail.vocabulary.card import Card
from guardrail.vocabulary.documents import parse_json, sha256_of
from guardrail.vocabulary.errors import ArtifactError
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.frozen import Model, parse
from guardrail.vocabulary.report import Report, Verdict

FILES = {
    "spec": "spec.yaml",
    "schema": "schema.json",
    "receipt": "receipt.json",
    "weights": "weights.safetensors",
    "codec": "codec.json",
    "report.json": "report/report.json",
}
"""Artifacts whose recorded hash is compared with the file."""
SAMPLES = {
    "tabular": "samples/synthetic.parquet",
    "image": "samples/synthetic.npz",
    "text": "samples/synthetic.jsonl",
    "series": "samples/synthetic.npz",
}
"""The same for the samples; those of music are a folder of files, which `guardrail verify` checks one by one."""
PICTURE = b"\x89PNG\r\n\x1a\n"
DOWNLOADS = {
    "card.html": "text/html",
    "card.md": "text/markdown",
    "report/report.html": "text/html",
    "report/report.json": "application/json",
}


@dataclass(frozen=True)
class Saved:
    """A run as it lies in its folder."""

    record: RunRecord
    card: Card | None
    report: Report | None
    problems: tuple[str, ...]
    """Documents that are there and cannot be used."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        if self.card:
            return self.card.verdicts
        return (self.report.verdict,) if self.report and self.report.verdict else ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.report.findings if self.report else self.card.findings if self.card else ()

    @property
    def evidence(self) -> dict[str, str]:
        """Recorded hash by role."""
        return dict(self.card.evidence) if self.card else dict(self.report.subject.artifacts) if self.report else {}

    @property
    def folder(self) -> Path:
        return Path(self.record.path)

    def download(self, name: str) -> bytes | None:
        try:
            return read_inside(self.folder, name)
        except ArtifactError:
            return None

    @property
    def preview(self) -> bytes | None:
        """A picture of some samples, where there is one and it is one."""
        content = self.download("preview.png")
        return content if content is not None and content.startswith(PICTURE) else None

    def state_of(self, role: str) -> str:
        """Whether the file of that role still has its recorded hash."""
        files = FILES | {"synthetic": SAMPLES[self.record.modality]} if self.record.modality in SAMPLES else FILES
        if role not in files:
            return ""
        try:
            content = read_inside(self.folder, files[role], limit=2**30)
        except ArtifactError:
            return "cannot be read"
        if content is None:
            return "file is missing"
        return "unchanged" if sha256_of(content) == self.evidence[role] else "changed since"


def load(record: RunRecord) -> Saved:
    problems: list[str] = []
    if not Path(record.path).is_dir():
        problems.append(f"the run folder {record.path} is not there: it was moved, or lies on another machine")
    card = _document(Card, record, "card.json", problems)
    report = _document(Report, record, "report/report.json", problems)
    return Saved(record, card, report, tuple(problems))


def _document(model: type[Model], record: RunRecord, name: str, problems: list[str]) -> Model | None:
    """None where there is none, and where it cannot be used, with the reason among the problems."""
    try:
        text = text_inside(Path(record.path), name)
        return None if text is None else parse(model, parse_json(text, where=name, error=ArtifactError), where=name, error=ArtifactError)
    except ArtifactError as fault:
        problems.append(str(fault))
        return None
