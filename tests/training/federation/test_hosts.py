"""Real hosts: Flower's processes with TLS and keys, on this machine's loopback; and what is refused before any of them starts."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_ssh_public_key
from flwr.app import Context, RecordDict

from guardrail.cards.federation import federation_meaning
from guardrail.data.schema_file import load_schema
from guardrail.privacy_accounting.receipts import read_receipt
from guardrail.registry.home import Home
from guardrail.registry.ledger import Ledger
from guardrail.run.folder import RunFolder
from guardrail.training.federation.app import CLIENT, Here, file_of, opened
from guardrail.training.federation.client import Client
from guardrail.training.federation.host_keys import make_keys, number_of
from guardrail.training.federation.hosts import Address, free_port
from guardrail.training.federation.roster import Roster
from guardrail.training.federation.simulation import Loopback
from guardrail.training.federation.wire import client_app
from guardrail.vocabulary import documents
from guardrail.vocabulary.errors import BudgetExceeded, InputError, SpecError
from tests.conftest import Clinic, clinic_rows
from tests.training.federation.small import a_job


def test_without_keys_only_this_machine():
    assert str(Address("127.0.0.1", 9092)) == "127.0.0.1:9092"
    for host in ("192.0.2.7", "federation.example"):
        with pytest.raises(SpecError, match="federate keys"):
            Address(host, 9092)


def test_keys_are_what_flower_takes_and_private_to_their_owner(tmp_path: Path):
    written = make_keys(tmp_path / "keys", host="federation.example", clients=2)
    assert len(written) == 3 + 2 * 3
    server = x509.load_pem_x509_certificate((tmp_path / "keys" / "server.pem").read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "federation.example" in names.get_values_for_type(x509.DNSName)
    authority = x509.load_pem_x509_certificate((tmp_path / "keys" / "ca.pem").read_bytes())
    server.verify_directly_issued_by(authority)
    public = load_ssh_public_key((tmp_path / "keys" / "client-1" / "node.pub").read_bytes())
    assert isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name == "secp384r1"
    private = [path for path in written if path.suffix == ".key"]
    assert len(private) == 3 and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in private)
    assert not any("ca.key" in path.name for path in written)  # nobody can issue more


def test_a_clients_limit_refuses_what_the_server_asks_beyond_it(clinic: Clinic, monkeypatch: pytest.MonkeyPatch):
    """The server's spec decides epsilon, and whether there is any; the client's ledger decides whether it takes part."""
    assert clinic("budget", "visits.csv", "--limit", "3").code == 0
    here = Here(number=0, data=str(clinic.folder / "visits.csv"), server="elsewhere")
    schema = load_schema(clinic.folder / "schema.yaml")
    monkeypatch.setenv("GUARDRAIL_HOME", str(clinic.home.path))
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    documents.write_json(clinic.folder / "here.json", here.model_dump())
    monkeypatch.setenv(CLIENT, str(clinic.folder / "here.json"))
    for privacy in (None, {"epsilon": 5, "canaries": 0}):
        job = a_job(privacy=privacy).model_copy(update={"records": schema})
        with pytest.raises(BudgetExceeded, match="refused by the limit"):
            Client(job, **opened(context, job)._asdict()).answer([])
    job = a_job(privacy={"epsilon": 3, "canaries": 0}).model_copy(update={"records": schema})
    Client(job, **opened(context, job)._asdict()).answer([])


def test_a_client_whose_home_is_new_answers_and_remembers(clinic: Clinic, monkeypatch: pytest.MonkeyPatch):
    home = clinic.folder / "new"
    monkeypatch.setenv("GUARDRAIL_HOME", str(home))
    documents.write_json(clinic.folder / "here.json", Here(number=4, data=str(clinic.folder / "visits.csv")).model_dump())
    monkeypatch.setenv(CLIENT, str(clinic.folder / "here.json"))
    job = a_job(privacy={"epsilon": 3, "canaries": 0}, clients=1)
    job = job.model_copy(update={"records": load_schema(clinic.folder / "schema.yaml"), "training": "one"})
    grid = Loopback(client_app(opened, file_of), 1)
    roster = Roster(job, grid, print)
    roster.gather()
    assert roster.numbers == [4] and not list((home / "federations").glob("*.safetensors"))
    first, again = (roster.ask("query.count", {4: ({}, {})})[4] for _ in range(2))
    assert not first.refused and all((again.arrays[name] == value).all() for name, value in first.arrays.items())
    (file,) = (home / "federations").glob("*.safetensors")
    file.unlink()
    assert not roster.ask("query.count", {4: ({}, {})})[4].refused  # forgotten, and so paid for again
    assert len(Ledger(Home(home)).entries(opened(grid.contexts[2], job).fingerprint)) == 2


def test_keys_in_use_are_not_overwritten(tmp_path: Path):
    make_keys(tmp_path / "keys", host="127.0.0.1", clients=1)
    with pytest.raises(InputError, match="not empty"):
        make_keys(tmp_path / "keys", host="127.0.0.1", clients=1)


def test_a_client_is_numbered_by_its_folder(tmp_path: Path):
    assert number_of(tmp_path / "client-12") == 12
    assert number_of(tmp_path / "keys") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("join", "federation.example:9092", "--data", "visits.csv", "--number", "0"), "federate keys"),
        (("join", "federation.example", "--data", "visits.csv", "--number", "0"), "no HOST:PORT"),
        (("join", "127.0.0.1:9092", "--data", "visits.csv"), "which client is this"),
        (("join", "127.0.0.1:9092", "--data", "none.csv", "--number", "0"), "no such file"),
        (("join", "127.0.0.1:9092", "--data", "visits.csv", "--keys", "client-0"), "ca.pem is not there"),
        (("serve", "spec.yaml", "--host", "192.0.2.7"), "federate keys"),
    ],
)
def test_what_cannot_begin_is_refused(clinic: Clinic, words: tuple[str, ...], said: str):
    clinic.spec(generator={"name": "made"}, federation={"clients": 3})
    found = clinic("federate", *words)
    assert found.code == 2 and said in found.err


def test_a_server_needs_a_public_schema(clinic: Clinic):
    clinic.spec(generator={"name": "made"}, federation={"clients": 3}, data={"schema": None})
    found = clinic("federate", "serve", "spec.yaml")
    assert found.code == 2 and "the schema travels to the clients" in found.err


@contextmanager
def started(folder: Path, home: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "GUARDRAIL_HOME": str(home), "OMP_NUM_THREADS": "1"}
    with (folder / "said").open("w") as said:
        command = [sys.executable, "-m", "guardrail", "federate", *words]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.terminate()  # an interrupt is ignored by what a background job of a shell starts
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.mark.slow
def test_three_hosts_train_one_model_under_tls_and_a_stranger_is_refused(tmp_path: Path):
    """One SuperLink and three SuperNodes as processes on loopback, with TLS and keys; a node with a key of its own making is refused,
    and a client whose authority did not sign the server's certificate sends it nothing."""
    clinic = Clinic(tmp_path)
    make_keys(tmp_path / "keys", host="127.0.0.1", clients=3)
    clinic.spec(
        generator={"name": "made", "options": {"hidden": [16]}},
        training={"epochs": 1},
        privacy={"epsilon": 5, "canaries": 200},
        federation={"clients": 3, "rounds": 2, "secure_aggregation": True, "deadline_seconds": 240},
        policy="federated",
        sample={"n": 200},
    )
    port = free_port()
    address = f"127.0.0.1:{port}"
    hosts = [tmp_path / f"host-{i}" for i in range(5)]
    for i, host in enumerate(hosts):
        host.mkdir()
        clinic_rows(150, seed=i).to_csv(host / "visits.csv", index=False)
    make_keys(tmp_path / "others", host="127.0.0.1", clients=1)
    deceived = hosts[4] / "client-0"
    deceived.mkdir()
    (deceived / "ca.pem").write_bytes((tmp_path / "others" / "ca.pem").read_bytes())
    (deceived / "node.key").write_bytes((tmp_path / "keys" / "client-0" / "node.key").read_bytes())
    stranger = hosts[3] / "client-3"
    stranger.mkdir()
    (stranger / "ca.pem").write_bytes((tmp_path / "keys" / "ca.pem").read_bytes())
    own = ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (stranger / "node.key").write_bytes(own)

    def joining(i: int, keys: Path):
        return started(hosts[i], hosts[i] / "home", "join", address, "--data", "visits.csv", "--keys", str(keys))

    with started(tmp_path, clinic.home.path, "serve", "spec.yaml", "--port", str(port), "--keys", "keys") as server:
        until_it(lambda: "listening" in (tmp_path / "said").read_text(), server)
        with joining(4, deceived) as never:
            assert never.wait(60) == 2
        nodes = [joining(i, tmp_path / "keys" / f"client-{i}") for i in range(3)]
        with joining(3, stranger) as refused, nodes[0], nodes[1], nodes[2]:
            assert server.wait(600) == 0, (tmp_path / "said").read_text()
            assert refused.wait(60) == 2
    assert "certificate verify failed" in (hosts[4] / "said").read_text()
    assert "none that the server registered" in (hosts[3] / "said").read_text()
    folder = RunFolder.at(next((tmp_path / "runs").iterdir()))
    receipt = read_receipt(folder.path / "receipt.json")
    assert receipt.federation is not None and receipt.federation.participants == (3, 3)
    assert not receipt.federation.simulated and receipt.federation.secure_aggregation
    assert any("stayed with it" in line for line in federation_meaning(receipt))
    for host in hosts[:3]:  # every client's own ledger has what its records were charged
        assert "federate made with" in budget_of(host)


