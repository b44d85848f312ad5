"""The report directory: written as a whole or not at all, and read without trusting it.

The files are made in a temporary sibling that is then renamed into place, so nobody ever sees half a report. An older
report of ours is replaced as a whole; a folder that holds anything else is refused, since replacing would delete it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..vocabulary.documents import read_json
from ..vocabulary.errors import ArtifactError
from ..vocabulary.frozen import parse
from ..vocabulary.report import Report
from .junit import junit_xml
from .render import report_html, report_markdown
from .sarif import sarif

FILES = ("report.json", "report.html", "report.md", "junit.xml", "report.sarif")
_OURS = {*FILES, "card.json", "card.md", "card.html"}


def write_report(report: Report, out: Path) -> Path:
    """The report in all its forms in the folder `out`; returns the path of report.json."""
    out = out.resolve()
    _refuse_foreign(out)
    write_files(
        out,
        {
            "report.json": report_json(report),
            "report.html": report_html(report).encode(),
            "report.md": report_markdown(report).encode(),
            "junit.xml": junit_xml(report),
            "report.sarif": _pretty(sarif(report)),
        },
    )
    return out / "report.json"


def report_json(report: Report) -> bytes:
    """The bytes of report.json: the same report gives the same bytes, so a card can name their hash."""
    return _pretty(report.model_dump(mode="json"))


def read_report(path: Path) -> Report:
    """The report in a report directory, or in its report.json."""
    file = path / "report.json" if path.is_dir() else path
    if not file.exists():
        raise ArtifactError(f"{path}: no report.json there; `guardrail audit … --out {path}` writes one")
    data = read_json(file, error=ArtifactError)
    if not isinstance(data, dict) or "findings" not in data:
        raise ArtifactError(f"{file}: JSON, but no guardrail report; give the folder that `guardrail audit` wrote")
    if data.get("schema_version") != "1":
        raise ArtifactError(
            f"{file}: report format {data.get('schema_version')!r}, this version reads '1'; audit again or update guardrail"
        )
    return parse(Report, data, where=str(file), error=ArtifactError)


def write_files(out: Path, files: dict[str, bytes]) -> None:
    """The folder `out` with exactly these files: old content or new, never a mixture."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name[:40]}."))
    except OSError as fault:
        raise ArtifactError(f"{out}: cannot be written: {fault.strerror or fault}; choose another --out") from None
    try:
        fresh.chmod(0o755)
        for name, content in files.items():
            with (fresh / name).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        _swap(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, out: Path) -> None:
    """`fresh` takes the place of `out`; if that fails, `out` is as it was."""
    if not out.exists():
        fresh.rename(out)
        return
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name[:40]}.old."))
    out.rename(old)  # onto an empty folder, which it replaces
    try:
        fresh.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _refuse_foreign(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ArtifactError(f"{out}: is a file, and a report is a folder; choose another --out")
    names = {entry.name for entry in out.iterdir()}
    if strange := sorted(names - _OURS):
        raise ArtifactError(f"{out}: holds {strange[0]!r}, which is no part of a report and would be deleted; choose another --out")
    if names and not _is_ours(out / "report.json"):
        raise ArtifactError(f"{out}: is not empty and holds no guardrail report; choose another --out")


def _is_ours(file: Path) -> bool:
    try:
        data = read_json(file, error=ArtifactError)
    except ArtifactError:
        return False
    return isinstance(data, dict) and {"guardrail_version", "findings", "subject"} <= set(data)


def _pretty(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
