"""`guardrail judge`: a policy on a report that exists already."""

from __future__ import annotations

from pathlib import Path

import click

from . import echo_json


@click.command()
@click.argument("report", type=click.Path(path_type=Path))
@click.option("--policy", required=True, help="A built-in policy or a YAML file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the judged report; the given one is not touched.")
@click.option("--expect", multiple=True, metavar="ROLE=HASH", help="Refuse a report about another artifact; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def judge(report: Path, policy: str, out: Path, expect: tuple[str, ...], as_json: bool) -> int:
    """Apply a policy to a report: exit 0 where it passes, 1 where it does not.

    \b
    Example: guardrail judge report --policy samples --out judged
    """
    from ..judging.judge import judge as judged_by
    from ..judging.policies import load
    from ..reports import read_report, write_report
    from ..reports.terminal import findings_table, verdict_line

    loaded = load(policy)
    _refuse_same(report, out)
    judged = judged_by(read_report(report), loaded, expect=_expected(expect))
    assert judged.verdict is not None  # noqa: S101  # what judging adds
    written = write_report(judged, out)
    if as_json:
        echo_json(judged.model_dump(mode="json"))
    else:
        click.echo(findings_table(judged))
        click.echo(f"\n{verdict_line(judged.verdict)}\nreport: {written.with_name('report.html')}")
    return 0 if judged.verdict.status == "pass" else 1


def _refuse_same(report: Path, out: Path) -> None:
    from ..vocabulary.errors import SpecError

    if out.resolve() in (report.resolve(), report.resolve().parent):
        raise SpecError(f"--out {out} is the report itself, and judging never edits one; choose another folder")


def _expected(pairs: tuple[str, ...]) -> dict[str, str]:
    from ..vocabulary.errors import SpecError

    for pair in pairs:
        if "=" not in pair:
            raise SpecError(f"--expect {pair!r}: write ROLE=HASH, as synthetic=sha256:…")
    return {role: value for role, _, value in (pair.partition("=") for pair in pairs)}
