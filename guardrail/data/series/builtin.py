"""Built-in series that we may not ship: read from an installed package that does, or from a folder that the user names.

The package is not imported: only its files are read, and their hashes checked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from ...vocabulary.errors import DataError, MissingExtra
from .text import parse_ts

VARIABLE = "GUARDRAIL_DATA"


def read_builtin(facts: Mapping[str, Any]) -> pd.DataFrame:
    """All files one after the other, columns under the names of the schema (`rename` of the facts)."""
    folder = next((place for place in _places(facts) if all((place / name).is_file() for name in facts["files"])), None)
    if folder is None:
        listed = " and ".join(facts["files"])
        raise MissingExtra(
            f"these series are not part of guardrail (their archive states no licence); {facts['packages'][0]} ships them: "
            f"pip install 'guardrail-generators[data]', or put {listed} into a folder and name it in {VARIABLE}"
        )
    parts = [parse_ts(_checked(folder / name, digest), name) for name, digest in facts["files"].items()]
    return pd.concat(parts, ignore_index=True).rename(columns=facts.get("rename", {}))


def _places(facts: Mapping[str, Any]) -> Iterator[Path]:
    if named := os.environ.get(VARIABLE):
        yield Path(named)
        yield Path(named) / facts["folder"]
    for package in facts["packages"]:
        found = find_spec(package)
        for place in (found.submodule_search_locations or ()) if found else ():
            yield Path(place) / "datasets" / "data" / facts["folder"]


def _checked(path: Path, digest: str) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(f"{path}: not the published file (its SHA-256 is another); take it from the package sktime or aeon")
    return content
