"""`guardrail policy`: what a policy asks, in words."""

from __future__ import annotations

import click

from . import Group, echo_json


@click.group(cls=Group)
def policy() -> None:
    """Explain a policy.

    \b
    Example: guardrail policy explain release
    """


@policy.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def explain(name: str, as_json: bool) -> None:
    """Each rule of a policy in words, with why it stands and where its threshold comes from.

    \b
    Example: guardrail policy explain samples
    """
    from ..judging.policies import load

    loaded = load(name)
    if as_json:
        echo_json({"source": loaded.source, "sha256": loaded.sha256, **loaded.policy.model_dump(mode="json")})
        return
    from ..judging.explain import explained

    click.echo(explained(loaded))
