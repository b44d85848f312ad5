"""The Python API, for people at home in scikit-learn and SDV.

model = guardrail.fit(frame, schema=schema, generator="made", epsilon=3)
rows = model.sample(1000)
report = guardrail.audit(train=train, holdout=holdout, synthetic=rows, schema=schema)
guardrail.judge(report, "samples").status
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from .vocabulary.report import Report, Verdict
from .vocabulary.schema import Schema

if TYPE_CHECKING:
    from .training.loop import Progress
    from .training.model import Model


def fit(
    frame: pd.DataFrame,
    *,
    schema: Schema | None = None,
    generator: str = "made",
    options: Mapping[str, Any] | None = None,
    epsilon: float | None = None,
    delta: float = 1e-5,
    records: int | None = None,
    epochs: int | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    seed: int = 0,
    parent: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Model:
    """A model of the whole frame: hold records back yourself for the audits that need them.

    Args:
        schema: public knowledge of the data; without it one is drafted from the records, which `epsilon` refuses.
        epsilon: differential privacy for adding or removing one unit of the schema; None: not private.
        records: public number of units in the frame (a schema's own is the whole source's); without it they are counted
            under the same epsilon.
        parent: fingerprint of the data set this frame was made from (`guardrail budget` prints it): they share a ledger.
    Raises:
        PrivacyRefused: part of the schema was read from the records.
        BudgetExceeded: the data's owner set a limit that this training would pass; without epsilon, any training would.
    Warns:
        UserWarning: what the privacy ledger has to say about this data set.
    """
    from .data.material import prepare
    from .registry.home import Home
    from .training.fit import Settings, train
    from .vocabulary.errors import SpecError
    from .vocabulary.frozen import parse
    from .vocabulary.spec import DataSpec, GeneratorSpec, PrivacySpec, TrainingSpec

    privacy = None
    if epsilon is not None:
        privacy = parse(PrivacySpec, {"epsilon": epsilon, "delta": delta, "records": records}, where="fit", error=SpecError)
    settings = Settings(
        GeneratorSpec(name=generator, options=dict(options or {})),
        parse(TrainingSpec, {"epochs": epochs, "device": device}, where="fit", error=SpecError),
        privacy,
        holdout=0.0,
        seed=seed,
        name="fit",
        parent=parent,
    )
    home = Home.find()
    material = prepare(frame, schema, DataSpec(source="frame", holdout=0.0), privacy=privacy, seed=seed, home=home)
    return train(material, settings, home=home, report=progress or (lambda _: None), tell=warnings.warn)


def audit(
    *,
    train: pd.DataFrame | Path,
    holdout: pd.DataFrame | Path | None = None,
    synthetic: pd.DataFrame | Path | None = None,
    schema: Schema | Path | None = None,
    target: str | None = None,
    sensitive: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    seed: int = 0,
) -> Report:
    """The findings about `synthetic`, from any generator. Without `holdout`, what needs one is not assessable."""
    from .run.audit import audit_files

    return audit_files(
        train, holdout=holdout, synthetic=synthetic, schema=schema, target=target, sensitive=sensitive, only=only, skip=skip, seed=seed
    )


def judge(report: Report, policy: str | Path) -> Verdict:
    """The verdict of a built-in policy or of a YAML file."""
    from .judging.judge import judge as judge_report
    from .judging.policies import load

    return judge_report(report, load(policy)).judged
