"""`guardrail sample`: rows from a trained run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run")
@click.option("-n", "--rows", type=click.IntRange(min=1), help="Rows to draw; as many as were trained on if left out.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="CSV or Parquet file; the run's own sample file if left out.")
@click.option("--seed", type=click.IntRange(min=0), help="Another seed gives other rows; the spec's if left out.")
@click.option("--no-marks", is_flag=True, help="Write no signed manifest beside the file.")
def sample(run: str, rows: int | None, out: Path | None, seed: int | None, no_marks: bool) -> None:
    """Draw rows from a trained run, with a signed manifest beside the file.

    \b
    Example: guardrail sample RUN -n 1000 -o rows.csv
    """
    from ..registry.home import Home
    from ..run.evidence import find_run
    from ..run.sample import default_rows, refuse_unavailable_marks, write_samples
    from ..training.model import load

    home = Home.find()
    folder = find_run(run, home)
    spec, marks = folder.spec, () if no_marks else folder.spec.sample.marks
    refuse_unavailable_marks(marks)
    model = load(folder.path)
    n = rows or spec.sample.n or default_rows(model, model.receipt.trained_rows or 1000)
    path = write_samples(folder, model, n=n, seed=spec.seed if seed is None else seed, marks=marks, home=home, to=out)
    click.echo(f"{n:,} rows in {path}")
