"""The families of tables on Adult complete cases without privacy, beside independent columns: utility on the holdout.

    python tests/benchmarks/tables.py [--families made,tabular_gan,vae]

Run with several families it starts one process for each, so that each has its own peak memory. For all measures of one
family, with and without privacy: adult_quality.py; for other tools on the same data: table_peers.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

from adult_quality import run
from rows import show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", default="made,tabular_gan,vae")
    families = parser.parse_args().families.split(",")
    if len(families) > 1:
        for family in families:
            subprocess.run([sys.executable, __file__, "--families", family], check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GUARDRAIL_HOME"] = folder
        row = run(families[0], None, 0, "adult-complete", {})
    print(f"{families[0]}: " + " ".join(f"{key}={value:.4f}" for key, value in row.items()))
    show(
        families[0],
        "adult-complete",
        "utility AUC (higher)",
        row["utility_auc"],
        floor=row["floor_utility_auc"],
        floor_name="marginals",
        parameters=int(row["parameters"]),
        steps=int(row["steps"]),
        seconds=row["seconds"],
    )


if __name__ == "__main__":
    main()
