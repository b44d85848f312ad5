"""Commands that use a trained run: fill in what is missing, score, translate, look into its latent space, explain a record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import echo_json

if TYPE_CHECKING:
    import pandas as pd

    from ..run.folder import RunFolder
    from ..training.model import Model


SHOWN = 20
"""Scores that are printed, at most."""


class Place(click.Path):
    """A path; one with the character NUL, which no file can have, is refused before the system is asked."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if "\0" in str(value):
            self.fail(f"{str(value)!r} holds the character NUL, which no path can", param, ctx)
        return super().convert(value, param, ctx)


@click.command()
@click.argument("run")
@click.argument("file", type=Place(path_type=Path))
@click.option("-o", "--out", type=Place(path_type=Path), required=True, help="File or folder to write.")
@click.option("--mask", help="Images: upper, lower, left, right. Sequences: START:STOP, or fields: alto,tenor. Tables and series: none.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed gives other fillings.")
def impute(run: str, file: Path, out: Path, mask: str | None, seed: int) -> None:
    """Fill in what is missing in FILE by draws from a trained run.

    Missing cells of tables and series; the named half of images; the named positions or voices of sequences.

    \b
    Example: guardrail impute RUN gaps.csv -o filled.csv
    """
    from ..data.modality import modality
    from ..run.fill import impute as fill
    from ..run.fill import left_empty

    _, model = _loaded(run, "impute")
    filled = fill(model, _records(model, file, out), mask=mask, seed=seed)
    modality(model.codec.schema.modality).write(filled, out, model.codec.schema)
    click.echo(f"{len(filled):,} records in {out}; what was filled in is drawn from the model, not observed")
    if empty := left_empty(filled):
        click.echo(f"note: {empty:,} cells are still missing: the model draws them so nearly always", err=True)


@click.command()
@click.argument("run")
@click.argument("file", type=Place(path_type=Path))
@click.option("-o", "--out", type=Place(path_type=Path), help="CSV with one score a record; printed if left out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def score(run: str, file: Path, out: Path | None, as_json: bool) -> None:
    """Score how strange each record of FILE is to a trained run: higher is stranger.

    \b
    Example: guardrail score RUN new.csv -o scores.csv
    """
    import numpy as np
    import pandas as pd

    from ..data.tables import write_table

    _, model = _loaded(run, "score")
    scores = model.anomaly_score(_records(model, file, out))
    ranks = np.argsort(np.argsort(-scores)) + 1
    frame = pd.DataFrame({"record": np.arange(1, len(scores) + 1), "score": scores, "rank": ranks})
    if out is not None:
        write_table(frame, out)
    if as_json:
        echo_json({"run": run, "scores": [round(float(value), 6) for value in scores]})
    elif out is None:
        click.echo(frame.sort_values("rank").head(SHOWN).to_string(index=False))
        if len(frame) > SHOWN:
            click.echo(f"and {len(frame) - SHOWN:,} more, less strange; -o FILE writes all")
    else:
        click.echo(f"{len(frame):,} scores in {out}; the strangest is record {int(ranks.argmin()) + 1}")


@click.command()
@click.argument("run")
@click.argument("file", type=Place(path_type=Path))
@click.option("-o", "--out", type=Place(path_type=Path), required=True, help="File or folder to write.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed gives other translations.")
def translate(run: str, file: Path, out: Path, seed: int) -> None:
    """Translate the records of FILE: images to the other style, a melody to the voices that go with it.

    \b
    Example: guardrail translate RUN drawings -o translated
    """
    from ..data.modality import modality

    _, model = _loaded(run, "translate")
    translated = model.translate(_records(model, file, out), seed=seed)
    modality(model.codec.schema.modality).write(translated, out, model.codec.schema)
    click.echo(f"{len(translated):,} records in {out}")


@click.command()
@click.argument("run")
@click.option("-o", "--out", type=Place(path_type=Path), help="PNG to write; latent.png in the run folder if left out.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed interpolates between other codes.")
def latent(run: str, out: Path | None, seed: int) -> None:
    """Draw a picture of a run's latent space: rows of interpolations, then single dimensions traversed.

    \b
    Example: guardrail latent RUN -o latent.png
    """
    from ..run.use import latent_picture
    from ..vocabulary.documents import write_atomic

    folder, model = _loaded(run, "latent")
    path = _png(out) or folder.path / "latent.png"
    write_atomic(path, latent_picture(model, seed=seed))
    click.echo(f"wrote {path}")


@click.command()
@click.argument("run")
@click.option("--sample", "index", type=click.IntRange(min=0), default=0, show_default=True, help="Which of the run's own samples.")
@click.option("-o", "--out", type=Place(path_type=Path), help="PNG to write; explain-I.png in the run folder if left out.")
@click.option("--json", "as_json", is_flag=True, help="The numbers as one JSON object on stdout.")
def explain(run: str, index: int, out: Path | None, as_json: bool) -> None:
    """Explain one of a run's own samples: attention maps of a transformer, the path of a hidden Markov model.

    \b
    Example: guardrail explain RUN --sample 3
    """
    from ..run.heatmap import heatmap_png
    from ..run.use import explained, read_records
    from ..vocabulary.documents import write_atomic
    from ..vocabulary.errors import ArtifactError, SpecError

    folder, model = _loaded(run, "explain")
    path = _png(out) or folder.path / f"explain-{index}.png"
    if not folder.samples.exists():
        raise ArtifactError(f"the run has no samples yet; draw them with: guardrail sample {folder.id}")
    frame = read_records(model, folder.samples)
    if index >= len(frame):
        raise SpecError(f"--sample {index}: the run has samples 0 to {len(frame) - 1}")
    found = explained(model, frame.iloc[[index]].reset_index(drop=True))
    write_atomic(path, heatmap_png(found))
    if as_json:
        echo_json({name: value.tolist() for name, value in found.items()})
    else:
        click.echo(f"wrote {path}: {', '.join(found)}")


def _loaded(run: str, command: str) -> tuple[RunFolder, Model]:
    """The run and its model, which can do what the command asks for."""
    from ..registry.home import Home
    from ..run.evidence import find_run
    from ..run.use import require
    from ..training.model import load

    folder = find_run(run, Home.find())
    model = load(folder.path)
    require(model, command)
    return folder, model


def _records(model: Model, file: Path, out: Path | None) -> pd.DataFrame:
    """The records of FILE, which stays as it is; says what of them was too long to be read."""
    from ..run.use import read_records
    from ..vocabulary.errors import SpecError

    if out is not None and out.exists() and file.exists() and out.samefile(file):
        raise SpecError(f"-o {out}: is the file that is read; name another, so that nothing of it is lost")
    frame = read_records(model, file)
    if cut := frame.attrs.get("cut"):
        click.echo(f"note: records longer than the model has room for were read up to there; {cut:,} further pieces were not", err=True)
    return frame


def _png(out: Path | None) -> Path | None:
    from ..vocabulary.errors import SpecError

    if out is not None and (out.suffix.lower() != ".png" or out.is_dir()):
        raise SpecError(f"-o {out}: the picture is a PNG; name a file that ends in .png")
    return out
