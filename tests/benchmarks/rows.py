"""One line per family and data set: what every family's benchmark prints, so that `families.py` can set them side by side."""

from __future__ import annotations

import json
import resource
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    family: str
    data: str
    measure: str
    """The quality measure, with the direction that is better: `held-out perplexity (lower)`."""
    value: float
    floor: float
    """The same measure of the floor."""
    floor_name: str
    parameters: int
    seconds_per_1000_steps: float | None
    """None for closed-form families."""
    peak_mb: float


def show(
    family: str, data: str, measure: str, value: float, *, floor: float, floor_name: str, parameters: int, steps: int, seconds: float
) -> Row:
    """Prints the row as one JSON line. Peak memory is the process's: run one family per process."""
    per_1000 = 1000 * seconds / steps if steps else None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row = Row(family, data, measure, value, floor, floor_name, parameters, per_1000, peak)
    print("ROW " + json.dumps(asdict(row)), flush=True)
    return row
