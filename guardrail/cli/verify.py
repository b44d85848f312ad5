"""`guardrail verify`: what the marks of a file prove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import columns, echo_json

if TYPE_CHECKING:
    from ..marks.verify import Check


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--trust", type=click.Path(path_type=Path), help="Certificates (PEM) to trust instead of this home's own authority.")
@click.option("--require", "required", help="Layers that every file must prove: manifest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def verify(ctx: click.Context, path: Path, trust: Path | None, required: str | None, as_json: bool) -> None:
    """Check the signed manifest of a file, or of every file in a folder.

    Exits 0 when something is proven and nothing tampered with, 1 when a file was tampered with or nothing is proven, 2 when it cannot be
    read.

    \b
    Example: guardrail verify synthetic.parquet
    """
    from ..marks.manifest import SUFFIX
    from ..marks.verify import LAYERS, check, check_folder
    from ..vocabulary.errors import UnknownName

    for name in columns(required):
        if name not in LAYERS:
            raise UnknownName.among("layer of marks", name, LAYERS)
    if path.suffix == SUFFIX and path.with_suffix("").is_file():
        path = path.with_suffix("")
    checks = check_folder(path, trust=trust) if path.is_dir() else (check(path, trust=trust),)
    good = _good(checks, every=bool(required))
    if as_json:
        echo_json({"verified": good, "files": [one.model_dump(mode="json") for one in checks]})
    else:
        for one in checks:
            click.echo(_line(one))
    ctx.exit(0 if good else 1)


def _good(checks: tuple[Check, ...], *, every: bool) -> bool:
    """Tampered wins; then one proven file is enough, or with --require all must be."""
    states = [one.state for one in checks]
    return "tampered" not in states and (set(states) == {"proven"} if every else "proven" in states)


def _line(one: Check) -> str:
    from ..reports.text import inert

    said = {
        "proven": f"proven by {one.layer}, signed by {one.signer}{_claims(one)}",
        "untrusted": f"nothing proven: signed by {one.signer}, whom nobody trusted here vouches for{_claims(one)}. "
        "Ask them for their authority's certificate and pass it with --trust",
        "tampered": f"tampered: {one.detail}",
        "absent": "nothing proven: no manifest (its origin is unknown, which says nothing against it)",
    }
    return inert(f"{one.path}: {said[one.state]}")


def _claims(one: Check) -> str:
    told = ", ".join(f"{name} {value}" for name, value in one.claims.items() if value is not None)
    return f" ({told})" if told else ""
