"""`guardrail run` and `guardrail train`: a spec in, a run folder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import echo_json

if TYPE_CHECKING:
    from ..run.federate import Served
    from ..run.pipeline import Run


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where run folders go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def run(spec: Path, runs: Path, as_json: bool) -> int:
    """Train, sample, audit, judge and write the card for one spec. Exit 1 when the policy is not passed.

    \b
    Example: guardrail run spec.yaml
    """
    from ..registry.home import Home
    from ..run.pipeline import read_order
    from ..run.pipeline import run as run_chain
    from .progress import Printer

    made = run_chain(read_order(spec), home=Home.find(), runs=runs, listener=Printer().listener())
    show(made, as_json)
    return 0 if made.verdicts[0].status == "pass" else 1


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where run folders go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def train(spec: Path, runs: Path, as_json: bool) -> None:
    """Train the generator of a spec; `sample`, `audit` and `card` can follow one by one.

    \b
    Example: guardrail train spec.yaml
    """
    from ..registry.home import Home
    from ..run.pipeline import read_order, train_run
    from .progress import Printer

    made = train_run(read_order(spec), home=Home.find(), runs=runs, listener=Printer().listener())
    if as_json:
        echo_json({"run": made.folder.id, "path": str(made.folder.path), "receipt": made.model.receipt.model_dump(mode="json")})
        return
    privacy = made.model.receipt.privacy
    bound = f" with epsilon {privacy.epsilon:.3f} at delta {privacy.delta:g}" if privacy and privacy.valid else " without a privacy claim"
    click.echo(f"trained {made.folder.path}{bound}")
    click.echo(f"next: guardrail sample {made.folder.id}")


def show(made: Run | Served, as_json: bool) -> None:
    """The findings, the verdicts and where everything is."""
    from ..reports.terminal import findings_table, verdict_line

    if as_json:
        echo_json(summary(made))
        return
    click.echo(findings_table(made.report))
    for verdict in made.verdicts:
        click.echo(verdict_line(verdict))
    click.echo(f"\nmodel card  {made.folder.path / 'card.html'}\nreport      {made.folder.report / 'report.html'}")
    click.echo(f"samples     {made.folder.samples}")


def summary(made: Run | Served) -> dict[str, Any]:
    """Everything a CI job reads, as one object."""
    return {
        "run": made.folder.id,
        "path": str(made.folder.path),
        "card": str(made.folder.path / "card.html"),
        "samples": str(made.folder.samples),
        "receipt": made.model.receipt.model_dump(mode="json"),
        "verdicts": {verdict.policy: verdict.model_dump(mode="json") for verdict in made.verdicts},
        **made.report.model_dump(mode="json"),
    }
