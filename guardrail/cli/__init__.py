"""The command line: verb, subject, options. Each command parses, calls one function, prints.

Commands stand in a table and are imported when called: `guardrail --help` takes a fraction of a second.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (".demo:demo", "Built-in census data, spec to card: train privately, audit, judge, write the card."),
    "init": (".init:init", "Write a spec, a policy and a CI workflow to start from."),
    "schema": (".schema:schema", "Draft the schema of a table; entries read from the data are marked so."),
    "run": (".run:run", "Train, sample, audit, judge and write the card for one spec."),
    "federate": (".federate:federate", "Train on records that stay where they are."),
    "train": (".run:train", "Train the generator of a spec."),
    "sample": (".sample:sample", "Draw records from a trained run."),
    "impute": (".use:impute", "Fill in what is missing by draws from a trained run."),
    "score": (".use:score", "Score how strange records are to a trained run."),
    "translate": (".use:translate", "Translate records: the other style, the voices that go with a melody."),
    "latent": (".use:latent", "Draw a picture of a run's latent space."),
    "explain": (".use:explain", "Explain one of a run's own samples."),
    "audit": (".audit:audit", "Audit a run, or any synthetic file against its training data."),
    "judge": (".judge:judge", "Apply a policy to a report."),
    "card": (".card:card", "Write the model card of a run."),
    "verify": (".verify:verify", "Check the signed manifest of a file or a folder."),
    "keys": (".keys:keys", "Make or show the signing keys of this home."),
    "budget": (".budget:budget", "Show or limit what has been spent on a data set."),
    "runs": (".runs:runs", "List the runs in the registry."),
    "policy": (".policy:policy", "Explain a policy."),
    "list": (".plugins:list_", "List generators, audits or policies."),
    "dashboard": (".dashboard:dashboard", "Show runs and cards in the browser."),
}


class Group(click.Group):
    """A group that says which of its commands a misspelt one may have been."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            from ..vocabulary.errors import UnknownName

            raise UnknownName.among(f"{self.name} command" if ctx.parent else "command", args[0], known)
        return super().resolve_command(ctx, args)


class _LazyGroup(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module, __name__), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from .. import __version__

        click.echo(f"guardrail {__version__}")
        ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Show the version.")
def cli() -> None:
    """From private data to a signed, reviewed release of a generative model.

    \b
    Exit codes: 0 done or policy passed, 1 policy not passed, 2 bad input,
    3 refused by a privacy budget, 4 internal error, 130 interrupted.
    """


def echo_json(value: object) -> None:
    """One JSON object on stdout: the whole output of a command under `--json`."""
    import json

    click.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def columns(value: str | None) -> tuple[str, ...]:
    """`--sensitive sex,race` as a tuple."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else ()


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Aligned columns for a terminal."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [header, *rows]]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
