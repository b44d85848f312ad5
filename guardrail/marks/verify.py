"""Says what a file's marks prove. Each layer is one checker in LAYERS; embedded manifests and watermarks join there.

`proven`     signed by someone we trust, and the bytes are the ones that were signed
`untrusted`  the same, but nobody we trust vouches for the signer
`tampered`   a mark is there and does not fit the file, or was damaged
`absent`     no mark: origin unknown. It never means that the file is not genuine: marks get lost in copying.
"""

from __future__ import annotations

import importlib.util
import json
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from ..registry.home import Home
from ..vocabulary.errors import ArtifactError, InputError
from ..vocabulary.frozen import Frozen
from .keys import authority_of, read_authorities
from .manifest import CLAIM, FORMAT, SUFFIX, require, sidecar

State = Literal["proven", "untrusted", "tampered", "absent"]
_MOST = 16 * 2**20
"""Our manifests have a few kB; a larger one is a mistake or an attack."""


class Check(Frozen):
    path: str
    state: State
    layer: str = "manifest"
    signer: str | None = None
    """Who signed, as the certificate says; believe it only where the state is `proven`."""
    claims: dict[str, Any] = {}
    """What the signer says of the file; empty where the mark does not fit."""
    detail: str = ""


def check(path: Path, *, trust: Path | None = None, home: Home | None = None) -> Check:
    """The weightiest layer's word: tampered before proven before untrusted before absent.

    Trusted are the certificates in `trust`, or else the authority of the home.
    """
    anchors = _anchors(trust, home)
    found = [layer(path, anchors) for layer in LAYERS.values()]
    return min(found, key=lambda item: ("tampered", "proven", "untrusted", "absent").index(item.state))


def check_folder(folder: Path, *, trust: Path | None = None, home: Home | None = None) -> tuple[Check, ...]:
    """Every file below `folder`, and every manifest whose file is gone. Links are not followed."""
    names = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    signed = [path for path in names if path.suffix != SUFFIX]
    if not names:
        raise ArtifactError(f"{folder}: holds no file to verify")
    orphans = [path for path in names if path.suffix == SUFFIX and path.with_suffix("") not in signed]
    lost = [Check(path=str(path), state="tampered", detail="the file that this manifest was signed for is missing") for path in orphans]
    return (*(check(path, trust=trust, home=home) for path in signed), *lost)


def states(paths: Iterable[Path], *, home: Home | None = None) -> dict[str, State]:
    """State by file name, for the audit; empty where the part that reads manifests is not installed."""
    if importlib.util.find_spec("c2pa") is None:
        return {}
    return {path.name: check(path, home=home).state for path in paths}


def _manifest(path: Path, anchors: str | None) -> Check:
    """The sidecar beside the file."""
    beside = sidecar(path)
    if not _regular(path, "file"):
        raise ArtifactError(f"{path}: not there; name a file or a folder to verify")
    if not _regular(beside, "manifest"):
        return Check(path=str(path), state="absent", detail="no manifest")
    if beside.stat().st_size > _MOST:
        raise ArtifactError(f"{beside}: larger than {_MOST // 2**20} MiB; is it a manifest?")
    try:
        return _read(path, beside.read_bytes(), anchors)
    except OSError as fault:
        raise ArtifactError(f"{path}: cannot be read with its manifest: {fault.strerror or fault}") from None


def _read(path: Path, manifest: bytes, anchors: str | None) -> Check:
    require()
    from c2pa import C2paError, Context, Reader, Settings

    settings: dict[str, Any] = {"verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}}
    if anchors:
        settings["trust"] = {"trust_anchors": anchors}
    try:
        with path.open("rb") as stream, Reader(FORMAT, stream, manifest, context=Context(Settings.from_dict(settings))) as reader:
            return _judge(path, json.loads(reader.json()))
    except C2paError as fault:
        # It lies where a manifest should and is none: somebody or something changed it.
        return Check(path=str(path), state="tampered", detail=f"the manifest is damaged ({str(fault).splitlines()[0][:120]})")


def _judge(path: Path, found: dict[str, Any]) -> Check:
    """By the validation state; single codes may say `trusted` of a file that was changed."""
    active = found.get("manifests", {}).get(found.get("active_manifest"), {})
    signature = active.get("signature_info") or {}
    signer = " / ".join(part for part in (signature.get("issuer"), signature.get("common_name")) if part) or None
    failures = _failures(found)
    state = _state(found.get("validation_state"), failures)
    if state == "tampered":
        reasons = "; ".join(dict.fromkeys(failures)) or "the manifest does not validate"
        return Check(path=str(path), state=state, signer=signer, detail=reasons[:300])
    claims: dict[str, Any] = next((item["data"] for item in active.get("assertions", []) if item.get("label") == CLAIM), {})
    detail = (
        "" if state == "proven" else "the signer is not among those trusted here; ask them for their authority's certificate (--trust FILE)"
    )
    return Check(path=str(path), state=state, signer=signer, claims=claims, detail=detail)


def _state(validation: object, failures: list[str]) -> State:
    if validation == "Trusted":
        return "proven"
    # A certificate that ran out or is unknown says nothing about the bytes: they are the ones that were signed.
    about_signer = bool(failures) and all(code.startswith("signingCredential.") for code in failures)
    return "untrusted" if validation == "Valid" or about_signer else "tampered"


def _failures(found: dict[str, Any]) -> list[str]:
    active = (found.get("validation_results") or {}).get("activeManifest") or {}
    return [str(item.get("code")) for item in (active.get("failure") or found.get("validation_status") or [])]


def _anchors(trust: Path | None, home: Home | None) -> str | None:
    own = authority_of(home or Home.find()) if trust is None else trust
    return read_authorities(own) if own else None


def _regular(path: Path, what: str) -> bool:
    """Whether it is there; ArtifactError where it is something that cannot be read as a file."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as fault:
        raise InputError(f"{str(path)[:200]!r}: cannot be looked at: {getattr(fault, 'strerror', None) or fault}") from None
    if not stat.S_ISREG(mode):
        raise ArtifactError(f"{path}: not a regular file, so no {what}")
    return True


LAYERS: dict[str, Callable[[Path, str | None], Check]] = {"manifest": _manifest}
