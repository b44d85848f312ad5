"""What a ledger's entries add up to: which data sets belong together, what they have spent, whether more may be.

Data sets joined by a declared parent share records; they are counted together, and every limit among them holds. Units
and neighbouring relations protect different things; they are counted apart. A training that no epsilon bounds has no
place in any sum: it is listed beside the others, and a limit, however high, admits none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from ..privacy_accounting import rdp
from ..privacy_accounting.filter import epsilon_filtered
from ..vocabulary.errors import ArtifactError, BudgetExceeded, SpecError
from ..vocabulary.frozen import Frozen
from ..vocabulary.receipt import Mechanism
from .chain import Link

Reason = Literal["no privacy", "seeded noise"]
"""Why no epsilon bounds a training."""


class Limit(Frozen):
    """The owner's word: no more than `epsilon` at `delta`, for each unit and relation."""

    kind: Literal["limit"] = "limit"
    time: AwareDatetime
    data: str
    epsilon: float = Field(gt=0)
    delta: float = Field(gt=0, lt=1)


class Reserved(Frozen):
    kind: Literal["reserve"] = "reserve"
    time: AwareDatetime
    data: str
    what: str
    unit: str
    relation: str
    epsilon: float = Field(ge=0)
    """As the training's own accountant has it, at its own delta."""
    delta: float = Field(gt=0, lt=1)
    mechanisms: tuple[Mechanism, ...] = Field(min_length=1)
    parent: str | None = None


class Unbounded(Frozen):
    """A training that no epsilon bounds: without privacy, or with noise that whoever knows the seed removes."""

    kind: Literal["unbounded"] = "unbounded"
    time: AwareDatetime
    data: str
    what: str
    unit: str
    reason: Reason
    epsilon: None = None
    delta: None = None
    parent: str | None = None


class Known(Frozen):
    """The owner asked for the budget of a data set, so its name may be declared as a parent."""

    kind: Literal["known"] = "known"
    time: AwareDatetime
    data: str


class Settled(Frozen):
    kind: Literal["settle"] = "settle"
    time: AwareDatetime
    reservation: int
    mechanisms: tuple[Mechanism, ...]


class Entry(Reserved):
    """One spending, with what became of it."""

    number: int
    state: Literal["reserved", "spent"]
    """`reserved`: training never reported back; it counts in full."""


class UnboundedEntry(Unbounded):
    """One training of no bound. It counts from the moment it is written; there is nothing to settle."""

    number: int
    state: Literal["spent"] = "spent"


class Group(Frozen):
    """What was spent on the same unit under the same relation."""

    unit: str
    relation: str
    epsilon: float
    left: float | None
    """Null: there is no limit."""
    runs: int


Body = Limit | Known | Reserved | Unbounded | Settled
BODIES: TypeAdapter[Body] = TypeAdapter(Annotated[Body, Field(discriminator="kind")])


class Books:
    """The chain's entries, sorted by what they are."""

    def __init__(self, links: Sequence[Link]) -> None:
        self.reserved: dict[int, Reserved] = {}
        self.unbounded: dict[int, Unbounded] = {}
        self.settled: dict[int, Settled] = {}
        self.limits: dict[str, Limit] = {}
        self.known: set[str] = set()
        """Names of data sets with an entry of their own."""
        for link in links:
            body = BODIES.validate_python({k: v for k, v in link.body.items() if k not in ("home", "number", "previous")})
            if isinstance(body, Reserved):
                self.reserved[link.number] = body
            elif isinstance(body, Unbounded):
                self.unbounded[link.number] = body
            elif isinstance(body, Settled):
                self.settled[body.reservation] = body
            elif isinstance(body, Limit):
                self.limits[body.data] = body
            if not isinstance(body, Settled):
                self.known.add(body.data)

    def related(self, data: str, parent: str | None = None) -> set[str]:
        """`data` and whatever declared parents join it to, in either direction."""
        trainings: list[Reserved | Unbounded] = [*self.reserved.values(), *self.unbounded.values()]
        pairs = [(entry.data, entry.parent) for entry in trainings if entry.parent] + ([(data, parent)] if parent else [])
        found = {data}
        while more := {name for pair in pairs if found & set(pair) for name in pair if name} - found:
            found |= more
        return found

    def check_parent(self, parent: str | None) -> None:
        """A name that no data set of this home has joins nothing, and the limit on the data set that was meant would not hold."""
        if parent is not None and parent not in self.known:
            raise SpecError(
                f"data.parent {parent[:24]}…: the ledger of this home knows no data set of that name, so it would be counted together with "
                "nothing. Run `guardrail budget FILE` on the parent itself, in this home, and copy the name it prints"
            )

    def entries_of(self, names: set[str]) -> tuple[Entry, ...]:
        """Those with an epsilon."""
        return tuple(self._entry(number, entry) for number, entry in self.reserved.items() if entry.data in names)

    def unbounded_of(self, names: set[str]) -> tuple[UnboundedEntry, ...]:
        return tuple(UnboundedEntry(**dict(entry), number=number) for number, entry in self.unbounded.items() if entry.data in names)

    def limit_of(self, names: set[str]) -> Limit | None:
        """The strictest."""
        return min(
            (limit for name, limit in self.limits.items() if name in names), key=lambda limit: (limit.epsilon, limit.delta), default=None
        )

    def refuse_beyond_limits(self, new: Reserved) -> list[str]:
        """Raises BudgetExceeded, or returns what the user should know."""
        related = self.related(new.data, new.parent)
        others = self.entries_of(related)
        before = [entry for entry in others if (entry.unit, entry.relation) == (new.unit, new.relation)]
        for name in sorted(related & set(self.limits)):
            _refuse_beyond(self.limits[name], before, new)
        uncovered = uncovered_by(self.unbounded_of(related))
        return [*warnings_about((*others, new), related), *([uncovered] if uncovered else [])]

    def refuse_unbounded(self, new: Unbounded) -> list[str]:
        """Raises BudgetExceeded where there is any limit, or returns what the user should know."""
        related = self.related(new.data, new.parent)
        if limit := self.limit_of(related):
            cause, remedy = _WHY_UNBOUNDED[new.reason]
            raise BudgetExceeded(
                f"refused by the limit on {limit.data[:24]}…: epsilon {limit.epsilon:g} at delta {limit.delta:g}. "
                f"{cause}, so no limit has room for it. {remedy}"
            )
        others = self.entries_of(related)
        uncovered = uncovered_by((*self.unbounded_of(related), new)) if others else None
        return [*warnings_about(others, related), *([uncovered] if uncovered else [])]

    def check_unsettled(self, number: int) -> None:
        if number not in self.reserved:
            raise ArtifactError(f"the ledger has no reservation {number}")
        if number in self.settled:
            raise ArtifactError(f"reservation {number} was settled before; a second training needs a reservation of its own")

    def _entry(self, number: int, entry: Reserved) -> Entry:
        settled = self.settled.get(number)
        spent = {"mechanisms": settled.mechanisms or entry.mechanisms} if settled else {}
        return Entry(**{**dict(entry), **spent}, number=number, state="spent" if settled else "reserved")