@pytest.mark.slow
def test_a_server_that_was_killed_goes_on_and_no_client_pays_twice(tmp_path: Path):
    clinic = Clinic(tmp_path)
    clinic.spec(
        generator={"name": "made", "options": {"hidden": [16]}},
        training={"epochs": 2},
        privacy={"epsilon": 5, "canaries": 0},
        federation={"clients": 2, "rounds": 5, "deadline_seconds": 240},
        policy="federated",
        sample={"n": 200},
    )
    port = free_port()
    hosts = [tmp_path / f"host-{i}" for i in range(2)]
    for i, host in enumerate(hosts):
        host.mkdir()
        clinic_rows(150, seed=i).to_csv(host / "visits.csv", index=False)

    def serving():
        return started(tmp_path, clinic.home.path, "serve", "spec.yaml", "--port", str(port))

    def joining(i: int):
        return started(hosts[i], hosts[i] / "home", "join", f"127.0.0.1:{port}", "--data", "visits.csv", "--number", str(i))

    def rounds() -> int:
        return sum(path.read_text().count('"step"') for path in tmp_path.glob(PROGRESS))

    with joining(0) as one, joining(1) as other:
        with serving() as server:
            until_it(lambda: rounds() >= 2, server)
            server.kill()
        until_it(lambda: not listens(port))  # its own children end with it
        with serving() as server:
            assert server.wait(600) == 0, (tmp_path / "said").read_text()
        assert one.poll() is None and other.poll() is None
    assert "going on after round" in (tmp_path / "said").read_text()
    (run,) = (tmp_path / "runs").iterdir()  # and nothing of what was kept on the way
    receipt = read_receipt(run / "receipt.json")
    assert receipt.federation is not None and receipt.federation.participants == (2,) * 5
    for host in hosts:
        assert "is gone" in (host / "said").read_text()
        assert budget_of(host).count("federate made with") == 1


PROGRESS = "runs/.federation-*/progress.jsonl"


def until_it(holds: Callable[[], bool], process: subprocess.Popen[str] | None = None, seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until and (process is None or process.poll() is None)
        time.sleep(0.5)


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def budget_of(host: Path) -> str:
    environment = {**os.environ, "GUARDRAIL_HOME": str(host / "home")}
    command = [sys.executable, "-m", "guardrail", "budget", "visits.csv"]
    return subprocess.run(command, cwd=host, env=environment, capture_output=True, text=True, check=True).stdout
