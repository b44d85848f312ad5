"""A federation on real hosts: Flower's SuperLink and SuperNodes as processes, with TLS and a key for every client.

What leaves a client's machine are its answers. Flower hands every SuperNode the app that it should run, and whoever reaches the
SuperLink's port with its certificate may submit one: let nobody but the clients reach that port.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...vocabulary import documents
from ...vocabulary.errors import ArtifactError, FederationFailed, SpecError
from ..loop import Progress
from .app import CLIENT, FAILED, ORDER, OUTCOME, SERVER, WEIGHTS, Here, ServerOrder
from .job import Job
from .state import PROGRESS, ServerFile
from .wire import LOG

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
REFUSED = "Exit Code: 305"
"""What a SuperNode's log says where the SuperLink does not know it, or it the SuperLink."""
TAKEN = "Receiving: "
"""And where it was sent something."""
START_SECONDS = 90
"""How long a process of Flower may take to listen."""
AGAIN_SECONDS = 3
LAST = 1200
"""Letters of a log that are told."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
APP = {
    "pyproject.toml": """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "guardrail-federation"
version = "1.0.0"
description = "The two sides of a federated training; all of it is in the installed package."
license = "Apache-2.0"
dependencies = []

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "guardrail"

[tool.flwr.app.components]
serverapp = "server_side:app"
clientapp = "client_side:app"
""",
    "server_side.py": "from guardrail.training.federation.app import server_app\n\napp = server_app()\n",
    "client_side.py": "from guardrail.training.federation.app import client\n\napp = client()\n",
}


@dataclass(frozen=True)
class Address:
    host: str
    port: int
    keys: Path | None = None
    """Folder of certificates and keys; without it only on this machine."""

    def __post_init__(self) -> None:
        if self.keys is None and self.host not in LOOPBACK:
            raise SpecError(
                f"{self.host} is not this machine, and without keys anybody could listen and take part: make them with "
                "`guardrail federate keys`, and name their folder with --keys"
            )

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def key(self, name: str) -> str:
        assert self.keys is not None  # noqa: S101 - asked where there are some
        path = self.keys / name
        if not path.is_file():
            raise SpecError(f"{path} is not there; `guardrail federate keys` makes it")
        return str(path.resolve())


def join_federation(address: Address, here: Here, *, tell: Callable[[str], None]) -> None:
    """Takes part until it is stopped; KeyboardInterrupt ends it. A server that took this client once is waited for when it is gone.

    Raises:
        FederationFailed: The server does not take this client.
    """
    secured = ["--insecure"]
    if address.keys is not None:
        secured = ["--root-certificates", address.key("ca.pem"), "--auth-supernode-private-key", address.key("node.key")]
    tell(f"client {here.number} is waiting for {address}; stop it with Ctrl-C")
    taken = False
    while True:
        with tempfile.TemporaryDirectory(prefix="guardrail-client-") as folder:
            documents.write_json(Path(folder) / "here.json", here.model_dump())
            own = ["--host", "127.0.0.1", "--port", str(free_port())]
            command = [_program("flower-supernode"), *secured, "--superlink", str(address), *own, "--node-config", f"number={here.number}"]
            code, said = _take_part(command, Path(folder), tell)
        taken = taken or TAKEN in said
        if not taken:
            break
        tell(f"{address} is gone, or does not know this client any more; waiting for it")
        time.sleep(AGAIN_SECONDS)
    if REFUSED in said:
        raise FederationFailed(
            f"{address} did not take this client: its key is none that the server registered, or the server's certificate is not "
            f"by the authority of ca.pem. Flower says: {said[-LAST:]}"
        )
    raise FederationFailed(f"the client's SuperNode ended with code {code}: {said[-LAST:]}")


def _take_part(command: Sequence[str], folder: Path, tell: Callable[[str], None]) -> tuple[int, str]:
    """Until the SuperNode ends: its code and its log."""
    log = folder / "log"
    with _process(command, folder, {CLIENT: str(folder / "here.json")}, log) as node:
        told = 0
        while (code := node.poll()) is None:
            time.sleep(1)
            said = [line for line in log.read_text(errors="replace").splitlines() if LOG in line]
            for line in said[told:]:
                tell(line[line.index(LOG) + len(LOG) :])
            told = len(said)
    return code, COLOURS.sub("", log.read_text(errors="replace")).strip()


def serve(
    job: Job, address: Address, kept: ServerFile, *, report: Callable[[Progress], None], tell: Callable[[str], None]
) -> tuple[bytes, dict[str, Any]]:
    """The trained weights as safetensors, and what is to be known of the training.

    Args:
        kept: what was done so far; a training that was begun there goes on.

    Raises:
        FederationFailed: Clients failed, or Flower did.
    """
    with tempfile.TemporaryDirectory(prefix="guardrail-server-") as name:
        folder = Path(name)
        order = ServerOrder(job=kept.begun(job), kept=str(kept.folder.resolve()))
        documents.write_json(folder / ORDER, order.model_dump(mode="json"))
        app = folder / "app"
        app.mkdir()
        for file, text in APP.items():
            (app / file).write_text(text)
        _connection(folder, address)
        secured = ["--insecure"]
        if address.keys is not None:
            certificates = ["--ssl-ca-certfile", "ca.pem", "--ssl-certfile", "server.pem", "--ssl-keyfile", "server.key"]
            secured = [part if part.startswith("--") else address.key(part) for part in certificates] + ["--enable-supernode-auth"]
        where = ["--host", address.host, "--port", str(address.port), "--disable-runtime-dependency-installation"]
        log = folder / "log"
        with _process([_program("flower-superlink"), *secured, *where], folder, {SERVER: name}, log) as link:
            _until_it_listens(address, link, log)
            for public in sorted(address.keys.glob("client-*/node.pub")) if address.keys else ():
                _flwr(folder, "supernode", "register", str(public.resolve()), "guardrail")
            tell(f"listening on {address}; waiting for {job.federation.clients} clients")
            _flwr(folder, "run", str(app), "guardrail")
            _follow(folder, kept.folder / PROGRESS, link, log, report, tell)
        return (folder / WEIGHTS).read_bytes(), documents.read_json(folder / OUTCOME, error=ArtifactError)


def _follow(
    folder: Path, progress: Path, link: subprocess.Popen[bytes], log: Path, report: Callable[[Progress], None], tell: Callable[[str], None]
) -> None:
    told = 0
    while True:
        finished = (folder / OUTCOME).exists() or (folder / FAILED).exists()
        lines = progress.read_text().splitlines(keepends=True) if progress.exists() else []
        for line in lines[told:] if not lines or lines[-1].endswith("\n") else lines[told:-1]:
            said, told = json.loads(line), told + 1
            if "note" in said:
                tell(f"note: {said['note']}")
            else:
                report(Progress(said["step"], said["steps"], said["seconds"], said["loss"], None))
        if (folder / FAILED).exists():
            failed = documents.read_json(folder / FAILED, error=ArtifactError)
            raise FederationFailed(failed["message"])
        if finished:
            return
        if link.poll() is not None:
            raise FederationFailed(f"the SuperLink ended with code {link.returncode}: {_last_words(log)}")
        time.sleep(0.2)


def _connection(folder: Path, address: Address) -> None:
    """How Flower's own command line finds the SuperLink."""
    home = folder / "flwr"
    home.mkdir()
    secured = "insecure = true" if address.keys is None else f"root-certificates = {json.dumps(address.key('ca.pem'))}"
    (home / "config.toml").write_text(f'[superlink]\ndefault = "guardrail"\n\n[superlink.guardrail]\naddress = "{address}"\n{secured}\n')