_WHY_UNBOUNDED: dict[Reason, tuple[str, str]] = {
    "no privacy": (
        "A training without privacy has no epsilon",
        "Train with a `privacy:` section (in Python: epsilon=…), or on data without a limit",
    ),
    "seeded noise": (
        "Whoever knows the seed can take seeded noise away, and then there is no epsilon",
        "Train with `noise: secure` (the default), or on data without a limit",
    ),
}


def _refuse_beyond(limit: Limit, before: Sequence[Reserved], new: Reserved) -> None:
    spent, after = _epsilon(before, limit), _epsilon([*before, new], limit)
    if after <= limit.epsilon:
        return
    raise BudgetExceeded(
        f"refused by the limit on {limit.data[:24]}…: epsilon {limit.epsilon:g} at delta {limit.delta:g} per {new.unit}. "
        f"Spent {spent:.4g}, asked {_epsilon([new], limit):.4g}, together {after:.4g} (Rényi filter over all runs, so not a plain sum); "
        f"left {max(0.0, limit.epsilon - spent):.4g}. Lower privacy.epsilon, or let the owner of the data raise the limit: "
        "guardrail budget DATA --limit E"
    )


def _epsilon(entries: Sequence[Reserved], limit: Limit) -> float:
    """A single run costs what its own, tighter accountant says; from the second on the filter adds up all of them.

    Both are bounds fixed before the first result is seen: a lone run above the filter's own count leaves no room for
    another, since Rényi divergences only grow.
    """
    total = epsilon_filtered(rdp.curve(_mechanisms(entries)), limit=limit.epsilon, delta=limit.delta)
    alone = len(entries) == 1 and entries[0].delta <= limit.delta
    return min(total, entries[0].epsilon) if alone else total


def _mechanisms(entries: Iterable[Reserved]) -> list[Mechanism]:
    return [mechanism for entry in entries for mechanism in entry.mechanisms]


def groups_of(entries: Sequence[Entry], limit: Limit | None, delta: float) -> tuple[Group, ...]:
    groups = []
    for unit, relation in dict.fromkeys((entry.unit, entry.relation) for entry in entries):
        members = [entry for entry in entries if (entry.unit, entry.relation) == (unit, relation)]
        spent = _epsilon(members, limit) if limit else rdp.epsilon(rdp.curve(_mechanisms(members)), delta)
        left = max(0.0, limit.epsilon - spent) if limit else None
        groups.append(Group(unit=unit, relation=relation, epsilon=spent, left=left, runs=len(members)))
    return tuple(groups)


def uncovered_by(unbounded: Sequence[Unbounded]) -> str | None:
    """`2 trainings without privacy: no epsilon covers this data set as a whole`; None where there are none."""
    plain = sum(entry.reason == "no privacy" for entry in unbounded)
    seeded = len(unbounded) - plain
    if not unbounded:
        return None
    counted = f"{plain or seeded} training{'s' if (plain or seeded) > 1 else ''} {'without privacy' if plain else 'with seeded noise'}"
    also = f" and {seeded} with seeded noise" if plain and seeded else ""
    return f"{counted}{also}: no epsilon covers this data set as a whole"


def warnings_about(entries: Sequence[Reserved], related: set[str]) -> tuple[str, ...]:
    found = []
    kinds = list(dict.fromkeys((entry.unit, entry.relation) for entry in entries))
    if len(kinds) > 1:
        named = "; ".join(f"{unit} ({relation})" for unit, relation in kinds)
        found.append(
            f"spent on different units or relations: {named}. They protect different things and are not added up: the limit holds for each"
        )
    if len(related) > 1:
        found.append(
            f"counted together with {len(related) - 1} related data set(s) declared by data.parent; edits nobody declared are not seen"
        )
    return tuple(found)
