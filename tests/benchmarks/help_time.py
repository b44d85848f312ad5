"""How long `guardrail --help` takes: the median of ten runs, after one that warms the disk. Target: under 0.3 s."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def main(repeats: int = 10) -> None:
    command = [sys.executable, "-m", "guardrail", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    print(
        f"guardrail --help: median {statistics.median(seconds):.3f} s of {repeats} ({min(seconds):.3f} to {max(seconds):.3f}), target 0.3 s"
    )


if __name__ == "__main__":
    main()
