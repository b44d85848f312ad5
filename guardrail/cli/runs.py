"""`guardrail runs`: what is in the registry."""

from __future__ import annotations

import click

from . import echo_json, table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def runs(as_json: bool) -> None:
    """List the runs of this home, newest first.

    \b
    Example: guardrail runs
    """
    from ..registry.home import Home
    from ..registry.runs import Registry
    from ..reports.text import inert

    home = Home.find()
    found = Registry(home).runs()
    if as_json:
        echo_json({"home": home.id, "runs": [record.model_dump(mode="json") for record in found]})
        return
    if not found:
        click.echo("no runs yet; make one with: guardrail demo, or guardrail run SPEC")
        return
    rows = [
        [
            record.id,
            inert(record.name),
            f"{record.created:%Y-%m-%d %H:%M}",
            inert(record.family),
            "no claim" if record.epsilon is None else f"{record.epsilon:.3g}",
            ", ".join(f"{inert(policy)}: {status}" for policy, status in record.verdicts.items()) or "not judged",
        ]
        for record in found
    ]
    click.echo(table(rows, ["run", "name", "created (UTC)", "generator", "epsilon", "verdict"]))
