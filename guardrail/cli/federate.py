"""`guardrail federate`: a spec with a section `federation`, simulated on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from . import Group
from .run import show


class Federate(Group):
    """`federate SPEC` stands for `federate simulate SPEC`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and Path(args[0]).suffix in (".yaml", ".yml"):
            args = ["simulate", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=Federate)
def federate() -> None:
    """Train on records that stay where they are: `guardrail federate SPEC` simulates it on this machine.

    \b
    Example: guardrail federate spec.yaml --clients 5
    """


@federate.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--clients", type=click.IntRange(min=1), help="In place of the spec's.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where run folders go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def simulate(spec: Path, clients: int | None, runs: Path, as_json: bool) -> int:
    """The clients as processes on this machine; then samples, audits, verdict and card as after `run`.

    \b
    Example: guardrail federate spec.yaml --clients 5
    """
    from ..registry.home import Home
    from ..run.pipeline import federated, read_order
    from ..run.pipeline import run as run_chain
    from .progress import Printer

    made = run_chain(federated(read_order(spec), clients), home=Home.find(), runs=runs, listener=Printer("round").listener())
    show(made, as_json)
    return 0 if made.verdicts[0].status == "pass" else 1


@federate.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("keys"), show_default=True, help="A new folder.")
@click.option("--host", required=True, help="Name or address by which the clients reach the server.")
@click.option("--clients", type=click.IntRange(min=1), required=True, help="How many.")
def keys(out: Path, host: str, clients: int) -> None:
    """Certificates for the server and a key for every client, for one federation.

    \b
    Example: guardrail federate keys --host federation.example --clients 3
    """
    from ..training.federation.host_keys import make_keys

    make_keys(out, host=host, clients=clients)
    click.echo(f"server: {out}; each client gets its own folder and nothing else: {out}/client-0 to {out}/client-{clients - 1}")


@federate.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(1, 65535), default=9092, show_default=True, help="Where to listen.")
@click.option("--keys", type=click.Path(path_type=Path), help="Folder of `federate keys`; without it only on this machine.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where run folders go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def serve(spec: Path, host: str, port: int, keys: Path | None, runs: Path, as_json: bool) -> int:
    """Train with clients on other hosts: wait for them, then rounds, samples, verdict and card.

    \b
    Example: guardrail federate serve spec.yaml --host 0.0.0.0 --keys keys
    """
    from ..registry.home import Home
    from ..run.federate import serve_run
    from ..run.pipeline import federated, read_order
    from ..training.federation.hosts import Address
    from .progress import Printer

    order = federated(read_order(spec))
    made = serve_run(order, Address(host, port, keys), home=Home.find(), runs=runs, listener=Printer("round").listener())
    show(made, as_json)
    return 0 if made.verdicts[0].status == "pass" else 1


@federate.command()
@click.argument("address", metavar="HOST:PORT")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="This client's records: a file, or a folder of images.")
@click.option("--keys", type=click.Path(path_type=Path), help="This client's folder of keys.")
@click.option("--number", type=click.IntRange(min=0), help="This client's number; its folder of keys is named by it.")
def join(address: str, data: Path, keys: Path | None, number: int | None) -> None:
    """Take part with the records of this machine, which stay here, until stopped with Ctrl-C.

    \b
    Example: guardrail federate join federation.example:9092 --data visits.csv --keys client-0
    """
    from ..training.federation.app import Here
    from ..training.federation.host_keys import number_of
    from ..training.federation.hosts import Address, join_federation
    from ..vocabulary.errors import DataError, SpecError

    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SpecError(f"{address!r} is no HOST:PORT, such as federation.example:9092")
    if not data.exists():
        raise DataError(f"{data}: no such file or folder")
    own = number if number is not None else number_of(keys) if keys else None
    if own is None:
        raise SpecError("which client is this? Name it with --number 0, or its folder of keys, client-0, with --keys")
    here = Here(number=own, data=str(data.resolve()), server=address)
    join_federation(Address(host.strip("[]"), int(port), keys), here, tell=lambda text: click.echo(text, err=True))
