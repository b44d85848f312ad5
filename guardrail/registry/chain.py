"""An append-only log in which each entry carries the one before: what was written cannot be quietly taken back.

Every entry holds the code (HMAC under a key derived from the home's) of its predecessor, its own number and its home; an
edited, moved, doubled or missing entry breaks the chain. A cut-off end does not, so the last number and its code are
also kept in the home, outside the database: a log that ends before it was cut, replaced, or rolled back.

Two writers cannot both append after the same entry. On SQLite a transaction excludes others; on every database the
number is the key, so the slower one fails, reads again, and decides again.

Covered: edits by anyone without the home's key; crashes at any moment; concurrent processes.
Not covered: someone who may read the key; a home deleted as a whole, or its database and this head together.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..vocabulary.documents import alone, canonical_json, read_json, write_atomic
from ..vocabulary.errors import ArtifactError
from .database import Database, LedgerRow
from .home import Home

Body = dict[str, Any]
HEAD = "ledger.head"
_START = "0" * 64
_ATTEMPTS = 50


@dataclass(frozen=True)
class Link:
    """An entry in its place."""

    number: int
    body: Body
    mac: str


class Chain:
    """The log of one home in its database."""

    def __init__(self, home: Home) -> None:
        self._home, self._id = home, home.id
        self._secret = hmac.digest(home.key(), b"guardrail ledger chain", hashlib.sha256)
        self._database = Database(home.database_url)

    def links(self) -> list[Link]:
        """Every entry in order, or ArtifactError where the chain is broken."""
        with self._database.transaction() as session:
            return self._read(session)

    def append(self, decide: Callable[[list[Link]], Body]) -> Link:
        """Adds what `decide` makes of the entries so far; nothing is added if it raises. Durable on return."""
        for _ in range(_ATTEMPTS):
            try:
                with self._database.transaction() as session:
                    links = self._read(session)
                    self._remember(Link(0, {}, _START))
                    added = self._next(links, decide(links))
                    session.add(LedgerRow(home=self._id, number=added.number, body=_text(added.body), mac=added.mac))
            except IntegrityError:
                continue
            self._remember(added)
            return added
        raise ArtifactError(f"{self._database}: other processes kept writing to the ledger; try again")

    def _next(self, links: list[Link], body: Body) -> Link:
        placed = {**body, "home": self._id, "number": len(links) + 1, "previous": links[-1].mac if links else _START}
        return Link(placed["number"], placed, self._mac(_text(placed)))

    def _read(self, session: Session) -> list[Link]:
        rows = session.scalars(select(LedgerRow).where(LedgerRow.home == self._id).order_by(LedgerRow.number)).all()
        links: list[Link] = []
        for place, row in enumerate(rows, start=1):
            if not hmac.compare_digest(self._mac(row.body).encode(), row.mac.encode()):
                raise self._broken(f"entry {row.number} was edited")
            body = json.loads(row.body)
            if (row.number, body["number"], body["home"]) != (place, place, self._id):
                raise self._broken(f"entry {place} is missing or in another's place")
            if body["previous"] != (links[-1].mac if links else _START):
                raise self._broken(f"entry {place} does not follow the one before it")
            links.append(Link(place, body, row.mac))
        self._compare_with_head(links)
        return links

    def _compare_with_head(self, links: list[Link]) -> None:
        head = self._head()
        if head is None:
            if links:
                raise self._broken(f"{self._home.path / HEAD} is missing")
            return
        number, mac = head
        if number > len(links):
            raise self._broken(f"it ends at entry {len(links)}, but entry {number} was written; or GUARDRAIL_DATABASE_URL points elsewhere")
        if number and links[number - 1].mac != mac:
            raise self._broken(f"entry {number} is not the one this home wrote")

    def _head(self) -> tuple[int, str] | None:
        """The last entry as the home remembers it. It may lag behind the database after a crash, never run ahead."""
        path = self._home.path / HEAD
        if not path.exists():
            return None
        head = read_json(path, error=ArtifactError)
        if not isinstance(head, dict) or set(head) != {"number", "mac", "seal"} or head["seal"] != self._seal(head["number"], head["mac"]):
            raise self._broken(f"{path} was edited")
        return head["number"], head["mac"]

    def _remember(self, link: Link) -> None:
        """Only forward: of two processes that committed in turn, the later entry stays."""
        with alone(self._home.path / "ledger.lock"):
            known = self._head()
            if known is None or link.number > known[0]:
                head = {"number": link.number, "mac": link.mac, "seal": self._seal(link.number, link.mac)}
                write_atomic(self._home.path / HEAD, json.dumps(head) + "\n", mode=0o600)

    def _seal(self, number: object, mac: object) -> str:
        return self._mac(f"head {number} {mac}")

    def _mac(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def _broken(self, how: str) -> ArtifactError:
        return ArtifactError(
            f"the ledger of home {self._id} cannot be believed: {how} ({self._database}). "
            "What was spent is unknown, so nothing more may be; restore the database and the home from one backup"
        )


def _text(body: Body) -> str:
    return canonical_json(body).decode()
