"""`guardrail demo`: the whole chain on built-in data."""

from __future__ import annotations

from pathlib import Path

import click

from . import echo_json


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder of the demo; emptied at start."
)
@click.option("--epsilon", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True, help="Privacy budget.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def demo(out: Path, epsilon: float, as_json: bool) -> None:
    """Built-in census data, spec to card: train privately, audit, judge, write the card.

    \b
    Example: guardrail demo --out demo --epsilon 3
    """
    from ..run.demo import HOME, run_demo
    from .progress import Printer
    from .run import show, summary

    made = run_demo(out, epsilon=epsilon, listener=Printer().listener())
    if as_json:
        echo_json(summary(made))
        return
    show(made, as_json=False)
    click.echo(f"dashboard   GUARDRAIL_HOME={out / HOME} guardrail dashboard")
