"""The model that a federation on real hosts gave, with its receipt."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from safetensors.torch import load

from ...vocabulary.canaries import CanaryRecord
from ...vocabulary.receipt import FederationRecord, Receipt
from ..contract import parameter_count
from ..fit import FEDERATED, versions
from ..model import Model
from .federated import claim_of, public_batch
from .job import Job
from .learning import recipe_of
from .server import plan_of

ELSEWHERE = "with the clients: no fingerprint of their records is known here"


def model_of(job: Job, weights: bytes, outcome: dict[str, Any], *, started: dt.datetime, seconds: float) -> Model:
    """`weights` and `outcome`: what `serve` returned."""
    generator, floor = job.built()
    tensors = load(weights)
    for part, prefix in ((generator, "model."), (floor, "floor.")):
        part.load_state_dict({name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)})
        part.eval()
    plan, recipe = plan_of(job, generator), recipe_of(generator, job)
    records, trained = float(outcome["records"]), bool(generator.players())
    receipt = Receipt(
        generator=job.generator.name,
        strategy="private" if job.privacy else "plain",
        seed=job.seed,
        data=ELSEWHERE,
        trained_rows=None if job.privacy else round(records),
        epochs=recipe.epochs if trained else 1,
        batch_size=public_batch(recipe, records / job.federation.clients),
        steps=job.federation.rounds if trained else 0,
        learning_rate=recipe.learning_rate,
        device="clients",
        parameters=parameter_count(generator),
        privacy=claim_of(job, plan, records) if job.privacy else None,
        federation=FederationRecord.model_validate(outcome["federation"]),
        ledger=None,
        started=started,
        seconds=round(seconds, 3),
        versions=versions(*FEDERATED),
    )
    canaries = TypeAdapter(tuple[CanaryRecord, ...]).validate_python(outcome["canaries"])
    return Model(job.generator, generator, floor, job.codec, receipt, tuple(map(np.array, outcome["classes"])), None, canaries)
