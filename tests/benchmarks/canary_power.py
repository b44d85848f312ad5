"""How often the attack on canaries finds a fault planted in a real training, family by family, and how often it calls an honest one false.

    python tests/benchmarks/canary_power.py [--families made,lstm] [--epsilons 1,3] [--seeds 20] [--canaries 400]

Small trainings on the records of the contract tests, with secure noise. What canaries cost a real training, and that the model is none
the worse for them: `adult_quality.py --canaries 0` beside `adult_quality.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.proof.faults import FAULTS, attacked, families_of_gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(name for name, _ in families_of_gradients()))
    parser.add_argument("--epsilons", default="1,3")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--canaries", type=int, default=400)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)
    kinds = {"honest": ExitStack, **FAULTS}
    print(f"| family | epsilon | {' | '.join(kinds)} | s per training |\n|{'---|' * (len(kinds) + 3)}", flush=True)
    for name, modality in families_of_gradients():
        if name not in asked.families.split(","):
            continue
        for epsilon in map(float, asked.epsilons.split(",")):
            started = time.monotonic()
            counts = []
            for fault in kinds.values():
                runs = (attacked(name, modality, epsilon=epsilon, canaries=asked.canaries, fault=fault, seed=i) for i in range(asked.seeds))
                counts.append(sum(int(found["privacy.claim"].value or 0) for found in runs))
            each = (time.monotonic() - started) / (len(kinds) * asked.seeds)
            cells = " | ".join(f"{count} of {asked.seeds}" for count in counts)
            print(f"| `{name}` ({modality}) | {epsilon:g} | {cells} | {each:.1f} |", flush=True)


if __name__ == "__main__":
    main()
