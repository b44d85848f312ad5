"""Signs a sample file: a C2PA manifest in a sidecar, `FILE.c2pa` (specification: https://spec.c2pa.org).

The manifest says that the bytes of the file were made by a trained model, by which run, and at which epsilon; it binds
that to the file's hash. Tables have no place for an embedded manifest, so it lies beside them. Covered: the bytes of the
file. Not covered: copies without the sidecar, other encodings of the same rows, whether what is claimed is true.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

from .. import __version__
from ..registry.home import Home
from ..vocabulary.documents import write_atomic
from ..vocabulary.errors import DataError, MissingExtra
from .keys import ensure

SUFFIX = ".c2pa"
CLAIM = "org.guardrail.run"
FORMAT = "application/octet-stream"
"""Of every file: a sidecar needs no knowledge of what it is signed for."""
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def require() -> None:
    """MissingExtra where manifests cannot be signed or read."""
    if importlib.util.find_spec("c2pa") is None:
        raise MissingExtra.named("provenance", "signing and verifying manifests")


def sidecar(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def sign(path: Path, home: Home, assertions: dict[str, Any]) -> Path:
    """Writes the sidecar of `path`: `assertions` (run, generator, epsilon, delta, receipt …) signed with the home's key."""
    require()
    from c2pa import Builder, C2paError, C2paSignerInfo, C2paSigningAlg, Context, Settings, Signer

    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: is empty; there is nothing to sign")
    keys = ensure(home)
    # Bytes and no time stamp authority: text is refused by the library, and a time stamp would go out to the network.
    info = C2paSignerInfo(alg=C2paSigningAlg.ES256, sign_cert=keys.chain, private_key=keys.private_key, ta_url=None)
    settings = Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}, "verify": {"remote_manifest_fetch": False}})
    try:
        with path.open("rb") as source, tempfile.TemporaryFile() as copy:
            builder = Builder(json.dumps(_definition(path, assertions)), context=Context(settings))
            builder.set_no_embed()
            signed = builder.sign(Signer.from_info(info), FORMAT, source, copy)
    except OSError as fault:
        raise DataError(f"{path}: cannot be signed: {fault.strerror or fault}") from None
    except C2paError as fault:
        raise DataError(f"{path}: cannot be signed: {fault}; are the keys in {keys.folder} fit for C2PA? `guardrail keys show`") from None
    write_atomic(sidecar(path), signed)
    return sidecar(path)


def _definition(path: Path, assertions: dict[str, Any]) -> dict[str, Any]:
    agent = {"name": "guardrail", "version": __version__}
    created = {"action": "c2pa.created", "digitalSourceType": SOURCE, "softwareAgent": agent}
    return {
        "claim_generator_info": [agent],
        "title": path.name,
        "format": FORMAT,
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [created]}},
            {"label": CLAIM, "data": assertions, "kind": "Json"},
        ],
    }
