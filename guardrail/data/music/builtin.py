"""Built-in music that we may not ship: read from a folder that the user names, or out of an installed package that has it.

The package is not imported: only its files are read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from ...vocabulary.errors import DataError, MissingExtra
from ..arrays import as_column
from .files import unpacked
from .musicxml import read_mxl

VARIABLE = "GUARDRAIL_DATA"


def read_builtin(facts: Mapping[str, Any], folder: Path) -> pd.DataFrame:
    """The `.npz` of the facts in the folder named by GUARDRAIL_DATA, else the scores of the package."""
    place = Path(os.environ.get(VARIABLE) or folder) / facts["file"]
    if os.environ.get(VARIABLE) and place.is_file():
        if hashlib.sha256(place.read_bytes()).hexdigest() != facts["sha256"]:
            raise DataError(f"{place}: not the file that is meant (its SHA-256 is another); take it out of {VARIABLE}")
        return unpacked(place, str(place))
    corpus = _corpus(facts)
    if corpus is None:
        raise MissingExtra(
            f"these pieces are not part of guardrail (their encoders permit music21 to ship them, not us): pip install music21 "
            f"(or 'guardrail-generators[data]'), or put {facts['file']} into a folder and name it in {VARIABLE}"
        )
    cells = []
    for name in facts["scores"]:
        try:
            cells.append(read_mxl((corpus / f"{name}.mxl").read_bytes(), facts["schema"]["music"]["steps_per_quarter"]))
        except (OSError, DataError) as fault:
            raise DataError(f"{corpus / name}.mxl: {fault}; install the package {facts['package']} again") from None
    return pd.DataFrame({"notes": as_column(cells)})


def _corpus(facts: Mapping[str, Any]) -> Path | None:
    found = find_spec(facts["package"])
    places = [Path(place) / facts["folder"] for place in (found.submodule_search_locations or ())] if found else []
    return next((place for place in places if (place / f"{facts['scores'][0]}.mxl").is_file()), None)
