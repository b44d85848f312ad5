"""`guardrail list generators|audits|policies`: the tables, without importing a single plugin."""

from __future__ import annotations

from typing import Literal

import click

from . import echo_json, table


@click.command("list")
@click.argument("kind", type=click.Choice(["generators", "audits", "policies"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def list_(kind: Literal["generators", "audits", "policies"], as_json: bool) -> None:
    """List what can be named in a spec or on the command line.

    \b
    Example: guardrail list generators
    """
    if kind == "policies":
        from ..judging.policies import summaries

        rows = [{"name": name, "summary": summary} for name, summary in summaries().items()]
    else:
        from ..vocabulary.plugins import table as plugin_table

        rows = [
            {
                "name": name,
                "summary": entry.summary,
                "modalities": ", ".join(entry.modalities),
                "abilities": ", ".join(entry.abilities),
                "paper": entry.paper,
                "provider": entry.provider,
            }
            for name, entry in plugin_table(kind).items()
        ]
    if as_json:
        echo_json({kind: rows})
        return
    shown = [key for key in rows[0] if any(row[key] for row in rows)] if rows else ["name"]
    click.echo(table([[row[key] for key in shown] for row in rows], shown))
