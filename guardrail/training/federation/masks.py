"""Secure aggregation, the client's side: a vector leaves only under masks that cancel in the sum (SecAgg+, Bell et al. 2020, CCS; the
protocol of Bonawitz et al. 2017, CCS, among O(log n) neighbours).

Between every two neighbours lies a mask that one adds and the other subtracts; each adds one of its own besides. Who drops out leaves
masks behind: their keys were shared out among the neighbours, and so many of these as the threshold says can give back what is needed
to take them off. Of a client they give either the one or the other, never both, which would lay its vector bare.

Flower's protocol, with its Shamir sharing; its mask generator folds a key to 32 bits, which anybody can try out. Here masks are an
AES-256 keystream in counter mode under the whole agreed key. Numbers are whole multiples of a step that all know, added modulo 2^64:
what does not fit is refused and never clipped.

Protects from: a server that follows the protocol and is curious, together with fewer neighbours of a client than the threshold.
Does not protect from: a server that makes up clients or changes messages; what the sum itself tells. It is not differential privacy.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares

from ...vocabulary.errors import FederationFailed, SpecError

Arrays = dict[str, np.ndarray]
BITS = 50
"""Of a number under masks; what is left of 64 has room for as many clients as a spec may have."""
KEY = 32


@dataclass(frozen=True)
class PublicKeys:
    cipher: bytes
    """Under which shares are sent."""
    mask: bytes


@dataclass
class Masker:
    """One client in one session; a session masks one vector."""

    session: str
    number: int
    cipher: bytes = field(default_factory=lambda: secrets.token_bytes(KEY))
    mask: bytes = field(default_factory=lambda: secrets.token_bytes(KEY))
    own: bytes = field(default_factory=lambda: secrets.token_bytes(KEY))
    """The key of the mask that lies between this client and nobody."""
    peers: dict[int, PublicKeys] = field(default_factory=dict)
    """The neighbours."""
    threshold: int = 0
    shares: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """Held for others, and for itself: of the key of its own mask, and of the key of its masks with others."""
    state: str = "new"
    """new, shared, masked, unmasked: every step is taken once."""

    def public(self) -> PublicKeys:
        return PublicKeys(*(_private(key).public_key().public_bytes_raw() for key in (self.cipher, self.mask)))

    def share(self, peers: Mapping[int, PublicKeys], threshold: int) -> dict[int, bytes]:
        """This client's keys in shares, each for the neighbour that it is for."""
        self._step("new", "shared")
        holders = [self.number, *sorted(peers)]
        keys = [key for own in (*peers.values(), self.public()) for key in (own.cipher, own.mask)]
        if self.number in peers or len(set(keys)) < len(keys):
            raise FederationFailed("secure aggregation: two clients have the same key, or one of them is this client; no share was sent")
        if not len(holders) // 2 < threshold <= len(holders):
            raise FederationFailed(
                f"secure aggregation: a threshold of {threshold} among {len(holders)} clients; it must be more than half of them, or a "
                "server could have both halves give away a client"
            )
        self.peers, self.threshold = dict(peers), threshold
        pairs = list(zip(create_shares(self.own, threshold, len(holders)), create_shares(self.mask, threshold, len(holders)), strict=True))
        self.shares = {self.number: pairs[0]}
        return {
            number: self._seal(number, len(own).to_bytes(4, "big") + own + mask)
            for number, (own, mask) in zip(holders[1:], pairs[1:], strict=True)
        }

    def masked(self, vector: Arrays, inbox: Mapping[int, bytes], step: float) -> Arrays:
        """The vector as uint64 under all its masks. `inbox`: shares of those neighbours that are still there.

        Raises:
            SpecError: A number is too large for the steps that were agreed.
            FederationFailed: Fewer neighbours than the threshold are left.
        """
        self._step("shared", "masked")
        if not set(inbox) <= set(self.peers) or len(inbox) + 1 < self.threshold:
            raise FederationFailed(
                f"secure aggregation: {len(inbox)} of {len(self.peers)} neighbours are left, and the threshold is {self.threshold} with "
                "this client; nothing was sent"
            )
        self.shares |= {number: self._open(number, sealed) for number, sealed in inbox.items()}
        whole = {name: quantised(value, step) for name, value in vector.items()}
        sizes = sum(value.size for value in whole.values())
        total = keystream(self.own, self._about("own", self.number), sizes)
        for number in inbox:
            pair = keystream(self._agreed(self.mask, self.peers[number].mask), self._pair(number), sizes)
            total = total + pair if self.number < number else total - pair
        parts = np.split(total, np.cumsum([value.size for value in whole.values()])[:-1])
        return {name: value + part.reshape(value.shape) for (name, value), part in zip(whole.items(), parts, strict=True)}

    def unmask(self, alive: Iterable[int], gone: Iterable[int]) -> dict[int, bytes]:
        """Of those whose vector came, the share of their own mask's key; of those whose did not, that of their masks with others."""
        there, lost = set(alive), set(gone)
        self._step("masked", "unmasked")
        if there & lost or not (there | lost) <= set(self.shares) or len(there & set(self.shares)) < min(self.threshold, len(self.shares)):
            raise FederationFailed(
                "secure aggregation: asked for shares of clients that are no neighbours, or for both shares of one, or while fewer are "
                "left than the threshold; none was given"
            )
        return {number: self.shares[number][0] if number in there else self.shares[number][1] for number in there | lost}

    def _step(self, before: str, after: str) -> None:
        if self.state != before:
            raise FederationFailed(f"secure aggregation: asked out of turn ({after} after {self.state}); a session masks one vector once")
        self.state = after

    def _seal(self, number: int, text: bytes) -> bytes:
        nonce = secrets.token_bytes(12)
        key = derived(self._agreed(self.cipher, self.peers[number].cipher), b"shares")
        return nonce + AESGCM(key).encrypt(nonce, text, self._about("shares", self.number, number))

    def _open(self, number: int, sealed: bytes) -> tuple[bytes, bytes]:
        key = derived(self._agreed(self.cipher, self.peers[number].cipher), b"shares")
        try:
            text = AESGCM(key).decrypt(sealed[:12], sealed[12:], self._about("shares", number, self.number))
        except (InvalidTag, ValueError):
            raise FederationFailed(f"secure aggregation: the shares that came from client {number} are not what it sent") from None
        size = int.from_bytes(text[:4], "big")
        return text[4 : 4 + size], text[4 + size :]

    def _agreed(self, own: bytes, other: bytes) -> bytes:
        return agreed(own, other)

    def _pair(self, number: int) -> bytes:
        return about(self.session, "pair", *sorted((self.number, number)))

    def _about(self, what: str, *numbers: int) -> bytes:
        return about(self.session, what, *numbers)


