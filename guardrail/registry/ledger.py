"""The privacy ledger: every epsilon spent on a data set, across runs, and the owner's limit on it.

A reservation is committed before training's first step and counts as spent from then on, whatever happens after; only a
training that finished in fewer steps may settle for less. A limit is enforced by a privacy filter
(`guardrail.privacy_accounting.filter`), since people choose the next run after seeing the last. A training without privacy
spends what no epsilon bounds: it is recorded as that, and refused where there is a limit.

Covered: runs of this home, on data sets recognised by fingerprint, and those declared as their parents.
Not covered: other homes; an edited data set nobody declared; what audits print. Units (row, person) and neighbouring
relations protect different things, so they are kept apart and never added up.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Sequence

from ..privacy_accounting import rdp
from ..vocabulary.errors import GuardrailError, SpecError
from ..vocabulary.frozen import Frozen
from ..vocabulary.receipt import Mechanism
from .books import (
    Books,
    Entry,
    Group,
    Known,
    Limit,
    Reason,
    Reserved,
    Settled,
    Unbounded,
    UnboundedEntry,
    groups_of,
    uncovered_by,
    warnings_about,
)
from .chain import Chain, Link
from .home import Home

USUAL_DELTA = 1e-5
"""Where no limit names a delta."""


class Reservation(Frozen):
    """A training's place in the ledger. `reference` goes into the receipt."""

    home: str
    number: int
    data: str
    warnings: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        return f"{self.home}/{self.number}"


class BudgetSummary(Frozen):
    home: str
    """The ledger covers this home only."""
    data: str
    limit: Limit | None
    delta: float
    groups: tuple[Group, ...]
    """Of the private trainings alone."""
    unbounded: int
    """Trainings that no epsilon bounds."""
    uncovered: str | None
    """What they mean for the data set, in words; null where there are none."""
    entries: tuple[Entry | UnboundedEntry, ...]
    related: tuple[str, ...]
    """Data sets declared as parents or children; they share records, so they are counted together."""
    warnings: tuple[str, ...]


class Ledger:
    """The ledger of one home. Every answer is read from the whole verified chain."""

    def __init__(self, home: Home) -> None:
        self._chain = Chain(home)
        self._home = home.id

    def reserve(
        self,
        data: str,
        *,
        mechanisms: tuple[Mechanism, ...],
        unit: str,
        relation: str,
        epsilon: float,
        delta: float,
        what: str,
        parent: str | None = None,
    ) -> Reservation:
        """Takes the cost from the budget of `data`, durably, or raises BudgetExceeded and takes nothing."""
        _check_parent(data, parent)
        new = Reserved(
            time=_now(),
            data=data,
            what=what,
            unit=unit,
            relation=relation,
            epsilon=epsilon,
            delta=delta,
            mechanisms=mechanisms,
            parent=parent,
        )
        return self._admit(new, lambda books: books.refuse_beyond_limits(new))

    def record_unbounded(self, data: str, *, reason: Reason, unit: str, what: str, parent: str | None = None) -> Reservation:
        """Notes, durably, a training that no epsilon bounds, or raises BudgetExceeded where `data` or a relative has a limit."""
        _check_parent(data, parent)
        new = Unbounded(time=_now(), data=data, what=what, unit=unit, reason=reason, parent=parent)
        return self._admit(new, lambda books: books.refuse_unbounded(new))

    def _admit(self, new: Reserved | Unbounded, refuse: Callable[[Books], list[str]]) -> Reservation:
        warnings: list[str] = []

        def decide(links: list[Link]) -> dict[str, object]:
            books = Books(links)
            books.check_parent(new.parent)
            warnings[:] = refuse(books)
            return new.model_dump(mode="json")

        added = self._chain.append(decide)
        return Reservation(home=self._home, number=added.number, data=new.data, warnings=tuple(warnings))

    def settle(self, reservation: Reservation, mechanisms: tuple[Mechanism, ...]) -> None:
        """What really ran. Less than reserved frees the rest; more is recorded and then reported as our fault."""
        settled = Settled(time=_now(), reservation=reservation.number, mechanisms=mechanisms)

        def decide(links: list[Link]) -> dict[str, object]:
            Books(links).check_unsettled(reservation.number)
            return settled.model_dump(mode="json")

        self._chain.append(decide)
        reserved = Books(self._chain.links()).reserved[reservation.number]
        if (rdp.curve(mechanisms) > rdp.curve(reserved.mechanisms) * (1 + 1e-9)).any():
            raise GuardrailError(
                f"training spent more than entry {reservation.reference} reserved; the ledger has what was spent; please report it"
            )

    def know(self, data: str) -> None:
        """From now on other data sets may name `data` as their parent; trainings and limits do the same."""
        if data not in Books(self._chain.links()).known:
            known = Known(time=_now(), data=data)
            self._chain.append(lambda _links: known.model_dump(mode="json"))

    def limit(self, data: str, epsilon: float, delta: float = USUAL_DELTA) -> Limit:
        """From now on no training may take `data` beyond `epsilon` at `delta`, and none without privacy may start."""
        if not (math.isfinite(epsilon) and epsilon > 0 and 0 < delta < 1):
            raise SpecError(f"a limit needs epsilon > 0 and 0 < delta < 1, not epsilon {epsilon} and delta {delta}")
        limit = Limit(time=_now(), data=data, epsilon=epsilon, delta=delta)
        self._chain.append(lambda _links: limit.model_dump(mode="json"))
        return limit

    def entries(self, data: str) -> tuple[Entry | UnboundedEntry, ...]:
        """Every training on `data` and on data sets declared related to it, oldest first."""
        return self.summary(data).entries

    def summary(self, data: str, *, delta: float | None = None) -> BudgetSummary:
        """Epsilon by unit and relation at the limit's delta, or at `delta` where there is no limit."""
        books = Books(self._chain.links())
        related = books.related(data)
        entries, unbounded = books.entries_of(related), books.unbounded_of(related)
        limit = books.limit_of({data}) or books.limit_of(related)
        at = limit.delta if limit else delta or USUAL_DELTA
        return BudgetSummary(
            home=self._home,
            data=data,
            limit=limit,
            delta=at,
            groups=groups_of(entries, limit, at),
            unbounded=len(unbounded),
            uncovered=uncovered_by(unbounded),
            entries=tuple(sorted((*entries, *unbounded), key=lambda entry: entry.number)),
            related=tuple(sorted(related - {data})),
            warnings=(*warnings_about(entries, related), *_limited_later(limit, unbounded)),
        )


def _check_parent(data: str, parent: str | None) -> None:
    """What is wrong whatever the ledger says."""
    if parent is None:
        return
    if parent == data:
        raise SpecError("data.parent is the data set itself; name the one it was made from, or leave it out")
    if not re.fullmatch(r"hmac-sha256:[0-9a-f]{64}", parent):
        raise SpecError(f"data.parent {parent!r} is not a fingerprint (hmac-sha256:…); `guardrail budget FILE` shows that of a file")


def _limited_later(limit: Limit | None, unbounded: Sequence[Unbounded]) -> tuple[str, ...]:
    """A limit takes nothing back."""
    if limit is None or not unbounded:
        return ()
    return (
        f"the limit holds from {limit.time:%Y-%m-%d %H:%M} UTC on; what trainings without privacy or with seeded noise took before stays "
        "taken",
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
