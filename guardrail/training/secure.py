"""Randomness for privacy: a cryptographic source, never stored, never logged.

torch's and numpy's generators are not cryptographic: who knows part of their output can compute the rest, and subtract the
noise. Here every number comes from an AES-256 keystream in counter mode whose key is drawn from the operating system and
never leaves the object.

Floating point: noise is the sum of four Gaussians over two (Holohan and Braghin 2021, 'Secure random sampling in
differential privacy', arXiv 2107.10138, section 5.1), which raises the cost of reading the true value off the noisy one's
low-order bits (Mironov 2012) from 2^53 to 2^159 trials. Whoever adds it does so in double precision and rounds the result
to a grid known beforehand (whole counts; a part of the deviation for gradients), so that single precision opens no new
hole. Not covered: timing side channels of the sampler.
"""

from __future__ import annotations

import math
import secrets
from typing import Protocol

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

_TWO_TO_MINUS_53 = 2.0**-53
BLOCK = 2**15
"""Normals that are made at once: few enough for all they come from to stay in the processor's cache."""


class Stream(Protocol):
    """A source of independent uniform numbers in the open interval (0, 1), float64."""

    def uniform(self, n: int) -> Tensor: ...


class SecureStream:
    """The only stream that backs a privacy claim."""

    def __init__(self) -> None:
        cipher = Cipher(algorithms.AES(secrets.token_bytes(32)), modes.CTR(secrets.token_bytes(16)))
        self._keystream = cipher.encryptor()

    def uniform(self, n: int) -> Tensor:
        if n == 0:
            return torch.empty(0, dtype=torch.float64)
        words = np.frombuffer(bytearray(self._keystream.update(bytes(8 * n))), dtype=np.uint64)
        words >>= np.uint64(11)
        # The top 53 bits, centred: never 0 (a logarithm follows) and never 1. As signed words they become doubles twice as fast.
        return torch.from_numpy(words.view(np.int64).astype(np.float64)).add_(0.5).mul_(_TWO_TO_MINUS_53)


class SeededStream:
    """Repeatable noise for tests. Whoever knows the seed removes it: a receipt that used it claims nothing."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def uniform(self, n: int) -> Tensor:
        return torch.from_numpy(self._rng.random(n)).clamp_(min=_TWO_TO_MINUS_53 / 2)


def gaussian(stream: Stream, n: int) -> Tensor:
    """(n,) float64 standard normals, each the sum of four Box-Muller normals over two.

    The two of one pair, r cos(a) + r sin(a), are sqrt(2) r cos(a - pi/4); the angle is uniform with or without the shift, so
    that one cosine gives both.
    """
    normals = np.empty(n)
    for start in range(0, n, BLOCK):
        part = normals[start : start + BLOCK]
        radius, angle = stream.uniform(4 * len(part)).split(2 * len(part))
        length = np.log(radius.numpy())
        np.sqrt(np.negative(length, out=length), out=length)
        length *= angle.mul_(2 * math.pi).cos_().numpy()
        np.add(length[: len(part)], length[len(part) :], out=part)
    return torch.from_numpy(normals)


def poisson_batch(stream: Stream, records: int, rate: float) -> Tensor:
    """Indices of a Poisson-sampled batch: every record is in it with probability `rate`, independently. May be empty."""
    return (stream.uniform(records) < rate).nonzero().squeeze(1)
