"""What a data set is called in a ledger: a keyed hash of the multiset of its rows.

The sum modulo 2^256 of the HMAC-SHA256 of every canonical row, with the count, under one more HMAC. Row order, column
order and lossless file format do not matter; a changed, added or dropped row gives another name.
Covered: without the key, which never leaves the home, nobody can confirm a guess about the records.
Not covered: that an edited copy is a copy; `data.parent` declares it.
"""

from __future__ import annotations

import hmac

import pandas as pd

from ..vocabulary.errors import DataError
from .canonical import canonical_names, row_digests

_SHORTEST_KEY = 16


def fingerprint(frame: pd.DataFrame, key: bytes) -> str:
    """`hmac-sha256:…` of the raw table before splitting."""
    if len(key) < _SHORTEST_KEY:
        raise DataError(f"a fingerprint key of {len(key)} bytes can be guessed; it needs at least {_SHORTEST_KEY}")
    total = sum(int.from_bytes(digest, "big") for digest in row_digests(frame, key)) % 2**256
    message = b"table" + canonical_names(frame) + b"%d:" % len(frame) + total.to_bytes(32, "big")
    return "hmac-sha256:" + hmac.digest(key, message, "sha256").hex()
