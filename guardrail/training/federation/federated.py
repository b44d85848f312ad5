"""The strategy of a federation in a simulation: the records of one source, dealt to clients that never see each other's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ...vocabulary.canaries import CanaryRecord
from ...vocabulary.errors import Unsupported
from ...vocabulary.receipt import Mechanism, PrivacyClaim
from ..accounting import epsilon_prv, epsilon_rdp
from ..conduct import Conduct
from ..contract import Batch, Generator, Recipe
from ..loop import Progress
from ..strategy import Dataset, Outcome, Spending
from .job import Job
from .learning import private_of, recipe_of
from .server import Server, plan_of
from .simulation import simulate

ALONE = Conduct(monitor=False)


class Federated:
    """Wraps plain training, or private training at every client, or lays privacy on the clients' sum: as the job says."""

    def __init__(self, job: Job, clients: np.ndarray, spending: Spending, *, in_process: bool = False) -> None:
        """`clients`: (training records,) the number of the client that has each."""
        self._job, self._clients, self._spending, self._in_process = job, clients, spending, in_process

    def recipe(self, generator: Generator) -> Recipe:
        if self._job.local_privacy:
            return private_of(self._job).recipe(generator)
        return generator.plain

    def fit(
        self,
        generator: Generator,
        dataset: Dataset,
        recipe: Recipe,
        *,
        seed: int,
        device: torch.device,
        report: Callable[[Progress], None],
        conduct: Conduct = ALONE,
    ) -> Outcome:
        refuse(conduct)
        job = self._job
        plan = plan_of(job, generator)
        self._spending.reserve(tuple(plan))
        parts = [part_of(dataset, self._clients == number) for number in range(job.federation.clients)]
        _, floor = job.built()
        server: list[Server] = []
        watched: list[CanaryRecord] = []

        def serve(grid: Any) -> None:
            server.append(Server(job, generator, floor, grid, report, conduct.tell))
            server[0].run()
            watched.extend(server[0].canaries())

        simulate(parts, serve, in_process=self._in_process)
        counts = server[0].counts_of_floor()
        rows = len(dataset.records)
        settled = recipe_of(generator, job)
        return Outcome(
            counts,
            job.federation.rounds if generator.players() else 0,
            public_batch(settled, counts.records / job.federation.clients),
            settled.epochs if generator.players() else 1,
            claim_of(job, plan, counts.records) if job.privacy else None,
            None if job.privacy else rows,
            canaries=tuple(watched),
            federation=server[0].record(simulated=True),
        )


def refuse(conduct: Conduct) -> None:
    asked = {"several processes (torchrun)": conduct.world.size > 1, "training.compile": conduct.compile}
    for what, there in asked.items():
        if there:
            raise Unsupported(f"not available in a federation: {what}; leave it out")


def part_of(dataset: Dataset, own: np.ndarray) -> Dataset:
    index = torch.from_numpy(np.flatnonzero(own))
    records = Batch(dataset.records.x[index], dataset.records.given[index])
    return Dataset(records, dataset.tokens[own], dataset.space, None if dataset.units is None else dataset.units[own])


def public_batch(recipe: Recipe, records: float) -> int:
    """Of a client, on average. `records`: as they were counted, under privacy with noise: the true number is nobody's business."""
    return recipe.batch_size or max(1, round(recipe.sample_rate * records))


def claim_of(job: Job, plan: Sequence[Mechanism], records: float) -> PrivacyClaim:
    """Of every record, or of every client. A record lies with one client, so what the others do costs it nothing."""
    assert job.privacy is not None  # noqa: S101 - asked under privacy only
    privacy, of_clients = job.privacy, job.guards_clients
    unit = "client" if of_clients else job.records.unit
    return PrivacyClaim(
        epsilon=epsilon_prv(plan, privacy.delta),
        epsilon_rdp=epsilon_rdp(plan, privacy.delta),
        delta=privacy.delta,
        unit=unit,
        rows_per_unit=1 if unit in ("row", "client") else privacy.rows_per_unit,
        mechanisms=tuple(plan),
        records_public=float(job.federation.clients) if of_clients else records,
        records_source="declared public" if of_clients else "measured under DP",
        noise=privacy.noise,
        schema_sources=job.records.sources(),
    )
