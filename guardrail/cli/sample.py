"""`guardrail sample`: records from a trained run."""

from __future__ import annotations

from pathlib import Path

import click

from . import columns
from .use import Place


@click.command()
@click.argument("run")
@click.option("-n", "--rows", type=click.IntRange(min=1), help="Records to draw; as many as were trained on if left out.")
@click.option("-o", "--out", type=Place(path_type=Path), help="File or folder to write; the run's own samples if left out.")
@click.option("--where", multiple=True, metavar="COL=V", help="Only records with this value: label=3, age=30..40, text='Call me'.")
@click.option("--balance", metavar="C,C", help="Every combination of these columns' categories equally often.")
@click.option("--seed", type=click.IntRange(min=0), help="Another seed gives other records; the spec's if left out.")
@click.option("--no-marks", is_flag=True, help="Write no signed manifest beside the file.")
def sample(
    run: str, rows: int | None, out: Path | None, where: tuple[str, ...], balance: str | None, seed: int | None, no_marks: bool
) -> None:
    """Draw records from a trained run, with a signed manifest beside every file.

    \b
    Example: guardrail sample RUN -n 1000 -o rows.csv
    """
    from ..data.material import gather
    from ..registry.home import Home
    from ..run.ask import parse_where, sample_balanced, sample_where
    from ..run.evidence import find_run
    from ..run.sample import default_rows, own_samples, refuse_unavailable_marks, write_preview, write_samples
    from ..training.model import load
    from ..vocabulary.errors import SpecError

    if balance is not None and not columns(balance):
        raise SpecError("--balance: names no column; for instance --balance sex,income")
    if where and balance:
        raise SpecError("--where and --balance: ask for one of them")
    if (where or balance) and out is None:
        raise SpecError(
            "--where and --balance give other records than the run's own samples, which its audits look at; name a file with -o"
        )
    home = Home.find()
    folder = find_run(run, home)
    spec, marks = folder.spec, () if no_marks else folder.spec.sample.marks
    refuse_unavailable_marks(marks)
    model = load(folder.path)
    n = rows or spec.sample.n or default_rows(model, model.receipt.trained_rows or 1000)
    seed = spec.seed if seed is None else seed
    if where:
        frame = sample_where(model, n, parse_where(where), seed=seed)
    elif balance:
        frame = sample_balanced(model, n, columns(balance), seed=seed)
    else:
        sources = None
        if not model.can("sample"):
            sources = gather(
                spec.data, base=folder.path, privacy=spec.privacy, seed=spec.seed, home=home, federation=spec.federation
            ).holdout
        frame = own_samples(model, n, seed=seed, sources=sources)
    path = write_samples(folder, model, frame, marks=marks, home=home, to=out)
    if out is None:
        write_preview(folder, frame)
    click.echo(f"{len(frame):,} {'rows' if model.codec.schema.modality == 'tabular' else 'records'} in {path}")
