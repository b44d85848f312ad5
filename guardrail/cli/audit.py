"""`guardrail audit`: a run of ours, or samples from anywhere against the data they were made from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import columns, echo_json

if TYPE_CHECKING:
    from ..run.audit import Progress
    from ..vocabulary.report import Report
    from ..vocabulary.spec import Spec


@click.command()
@click.argument("run", required=False)
@click.option("--train", type=click.Path(path_type=Path), help="Training data; with --holdout and --synthetic in place of RUN.")
@click.option("--holdout", type=click.Path(path_type=Path), help="Real records that the generator never saw.")
@click.option("--synthetic", type=click.Path(path_type=Path), help="The samples.")
@click.option("--schema", type=click.Path(path_type=Path), help="Schema file; drafted from the data without it.")
@click.option("--target", help="The column that downstream models predict.")
@click.option("--sensitive", help="Sensitive columns, separated by commas.")
@click.option("--policy", help="A built-in policy or a YAML file; exit 1 unless it passes. A run is judged by its own if left out.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the report.")
@click.option("--audience", type=click.Choice(["internal", "public"]), help="Internal if left out; a run's own.")
@click.option("--only", help="Audits to run, separated by commas.")
@click.option("--skip", help="Audits to leave out, separated by commas.")
@click.option("--seed", type=click.IntRange(min=0), help="0 if left out; a run's own.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def audit(run: str | None, out: Path, policy: str | None, audience: str | None, as_json: bool, **given: Any) -> int:
    """Audit a run, or any synthetic file against its training data.

    A run brings its policy, audience, seed and choice of audits in its spec; what is said here goes before.

    \b
    Example: guardrail audit --train train.csv --holdout holdout.csv --synthetic samples.csv --policy samples --out report
    """
    from ..judging.judge import judge
    from ..judging.policies import load
    from ..reports import publish, write_report

    spec = None if run is None else _spec_of(run, given)
    # The policy is read first: a misspelt name must not cost an hour of auditing.
    named = policy or (spec.policy if spec else None)
    loaded = load(named) if named else None
    settings, progress = _settings(given, spec), _say if sys.stderr.isatty() else None
    report = _of_run(run, settings, progress) if run is not None else _of_files(given, settings, progress)
    if loaded is not None:
        report = judge(report, loaded)
    if (audience or (spec.audit.audience if spec else "internal")) == "public":
        report = publish(report)
    write_report(report, out)
    _show(report, out, as_json)
    return 0 if report.verdict is None or report.verdict.status == "pass" else 1


def _spec_of(run: str, given: dict[str, Any]) -> Spec:
    from ..vocabulary.errors import SpecError

    if also := [f"--{name}" for name in ("train", "holdout", "synthetic", "schema", "target", "sensitive") if given[name] is not None]:
        raise SpecError(f"{', '.join(also)} beside RUN {run!r}: a run brings its own data; name either a run or files")
    from ..registry.home import Home
    from ..run.evidence import find_run

    return find_run(run, Home.find()).spec


def _settings(given: dict[str, Any], spec: Spec | None) -> dict[str, Any]:
    """Which audits, from which seed: as said here, else as the run's spec has it."""
    return {
        "only": columns(given["only"]) or (spec.audit.only if spec else None),
        "skip": columns(given["skip"]) or (spec.audit.skip if spec else ()),
        "seed": given["seed"] if given["seed"] is not None else spec.seed if spec else 0,
    }


def _of_run(run: str, settings: dict[str, Any], progress: Progress | None) -> Report:
    from ..run.audit import report_on
    from ..run.evidence import of_run

    evidence, subject = of_run(run)
    return report_on(evidence, subject, **settings, progress=progress)


def _of_files(given: dict[str, Any], settings: dict[str, Any], progress: Progress | None) -> Report:
    from ..run.audit import audit_files
    from ..vocabulary.errors import SpecError

    if given["train"] is None:
        raise SpecError("nothing to audit: name a RUN, or the training data with --train FILE")
    roles = {name: given[name] for name in ("holdout", "synthetic", "schema", "target")}
    sensitive = None if given["sensitive"] is None else columns(given["sensitive"])
    return audit_files(given["train"], **roles, sensitive=sensitive, **settings, progress=progress)


def _show(report: Report, out: Path, as_json: bool) -> None:
    if as_json:
        echo_json(report.model_dump(mode="json"))
        return
    from ..reports.terminal import findings_table, verdict_line

    click.echo(findings_table(report))
    click.echo(verdict_line(report.verdict) if report.verdict else "not judged: no --policy was given")
    click.echo(f"\nreport  {out / 'report.html'}")


def _say(name: str) -> None:
    click.echo(f"audit: {name}", err=True)
