"""`guardrail card`: the model card of a run."""

from __future__ import annotations

import click


@click.command()
@click.argument("run")
def card(run: str) -> None:
    """Write the model card of a run from its report, its receipt and the words in its card.yaml.

    \b
    Example: guardrail card RUN
    """
    from ..registry.home import Home
    from ..run.card import card_of
    from ..run.evidence import find_run

    home = Home.find()
    folder = find_run(run, home)
    card_of(folder, home=home)
    click.echo(f"model card  {folder.path / 'card.html'}")
