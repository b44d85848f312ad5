"""Commands that use a trained run: fill in what is missing, score, translate, look into its latent space, explain a record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import echo_json

if TYPE_CHECKING:
    from ..run.folder import RunFolder
    from ..training.model import Model


@click.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="File or folder to write.")
@click.option("--mask", help="Images: upper, lower, left, right. Sequences: START:STOP, or fields: alto,tenor. Tables and series: none.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed gives other fillings.")
def impute(run: str, file: Path, out: Path, mask: str | None, seed: int) -> None:
    """Fill in what is missing in FILE by draws from a trained run.

    Missing cells of tables and series; the named half of images; the named positions or voices of sequences.

    \b
    Example: guardrail impute RUN gaps.csv -o filled.csv
    """
    from ..data.modality import modality
    from ..run.use import impute as fill
    from ..run.use import read_records

    _, model = _loaded(run)
    filled = fill(model, read_records(model, file), mask=mask, seed=seed)
    modality(model.codec.schema.modality).write(filled, out, model.codec.schema)
    click.echo(f"{len(filled):,} records in {out}; what was filled in is drawn from the model, not observed")


@click.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="CSV with one score a record; printed if left out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def score(run: str, file: Path, out: Path | None, as_json: bool) -> None:
    """Score how strange each record of FILE is to a trained run: higher is stranger.

    \b
    Example: guardrail score RUN new.csv -o scores.csv
    """
    import numpy as np
    import pandas as pd

    from ..data.tables import write_table
    from ..run.use import read_records

    _, model = _loaded(run)
    scores = model.anomaly_score(read_records(model, file))
    ranks = np.argsort(np.argsort(-scores)) + 1
    frame = pd.DataFrame({"record": np.arange(1, len(scores) + 1), "score": scores, "rank": ranks})
    if out is not None:
        write_table(frame, out)
    if as_json:
        echo_json({"run": run, "scores": [round(float(value), 6) for value in scores]})
    elif out is None:
        click.echo(frame.sort_values("rank").head(20).to_string(index=False))
    else:
        click.echo(f"{len(frame):,} scores in {out}; the strangest is record {int(ranks.argmin()) + 1}")


@click.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="File or folder to write.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed gives other translations.")
def translate(run: str, file: Path, out: Path, seed: int) -> None:
    """Translate the records of FILE: images to the other style, a melody to the voices that go with it.

    \b
    Example: guardrail translate RUN drawings -o translated
    """
    from ..data.modality import modality
    from ..run.use import read_records

    _, model = _loaded(run)
    translated = model.translate(read_records(model, file), seed=seed)
    modality(model.codec.schema.modality).write(translated, out, model.codec.schema)
    click.echo(f"{len(translated):,} records in {out}")


@click.command()
@click.argument("run")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="PNG to write; latent.png in the run folder if left out.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed interpolates between other codes.")
def latent(run: str, out: Path | None, seed: int) -> None:
    """Draw a picture of a run's latent space: rows of interpolations, then single dimensions traversed.

    \b
    Example: guardrail latent RUN -o latent.png
    """
    from ..run.use import latent_picture
    from ..vocabulary.documents import write_atomic

    folder, model = _loaded(run)
    path = out or folder.path / "latent.png"
    write_atomic(path, latent_picture(model, seed=seed))
    click.echo(f"wrote {path}")


@click.command()
@click.argument("run")
@click.option("--sample", "index", type=click.IntRange(min=0), default=0, show_default=True, help="Which of the run's own samples.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="PNG to write; explain-I.png in the run folder if left out.")
@click.option("--json", "as_json", is_flag=True, help="The numbers as one JSON object on stdout.")
def explain(run: str, index: int, out: Path | None, as_json: bool) -> None:
    """Explain one of a run's own samples: attention maps of a transformer, the path of a hidden Markov model.

    \b
    Example: guardrail explain RUN --sample 3
    """
    from ..run.heatmap import heatmap_png
    from ..run.use import explained, read_records
    from ..vocabulary.documents import write_atomic
    from ..vocabulary.errors import SpecError

    folder, model = _loaded(run)
    frame = read_records(model, folder.samples)
    if index >= len(frame):
        raise SpecError(f"--sample {index}: the run has samples 0 to {len(frame) - 1}")
    found = explained(model, frame.iloc[[index]].reset_index(drop=True))
    path = out or folder.path / f"explain-{index}.png"
    write_atomic(path, heatmap_png(found))
    if as_json:
        echo_json({name: value.tolist() for name, value in found.items()})
    else:
        click.echo(f"wrote {path}: {', '.join(found)}")


def _loaded(run: str) -> tuple[RunFolder, Model]:
    from ..registry.home import Home
    from ..run.evidence import find_run
    from ..training.model import load

    folder = find_run(run, Home.find())
    return folder, load(folder.path)
