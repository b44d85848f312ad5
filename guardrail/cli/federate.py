"""`guardrail federate`: a spec with a section `federation`, simulated on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from . import Group
from .run import show


class Federate(Group):
    """`federate SPEC` stands for `federate simulate SPEC`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and Path(args[0]).suffix in (".yaml", ".yml"):
            args = ["simulate", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=Federate)
def federate() -> None:
    """Train on records that stay where they are: `guardrail federate SPEC` simulates it on this machine.

    \b
    Example: guardrail federate spec.yaml --clients 5
    """


@federate.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--clients", type=click.IntRange(min=1), help="In place of the spec's.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where run folders go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def simulate(spec: Path, clients: int | None, runs: Path, as_json: bool) -> int:
    """The clients as processes on this machine; then samples, audits, verdict and card as after `run`.

    \b
    Example: guardrail federate spec.yaml --clients 5
    """
    from ..registry.home import Home
    from ..run.pipeline import federated, read_order
    from ..run.pipeline import run as run_chain
    from .progress import Printer

    made = run_chain(federated(read_order(spec), clients), home=Home.find(), runs=runs, listener=Printer("round").listener())
    show(made, as_json)
    return 0 if made.verdicts[0].status == "pass" else 1
