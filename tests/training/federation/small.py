"""Small federations in this process: the same Flower app and messages as on many machines, only carried by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from guardrail.training.contract import Generator
from guardrail.training.federation.federated import part_of
from guardrail.training.federation.job import Job
from guardrail.training.federation.server import Server
from guardrail.training.federation.simulation import Loopback, simulate
from guardrail.training.model import encode
from guardrail.training.strategy import Dataset
from guardrail.vocabulary.spec import FederationSpec, GeneratorSpec, LearningSettings, PrivacySpec
from tests.contracts.worlds import WORLDS


def a_job(
    family: str = "made",
    modality: str = "tabular",
    *,
    privacy: dict[str, Any] | None = None,
    learning: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    **federation: Any,
) -> Job:
    return Job(
        generator=GeneratorSpec(name=family, options=options or {}),
        learning=LearningSettings.model_validate(learning or {}),
        privacy=PrivacySpec.model_validate(privacy) if privacy else None,
        federation=FederationSpec.model_validate({"clients": 3, "rounds": 2, **federation}),
        records=WORLDS[modality].schema,
        seed=3,
    )


def all_records(job: Job, modality: str = "tabular", n: int = 90) -> Dataset:
    codec, frame = job.codec, WORLDS[modality].records(n)
    generator, _ = job.built()
    return Dataset(encode(codec, frame, generator), codec.encode(frame, "tokens"), codec.tokens)


def shares(dataset: Dataset, clients: int) -> list[Dataset]:
    """In turn, so that the first few have one record more."""
    return [part_of(dataset, np.arange(len(dataset.tokens)) % clients == number) for number in range(clients)]


def federate(
    job: Job, parts: Sequence[Dataset], *, grid: Callable[[Loopback], Any] = lambda grid: grid, told: list[str] | None = None
) -> tuple[Server, Generator]:
    """`grid` may wrap the grid, so that messages are lost or changed on their way."""
    generator, floor = job.built()
    servers: list[Server] = []

    def serve(loopback: Loopback) -> None:
        servers.append(Server(job, generator, floor, grid(loopback), tell=(told if told is not None else []).append))
        servers[0].run()

    torch.manual_seed(0)
    simulate(parts, serve, in_process=True)
    return servers[0], generator
