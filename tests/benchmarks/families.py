"""Every family on its built-in data beside its floor: quality, parameters, seconds per 1,000 steps, peak memory, as a Markdown table.

    python tests/benchmarks/families.py [--only adversarial,sequences]

Runs the families' own scripts one after the other, each in a process of its own, and gathers the rows that they print.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SCRIPTS = ("tables", "autoencoders", "adversarial", "cyclegan", "diffusion", "sequences", "chains", "anomaly")


def rows_of(script: str) -> list[dict[str, Any]]:
    """What the script printed as rows; its other lines go through."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([sys.executable, str(HERE / f"{script}.py")], stdout=subprocess.PIPE, text=True, env=environment)
    found = []
    for line in process.stdout or ():
        if line.startswith("ROW "):
            found.append(json.loads(line.removeprefix("ROW ")))
        print(line, end="", flush=True)
    if process.wait() != 0:
        print(f"{script}: exit code {process.returncode}", file=sys.stderr)
    return found


def markdown(rows: list[dict[str, Any]]) -> str:
    head = "| family | data | measure | value | floor | parameters | s per 1,000 steps | peak MB |\n|---|---|---|---|---|---|---|---|"
    lines = []
    for row in rows:
        pace = "-" if row["seconds_per_1000_steps"] is None else f"{row['seconds_per_1000_steps']:.1f}"
        floor = f"{row['floor']:.4g} ({row['floor_name']})"
        cells = (f"`{row['family']}`", row["data"], row["measure"], f"{row['value']:.4g}", floor, f"{row['parameters']:,}", pace)
        lines.append("| " + " | ".join([*cells, f"{row['peak_mb']:.0f}"]) + " |")
    return "\n".join([head, *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SCRIPTS))
    scripts = [name for name in parser.parse_args().only.split(",") if (HERE / f"{name}.py").is_file()]
    print("\n" + markdown([row for script in scripts for row in rows_of(script)]))


if __name__ == "__main__":
    main()
