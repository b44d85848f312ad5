"""One public seed, split into named streams: `stream(7, "split")` and `stream(7, "init")` never share a number.

Public streams only. The noise and the batch order of a private training come from `guardrail.training.secure` and from
nowhere else: a known batch order voids amplification by sampling, a known noise voids everything.
"""

from __future__ import annotations

import hashlib

import numpy as np


def entropy(seed: int, name: str) -> int:
    """128 bits that depend on the seed and on the name of the stream."""
    return int.from_bytes(hashlib.sha256(f"guardrail/{seed}/{name}".encode()).digest()[:16], "big")


def stream(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng(entropy(seed, name))
