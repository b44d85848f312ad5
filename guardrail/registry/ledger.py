"""The privacy ledger: every epsilon spent on a data set, across runs, and the owner's limit on it.

A reservation is committed before training's first step and counts as spent from then on, whatever happens after; only a
training that finished in fewer steps may settle for less. A limit is enforced by a privacy filter
(`guardrail.privacy_accounting.filter`), since people choose the next run after seeing the last.

Covered: runs of this home, on data sets recognised by fingerprint, and those declared as their parents.
Not covered: other homes; an edited data set nobody declared; what audits print. Units (row, person) and neighbouring
relations protect different things, so they are kept apart and never added up.
"""

from __future__ import annotations

import datetime as dt
import math

from ..privacy_accounting import rdp
from ..vocabulary.errors import GuardrailError, SpecError
from ..vocabulary.frozen import Frozen
from ..vocabulary.receipt import Mechanism
from .books import Books, Entry, Group, Limit, Reserved, Settled, groups_of, warnings_about
from .chain import Chain, Link
from .home import Home

USUAL_DELTA = 1e-5
"""Where no limit names a delta."""


class Reservation(Frozen):
    """Paid for. `reference` goes into the receipt."""

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
    entries: tuple[Entry, ...]
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
        if parent == data:
            raise SpecError("data.parent is the data set itself; name the one it was made from, or leave it out")
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
        warnings: list[str] = []

        def decide(links: list[Link]) -> dict[str, object]:
            books = Books(links)
            warnings[:] = books.refuse_beyond_limits(new)
            return new.model_dump(mode="json")

        added = self._chain.append(decide)
        return Reservation(home=self._home, number=added.number, data=data, warnings=tuple(warnings))

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

    def limit(self, data: str, epsilon: float, delta: float = USUAL_DELTA) -> Limit:
        """From now on no run may take `data` beyond `epsilon` at `delta`."""
        if not (math.isfinite(epsilon) and epsilon > 0 and 0 < delta < 1):
            raise SpecError(f"a limit needs epsilon > 0 and 0 < delta < 1, not epsilon {epsilon} and delta {delta}")
        limit = Limit(time=_now(), data=data, epsilon=epsilon, delta=delta)
        self._chain.append(lambda _links: limit.model_dump(mode="json"))
        return limit

    def entries(self, data: str) -> tuple[Entry, ...]:
        """Every spending on `data` and on data sets declared related to it, oldest first."""
        books = Books(self._chain.links())
        return books.entries_of(books.related(data))

    def summary(self, data: str, *, delta: float | None = None) -> BudgetSummary:
        """Epsilon by unit and relation at the limit's delta, or at `delta` where there is no limit."""
        books = Books(self._chain.links())
        related = books.related(data)
        entries = books.entries_of(related)
        limit = books.limit_of({data}) or books.limit_of(related)
        at = limit.delta if limit else delta or USUAL_DELTA
        return BudgetSummary(
            home=self._home,
            data=data,
            limit=limit,
            delta=at,
            groups=groups_of(entries, limit, at),
            entries=entries,
            related=tuple(sorted(related - {data})),
            warnings=warnings_about(data, entries, related),
        )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
