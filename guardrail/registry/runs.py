"""The registry: which runs there were, where they lie, what they cost, how policies judged them.

It holds what is needed to find and to list; everything else stays in the run folder, which can be moved to another
machine and named by its path there.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field
from sqlalchemy import select

from ..vocabulary.documents import parse_json, parse_yaml, sha256_of
from ..vocabulary.errors import ArtifactError, UnknownName, nearest
from ..vocabulary.frozen import Frozen, parse
from ..vocabulary.receipt import Receipt
from ..vocabulary.report import Report
from ..vocabulary.schema import Schema
from ..vocabulary.spec import Spec
from .artifacts import Artifacts, Kind
from .database import ArtifactRow, Database, RunArtifactRow, RunRow
from .home import Home
from .inside import read_inside, text_inside


class RunRecord(Frozen):
    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$")
    name: str = Field(max_length=64)
    created: AwareDatetime
    path: str
    """The run folder, absolute."""
    family: str
    modality: str = "tabular"
    spec_sha: str | None = None
    receipt_sha: str | None = None
    epsilon: float | None = None
    """Null: trained without privacy, or no claim."""
    delta: float | None = None
    verdicts: dict[str, Literal["pass", "fail"]] = {}
    """Status by policy."""


class Registry:
    """The runs of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._database = Database(home.database_url)

    def add_run(self, record: RunRecord) -> None:
        """Adds the run, or brings the entry of the same id up to date."""
        row = record.model_dump(mode="json") | {"created": record.created.astimezone(dt.UTC).isoformat()}
        with self._database.transaction() as session:
            session.merge(RunRow(**row))

    def runs(self) -> tuple[RunRecord, ...]:
        """Newest first."""
        with self._database.transaction() as session:
            return tuple(_record(row) for row in session.scalars(select(RunRow).order_by(RunRow.created.desc(), RunRow.id.desc())))

    def get(self, run: str) -> RunRecord:
        """By its whole id; no path is ever looked at."""
        known = {record.id: record for record in self.runs()}
        if run not in known:
            raise UnknownName(f"no run {_shown(run)}; {_suggestion(run, list(known))}")
        return known[run]

    def find(self, run: str) -> RunRecord:
        """By id, by the unique beginning of one, or by the path of a run folder, registered or not."""
        records = self.runs()
        matching = [record for record in records if record.id == run] or [record for record in records if run and record.id.startswith(run)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise UnknownName(
                f"{_shown(run)} begins {len(matching)} runs: {', '.join(sorted(record.id for record in matching)[:5])}; type more of one"
            )
        folder = _folder(run)
        if folder is None:
            raise UnknownName(f"no run {_shown(run)}; {_suggestion(run, [record.id for record in records])}")
        registered = [record for record in records if Path(record.path) == folder]
        return registered[0] if registered else read_folder(folder)

    def store(self, content: bytes, kind: Kind, *, run: str | None = None) -> str:
        """Keeps `content` under its hash, and that `run` has it. Kinds that hold records are refused."""
        if run is not None:
            self.get(run)
        name = Artifacts(self._home.artifacts_url).put(content, kind)
        with self._database.transaction() as session:
            if session.get(ArtifactRow, name) is None:
                session.add(ArtifactRow(sha256=name, kind=kind, bytes=len(content)))
            if run is not None:
                session.merge(RunArtifactRow(run=run, artifact=name))
        return name

    def load(self, name: str) -> bytes:
        return Artifacts(self._home.artifacts_url).get(name)

    def artifacts(self, run: str) -> dict[str, str]:
        """Kind of each artifact of the run, by hash."""
        query = select(ArtifactRow).join(RunArtifactRow).where(RunArtifactRow.run == run).order_by(ArtifactRow.kind)
        with self._database.transaction() as session:
            return {row.sha256: row.kind for row in session.scalars(query)}


def read_folder(folder: Path) -> RunRecord:
    """The record of a run folder, read from what lies in it."""
    folder = folder.resolve()
    spec_text, receipt_text = text_inside(folder, "spec.yaml"), text_inside(folder, "receipt.json")
    if spec_text is None or receipt_text is None:
        raise ArtifactError(f"{folder}: not a run folder (spec.yaml and receipt.json are expected in it)")
    spec = parse(Spec, parse_yaml(spec_text, where="spec.yaml", error=ArtifactError), where="spec.yaml", error=ArtifactError)
    receipt = parse(Receipt, _json(receipt_text, "receipt.json"), where="receipt.json", error=ArtifactError)
    report_text = text_inside(folder, "report/report.json")
    report = parse(Report, _json(report_text, "report.json"), where="report.json", error=ArtifactError) if report_text else None
    claim = receipt.privacy if receipt.privacy and receipt.privacy.valid else None
    schema_text = text_inside(folder, "schema.json")
    schema = parse(Schema, _json(schema_text, "schema.json"), where="schema.json", error=ArtifactError) if schema_text else None
    return RunRecord(
        id=re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).lstrip("._-")[:120] or "run",
        name=spec.name,
        created=receipt.started,
        path=str(folder),
        family=receipt.generator,
        modality=schema.modality if schema else "tabular",
        spec_sha=sha256_of(read_inside(folder, "spec.yaml") or b""),
        receipt_sha=sha256_of(read_inside(folder, "receipt.json") or b""),
        epsilon=claim.epsilon if claim else None,
        delta=claim.delta if claim else None,
        verdicts={report.verdict.policy: report.verdict.status} if report and report.verdict else {},
    )


def _record(row: RunRow) -> RunRecord:
    values = {name: getattr(row, name) for name in RunRecord.model_fields}
    return parse(RunRecord, values, where=f"run {row.id!r} in the registry", error=ArtifactError)


def _folder(text: str) -> Path | None:
    """The folder that `text` names, resolved once; None where it names none."""
    try:
        path = Path(text).resolve(strict=True)
        return path if text and path.is_dir() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _json(text: str, where: str) -> Any:
    return parse_json(text, where=where, error=ArtifactError)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...").encode("ascii", "backslashreplace").decode()


def _suggestion(text: str, known: list[str]) -> str:
    return nearest(text[:200], known) or ("`guardrail runs` lists them" if known else "there are none yet: guardrail run SPEC makes one")
