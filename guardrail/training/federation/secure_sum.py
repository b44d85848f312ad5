"""Secure aggregation, the server's side: four questions to every client, and of their vectors nothing but the sum.

    keys      everybody's public keys
    shares    everybody's keys in shares, sealed for the neighbours, that the server carries from one to the other
    vectors   the work itself (a count, a leg of training), its result under masks
    unmask    shares of what has to be taken off: of those that are there their own masks, of those that are gone their masks with others

Whoever does not answer in time is gone from there on. Where so few are left that masks cannot be taken off, the round fails closed:
what came is masked for ever.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...vocabulary.errors import FederationFailed
from .masks import Arrays, PublicKeys, about, agreed, key_from, keystream, restored
from .wire import Reply

Ask = Callable[[str, Mapping[int, tuple[Arrays, Mapping[str, Any]]]], Mapping[int, Reply]]
"""A kind of message and what each client gets of it, by number; answers without a fault, by number."""
FEWEST = 3
"""Clients: the sum of two tells each of them the other's vector."""


@dataclass
class SecureSum:
    numbers: Sequence[int]
    ask: Ask
    step: float
    session: str = field(default_factory=lambda: secrets.token_hex(16))
    facts: dict[int, Mapping[str, Any]] = field(default_factory=dict, init=False)
    """What the clients said beside their vectors."""

    def of(self, work: str, arrays: Arrays, facts: Mapping[str, Any], like: Mapping[str, tuple[int, ...]] | None = None) -> Arrays:
        """The sum of what all that are there make of this work, in float64.

        Raises:
            FederationFailed: Too few are left, or what came does not fit together.
        """
        if len(self.numbers) < FEWEST:
            raise FederationFailed(f"secure aggregation needs {FEWEST} clients: the sum of two tells each of them the other's vector")
        said = {"session": self.session}
        keys = self._keys(self.ask("query.keys", {number: ({}, said) for number in self.numbers}))
        ring, threshold = neighbours(sorted(keys))
        boxes = self._shares(keys, ring, threshold)
        requests: dict[int, tuple[Arrays, Mapping[str, Any]]] = {
            number: (arrays, {**facts, "session": self.session, "step": self.step, "work": work, "inbox": _written(inbox)})
            for number, inbox in boxes.items()
        }
        replies = self.ask("train.masked", requests)
        self.facts = {number: reply.facts for number, reply in replies.items()}
        vectors = {number: reply.arrays for number, reply in replies.items()}
        total = self._added(vectors, like)
        return self._unmasked(total, keys, ring, set(boxes), set(vectors), threshold)

    def _keys(self, replies: Mapping[int, Reply]) -> dict[int, PublicKeys]:
        self._enough(len(replies), FEWEST)
        try:
            return {n: PublicKeys(bytes.fromhex(reply.facts["cipher"]), bytes.fromhex(reply.facts["mask"])) for n, reply in replies.items()}
        except (KeyError, TypeError, ValueError):
            raise FederationFailed("secure aggregation: a client sent no public keys") from None

    def _shares(self, keys: Mapping[int, PublicKeys], ring: Mapping[int, set[int]], threshold: int) -> dict[int, dict[int, bytes]]:
        """By client that sent its shares, what its neighbours sent it."""
        requests: dict[int, tuple[Arrays, Mapping[str, Any]]] = {
            number: (
                {},
                {
                    "session": self.session,
                    "threshold": threshold,
                    "peers": {str(peer): [keys[peer].cipher.hex(), keys[peer].mask.hex()] for peer in sorted(ring[number])},
                },
            )
            for number in keys
        }
        replies = self.ask("query.shares", requests)
        self._enough(len(replies), FEWEST)
        sealed = {number: _read(reply.facts.get("sealed")) for number, reply in replies.items()}
        return {number: {peer: sealed[peer][number] for peer in ring[number] if number in sealed.get(peer, {})} for number in sealed}

    def _added(self, vectors: Mapping[int, Arrays], like: Mapping[str, tuple[int, ...]] | None) -> Arrays:
        self._enough(len(vectors), FEWEST)
        shapes = like or {name: value.shape for name, value in next(iter(vectors.values())).items()}
        for number, vector in vectors.items():
            if {name: value.shape for name, value in vector.items()} != shapes or any(v.dtype != np.uint64 for v in vector.values()):
                raise FederationFailed(
                    f"secure aggregation: client {number} sent another vector than was asked for, and its masks cannot be taken off alone"
                )
        total = {name: np.zeros(shape, np.uint64) for name, shape in shapes.items()}
        for vector in vectors.values():
            for name in total:
                total[name] += vector[name]
        return total

    def _unmasked(
        self, total: Arrays, keys: Mapping[int, PublicKeys], ring: Mapping[int, set[int]], shared: set[int], there: set[int], threshold: int
    ) -> Arrays:
        gone = shared - there
        requests: dict[int, tuple[Arrays, Mapping[str, Any]]] = {
            number: (
                {},
                {
                    "session": self.session,
                    "alive": sorted((ring[number] | {number}) & there),
                    "gone": sorted(ring[number] & gone),
                },
            )
            for number in there
        }
        replies = self.ask("query.unmask", requests)
        held: dict[int, list[bytes]] = {}
        for reply in replies.values():
            for number, share in _read(reply.facts.get("shares")).items():
                held.setdefault(number, []).append(share)
        for number in shared:
            self._enough(len(held.get(number, [])), threshold, "shares of a client's key")
        sizes = {name: value.size for name, value in total.items()}
        flat = np.concatenate([value.ravel() for value in total.values()])
        for number in there:
            flat = flat - keystream(key_from(held[number][:threshold]), about(self.session, "own", number), len(flat))
        for number in gone:
            key = key_from(held[number][:threshold])
            for peer in ring[number] & there:
                pair = keystream(agreed(key, keys[peer].mask), about(self.session, "pair", *sorted((number, peer))), len(flat))
                flat = flat - pair if peer < number else flat + pair  # as the peer put it on
        parts = np.split(flat, np.cumsum(list(sizes.values()))[:-1])
        return {name: restored(part, self.step).reshape(total[name].shape) for name, part in zip(total, parts, strict=True)}

    @staticmethod
    def _enough(there: int, least: int, what: str = "clients") -> None:
        if there < least:
            raise FederationFailed(
                f"secure aggregation: {there} {what} are left where {least} are needed; what was sent stays masked, nothing was made of it"
            )


