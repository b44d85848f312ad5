"""The two sides of a federation on real hosts, as the apps that Flower's processes start.

What a process has to know of its own machine comes by its environment and files there: nothing of it travels.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from ...data.material import Material, prepare
from ...data.sources import open_source
from ...registry.home import Home
from ...registry.ledger import Ledger
from ...vocabulary import documents
from ...vocabulary.errors import ArtifactError, GuardrailError
from ...vocabulary.frozen import Frozen, parse
from ...vocabulary.spec import DataSpec
from ..loop import Progress
from ..model import encode
from ..spending import LedgerSpending
from ..strategy import Dataset
from .client import Reserve
from .job import Job
from .server import Server
from .state import PROGRESS, ClientFile, ServerFile
from .wire import Participant, client_app

from flwr.app import Context  # isort: skip - after `wire`, which tells Flower to report to nobody
from flwr.serverapp import Grid, ServerApp

SERVER, CLIENT = "GUARDRAIL_FEDERATION_SERVER", "GUARDRAIL_FEDERATION_CLIENT"
"""A folder of the server's, a file of the client's."""
ORDER, WEIGHTS, OUTCOME, FAILED = "order.json", "weights.safetensors", "outcome.json", "failed.json"


class ServerOrder(Frozen):
    job: Job
    kept: str
    """Folder of its state."""


class Here(Frozen):
    """What a client's machine knows and keeps."""

    number: int
    data: str
    on_error: str = "fail"
    server: str = ""
    """Whom it trains with, for the ledger."""


# -- the server's ------------------------------------------------------------------------------------------------------------------------


def server_app() -> ServerApp:
    app = ServerApp()

    @app.main()  # type: ignore[untyped-decorator]
    def main(grid: Grid, context: Context) -> None:
        folder = Path(os.environ[SERVER])
        try:
            _serve(grid, folder)
        except GuardrailError as fault:
            documents.write_json(folder / FAILED, {"message": str(fault), "exit_code": fault.exit_code})
        except BaseException as fault:
            documents.write_json(folder / FAILED, {"message": f"{type(fault).__name__}: {fault}", "exit_code": 4})
            raise

    return app


def _serve(grid: Grid, folder: Path) -> None:
    order = parse(ServerOrder, documents.read_json(folder / ORDER, error=ArtifactError), where=ORDER, error=ArtifactError)
    job, kept = order.job, ServerFile(Path(order.kept))
    generator, floor = job.built()
    with (kept.folder / PROGRESS).open("a") as log:

        def report(progress: Progress) -> None:
            said = {"step": progress.step, "steps": progress.steps, "seconds": progress.seconds, "loss": progress.loss}
            print(json.dumps(said), file=log, flush=True)

        def tell(text: str) -> None:
            print(json.dumps({"note": text}), file=log, flush=True)

        server = Server(job, generator, floor, grid, report, tell, kept)
        server.run()
        canaries = server.canaries()
    counts = server.counts_of_floor()
    named = {f"model.{k}": v for k, v in generator.state_dict().items()} | {f"floor.{k}": v for k, v in floor.state_dict().items()}
    documents.write_atomic(folder / WEIGHTS, save({name: value.detach().cpu().contiguous() for name, value in named.items()}))
    outcome = {
        "federation": server.record(simulated=False).model_dump(mode="json"),
        "canaries": [record.model_dump(mode="json") for record in canaries],
        "records": counts.records,
        "classes": [shares.tolist() for shares in counts.conditions()] if generator.conditional else [],
    }
    documents.write_json(folder / OUTCOME, outcome)


# -- the client's ------------------------------------------------------------------------------------------------------------------------


def _here() -> Here:
    return parse(Here, documents.read_json(Path(os.environ[CLIENT]), error=ArtifactError), where=os.environ[CLIENT], error=ArtifactError)


def file_of(job: Job) -> ClientFile:
    return ClientFile(Home.find().federations_path, job, _here().number)


def opened(context: Context, job: Job) -> Participant:
    """The records of this machine, encoded by the schema that came; and the ledger of this machine's home, which is asked before the
    first step like for any other training."""
    here, home = _here(), Home.find()
    material = material_of(here, job, home)
    codec, (generator, _) = job.codec, job.built()
    tokens, units = codec.encode(material.train, "tokens"), material.units if job.local_privacy else None
    dataset = Dataset(encode(codec, material.train, generator), tokens, codec.tokens, units)
    return Participant(here.number, dataset, _spending(here, job, material, home), material.fingerprint)


def material_of(here: Here, job: Job, home: Home) -> Material:
    data = DataSpec.model_validate({"source": here.data, "holdout": 0.0, "on_error": here.on_error})
    source = open_source(here.data, Path.cwd(), schema=job.records, on_error=data.on_error)
    return prepare(source.frame, job.records, data, privacy=job.privacy, seed=job.seed, home=home, kind=source.modality)


def _spending(here: Here, job: Job, material: Material, home: Home) -> Reserve:
    what = f"federate {job.generator.name} with {here.server}"
    privacy = job.local_privacy
    return LedgerSpending(Ledger(home), material.fingerprint, material.schema.unit, privacy, what, None, lambda _: None).reserve


def client() -> Any:
    torch.set_num_threads(1)
    np.seterr(all="ignore")
    return client_app(opened, file_of)