def _flwr(folder: Path, *words: str) -> None:
    done = subprocess.run([_program("flwr"), *words], env=_environment(folder, {}), capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise FederationFailed(f"flwr {words[0]} failed: {(done.stderr or done.stdout).strip()[-800:]}")


def _environment(folder: Path, more: dict[str, str]) -> dict[str, str]:
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "FLWR_HOME": str(folder / "flwr")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # Flower starts programs of its own by name
    return {**os.environ, **quiet, "PATH": path, **more}


@contextmanager
def _process(command: Sequence[str], folder: Path, more: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """With its children in a group of their own, which is ended as a whole."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=_environment(folder, more),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        yield process
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _end_with_parent() -> None:
    """Runs in the new process. Whoever is killed outright cannot end its children: where the system can, it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; Flower's own children watch their parents


def _until_it_listens(address: Address, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    host = "127.0.0.1" if address.host in ("0.0.0.0", "::") else address.host  # noqa: S104 - to ask oneself
    while time.monotonic() < until and process.poll() is None:
        try:
            with socket.create_connection((host, address.port), timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise FederationFailed(f"the SuperLink does not listen on {address}: {_last_words(log)}")


def _last_words(log: Path) -> str:
    text = COLOURS.sub("", log.read_text(errors="replace")).strip() if log.exists() else ""
    return text[-LAST:] or "it said nothing"


def _program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if not found:
        raise FederationFailed(f"{name} is not installed: pip install 'guardrail-generators[federated]'")
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