def about(session: str, what: str, *numbers: int) -> bytes:
    return "|".join(["guardrail", session, what, *map(str, numbers)]).encode()


def agreed(own: bytes, other: bytes) -> bytes:
    """The secret that two keys have in common (X25519)."""
    try:
        return _private(own).exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError:
        raise FederationFailed("secure aggregation: a client's public key is none") from None


def derived(key: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), length=KEY, salt=None, info=info).derive(key)


def keystream(key: bytes, info: bytes, n: int) -> np.ndarray:
    """(n,) uint64, uniform: AES-256 in counter mode under a key that is used for this and nothing else."""
    encryptor = Cipher(algorithms.AES(derived(key, info)), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(encryptor.update(bytes(8 * n)), dtype="<u8")


def step_for(largest: float) -> float:
    """The step at which numbers from -`largest` to `largest` have so many bits."""
    return largest / 2.0 ** (BITS - 1)


def quantised(values: np.ndarray, step: float) -> np.ndarray:
    """uint64, two's complement, in steps."""
    steps = np.rint(np.asarray(values, dtype=np.float64) / step)
    most = 2.0 ** (BITS - 1)
    if steps.size and not np.abs(steps).max() <= most:
        largest = float(np.abs(values).max())
        needs = f"more, which a range of {2.0 ** np.ceil(np.log2(largest)):g} would hold" if np.isfinite(largest) else "no number"
        raise SpecError(
            f"secure aggregation: numbers from {-step * most:g} to {step * most:g} fit, and this client has {needs}; nothing was sent: a "
            "clipped or wrapped number would make the sum another. Lower training.learning_rate, or leave secure_aggregation out"
        )
    return steps.astype(np.int64).view(np.uint64)


def restored(total: np.ndarray, step: float) -> np.ndarray:
    """The sum in float64."""
    return np.ascontiguousarray(total).view(np.int64).astype(np.float64) * step


def key_from(shares: Iterable[bytes]) -> bytes:
    try:
        return bytes(combine_shares(list(shares)))
    except ValueError:
        raise FederationFailed("secure aggregation: the shares that came do not fit together; nothing was made of this round") from None


def written(masker: Masker) -> str:
    """For this client's own keeping."""
    facts = {name: value.hex() if isinstance(value, bytes) else value for name, value in vars(masker).items()}
    facts["peers"] = {number: [keys.cipher.hex(), keys.mask.hex()] for number, keys in masker.peers.items()}
    facts["shares"] = {number: [own.hex(), mask.hex()] for number, (own, mask) in masker.shares.items()}
    return json.dumps(facts)


def masker_of(text: str) -> Masker:
    if not text:
        raise FederationFailed("secure aggregation: asked out of turn, before any keys; nothing was sent")
    facts = json.loads(text)
    for name in ("cipher", "mask", "own"):
        facts[name] = bytes.fromhex(facts[name])
    facts["peers"] = {int(n): PublicKeys(*map(bytes.fromhex, keys)) for n, keys in facts["peers"].items()}
    facts["shares"] = {int(n): tuple(map(bytes.fromhex, pair)) for n, pair in facts["shares"].items()}
    return Masker(**facts)


def _private(key: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(key)
