"""What a training keeps to go on from: tensors and a JSON header in one safetensors file, replaced whole and private to its owner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..vocabulary import documents
from ..vocabulary.errors import ArtifactError


def write_tensors(path: Path, format_: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    said = json.dumps({"format": format_, **header}, allow_nan=False)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    documents.write_atomic(path, save(stored, metadata={"guardrail": said}), mode=0o600)


def read_tensors(path: Path, format_: str, *, advice: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors.

    Args:
        advice: what to do about a file that cannot be read.

    Raises:
        ArtifactError: The file is damaged, of another kind or of another version.
    """
    kind = f"a {format_.removeprefix('guardrail ').rpartition(' ')[0]}"
    try:
        with safe_open(path, framework="pt") as file:
            header = documents.parse_json((file.metadata() or {})["guardrail"], where=str(path), error=ArtifactError)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, KeyError, ArtifactError) as fault:
        raise ArtifactError(f"{path}: not {kind} of guardrail, or damaged ({fault}); {advice}") from None
    if not isinstance(header, dict) or header.get("format") != format_:
        raise ArtifactError(f"{path}: not {kind} that this version reads; {advice}")
    return header, tensors


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin so, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
