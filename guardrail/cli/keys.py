"""`guardrail keys init|show`: the signing keys of this home."""

from __future__ import annotations

import click

from . import Group, echo_json


@click.group(cls=Group)
def keys() -> None:
    """Make or show the keys that sign manifests. They stay in the home.

    \b
    Example: guardrail keys init
    """


@keys.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def init(as_json: bool) -> None:
    """Make the keys, unless there are some.

    \b
    Example: guardrail keys init
    """
    from ..marks.keys import ensure
    from ..registry.home import Home

    ensure(Home.find())
    _print(as_json)


@keys.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def show(as_json: bool) -> None:
    """Print the fingerprints, and the certificate to hand to those who verify your files.

    \b
    Example: guardrail keys show
    """
    from ..marks.keys import authority_of
    from ..registry.home import Home
    from ..vocabulary.errors import UnknownName

    home = Home.find()
    if authority_of(home) is None:
        raise UnknownName(f"home {home.path} has no signing keys yet; make them with: guardrail keys init")
    _print(as_json)


def _print(as_json: bool) -> None:
    from ..marks.keys import ensure
    from ..registry.home import Home

    found = ensure(Home.find())
    shown = {**found.fingerprints(), "expires": found.expires().date().isoformat(), "trust": str(found.authority)}
    if as_json:
        echo_json(shown)
        return
    click.echo(f"authority  {shown['authority']}\nsigner     {shown['signer']}\nexpires    {shown['expires']}")
    click.echo(f"Others verify your files with: guardrail verify FILE --trust ca.pem\nGive them {found.authority} (no secret)")
