"""`guardrail init TEMPLATE`: files to start from."""

from __future__ import annotations

from pathlib import Path

import click

from . import columns


@click.command()
@click.argument("template", metavar="TEMPLATE")
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path(), help="Folder to write into; here, if left out.")
@click.option("--data", type=click.Path(path_type=Path), help="File or folder the spec is for; a schema is drafted from it.")
@click.option("--target", help="Column that models will predict.")
@click.option("--sensitive", help="Columns whose groups are compared: sex,ethnicity.")
@click.option("--unit", help="Column that names the person; left out, every row is a unit of privacy by itself.")
def init(template: str, folder: Path, data: Path | None, target: str | None, sensitive: str | None, unit: str | None) -> None:
    """Write files to start from; nothing that is there is overwritten.

    TEMPLATE is `tabular`, `image`, `text`, `music` or `series` (spec.yaml, card.yaml, policy.yaml, and with --data a draft of
    schema.yaml; all but `tabular` run as they are on built-in data), `federation` (clients that keep their records) or `ci` (a
    workflow that audits samples).

    \b
    Example: guardrail init tabular --data visits.csv --target readmitted --sensitive sex,ethnicity
    """
    from ..run.starter import Table, starter_files, write_new

    files = starter_files(template, folder, Table(data, target, columns(sensitive), unit))
    write_new(files)
    for path in files:
        click.echo(f"wrote {path}")
    click.echo(_next_steps(template, folder, data))


def _next_steps(template: str, folder: Path, data: Path | None) -> str:
    if template == "ci":
        return "next: edit the paths at the top of the workflow"
    if template == "federation":
        return f"next: guardrail federate {folder / 'spec.yaml'}"
    if template != "tabular" and not data:
        return f"next: guardrail run {folder / 'spec.yaml'}"
    schema, spec = folder / "schema.yaml", folder / "spec.yaml"
    first = (
        f"go through {schema}: what is public gets its public value and `source: public`"
        if data
        else f"name your file in {spec} (data.source), then: guardrail schema FILE -o {schema}"
    )
    return f"next: {first}\nthen: guardrail run {spec}"
