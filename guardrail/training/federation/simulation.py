"""A federation on one machine: Flower's simulation engine on Ray, or every client in this process, one after the other.

Either way the clients are the same Flower app and get the same messages; what differs is where they run. Nothing is hidden from
anybody here: a simulation shows what a federation would learn, and protects nobody.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...vocabulary.errors import GuardrailError
from ..contract import Batch
from ..strategy import Dataset
from .job import Job
from .wire import Participant, client_app

from flwr.app import Context, Error, Message, RecordDict  # isort: skip - after `wire`, which tells Flower to report to nobody
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.task_identity import TaskIdentity

Serve = Callable[[Grid], None]
PROCESSES = 2
"""Clients at a time, at most; fewer where there are fewer processors."""


def simulate(parts: Sequence[Dataset], serve: Serve, *, in_process: bool = False) -> None:
    """Runs `serve` with a grid of one client for each part. What it raises comes out here.

    Args:
        in_process: no Ray: for models so small that starting it would take longer than they do.
    """
    with tempfile.TemporaryDirectory(prefix="guardrail-clients-") as folder:  # of mode 0700
        for number, part in enumerate(parts):
            write_dataset(Path(folder) / f"{number}.npz", part)
        app = client_app(_Opened(folder))
        with _quiet():
            if in_process:
                serve(Loopback(app, len(parts)))
            else:
                _on_ray(app, len(parts), serve)


def write_dataset(path: Path, dataset: Dataset) -> None:
    arrays = {"x": dataset.records.x.numpy(), "given": dataset.records.given.numpy(), "tokens": dataset.tokens}
    if dataset.units is not None:
        arrays["units"] = dataset.units
    np.savez(path, allow_pickle=False, **arrays)


class _Opened:
    """Finds a client's records by its number. An object, not a function, since it travels to Ray's processes."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self, context: Context, job: Job) -> Participant:
        number = int(context.node_config["partition-id"])
        dataset = _read(Path(self._folder) / f"{number}.npz", job)
        return Participant(number, dataset, lambda _: None)  # the ledger was asked for all of them


@lru_cache(maxsize=64)
def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read(path: Path, job: Job) -> Dataset:
    arrays = _arrays(path)
    records = Batch(torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["given"]))
    return Dataset(records, arrays["tokens"], job.codec.tokens, arrays.get("units"))


class Loopback(Grid):  # type: ignore[misc]
    """A grid whose nodes are calls of the client app in this process; each keeps a context of its own."""

    def __init__(self, app: ClientApp, clients: int) -> None:
        self._app = app
        # Who writes the messages of this process: Flower's own grids are told when it starts a server.
        TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
        self.contexts = {number + 2: _context(number, clients) for number in range(clients)}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return [self.deliver(message) for message in messages]

    def deliver(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        try:
            return self._app(message, self.contexts[node])
        except Exception as fault:  # what a client app raises, Flower sends as an error
            return Message(Error(code=0, reason=f"{type(fault).__name__}: {fault}"), reply_to=message)

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *arguments: Any, **settings: Any) -> Message:
        return Message(*arguments, **settings)

    def get_nodes(self) -> Iterable[Any]:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError


def _context(number: int, clients: int) -> Context:
    return Context(
        run_id=1, node_id=number + 2, node_config={"partition-id": number, "num-partitions": clients}, state=RecordDict(), run_config={}
    )


def _on_ray(app: ClientApp, clients: int, serve: Serve) -> None:
    from flwr.simulation import run_simulation

    raised: list[BaseException] = []
    server = ServerApp()

    @server.main()  # type: ignore[untyped-decorator]
    def main(grid: Grid, context: Context) -> None:
        try:
            serve(grid)
        except BaseException as fault:  # Flower would log it and raise something of its own
            raised.append(fault)

    at_once = max(1, min(PROCESSES, os.cpu_count() or 1, clients))
    backend = {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"num_cpus": at_once, "include_dashboard": False, "log_to_driver": False},
    }
    try:
        run_simulation(server_app=server, client_app=app, num_supernodes=clients, backend_config=backend)
    except SystemExit as fault:
        raise GuardrailError(f"Flower's simulation ended with code {fault.code}; is the extra 'federated' installed as a whole?") from None
    if raised:
        raise raised[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Flower and Ray tell a developer of theirs what a user of ours has no part in. Ray also reports to nobody."""
    before = logging.getLogger("flwr").level
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # at its own 15 clients would starve beside anything else
        "OMP_NUM_THREADS": "1",
    }
    kept = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("flwr").setLevel(before)
        for name, value in kept.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