def neighbours(numbers: Sequence[int]) -> tuple[dict[int, set[int]], int]:
    """Of each client those that it shares masks and shares with, and how many of them and itself give a key back: all others where
    there are few clients, else about 6 log2(n) on a ring in an order drawn by coin (Bell et al. 2020, theorem 3.10, has the exact
    numbers for a given risk)."""
    n = len(numbers)
    reach = min((n - 1) // 2, math.ceil(3 * math.log2(max(2, n))))
    order = sorted(numbers, key=lambda _: secrets.token_bytes(16))
    if 2 * reach >= n - 2:
        ring = {number: set(numbers) - {number} for number in numbers}
    else:
        ring = {number: {order[(i + d) % n] for d in range(-reach, reach + 1) if d} for i, number in enumerate(order)}
    holders = len(next(iter(ring.values()))) + 1
    return ring, max(holders // 2 + 1, math.ceil(2 * holders / 3))


def _written(boxes: Mapping[int, bytes]) -> dict[str, str]:
    return {str(number): value.hex() for number, value in boxes.items()}


def _read(boxes: Any) -> dict[int, bytes]:
    try:
        return {int(number): bytes.fromhex(value) for number, value in boxes.items()}
    except (AttributeError, TypeError, ValueError):
        raise FederationFailed("secure aggregation: a client sent no shares") from None
