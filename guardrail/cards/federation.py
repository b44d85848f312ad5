"""How a model was trained on records that stayed apart, for a reader who must know whom that protects from whom."""

from __future__ import annotations

import math

from ..reports.text import number
from ..vocabulary.receipt import FederationRecord, PrivacyClaim, Receipt


def federation_meaning(receipt: Receipt | None) -> tuple[str, ...]:
    """Sentences; none where the model was trained in one place."""
    if receipt is None or receipt.federation is None:
        return ()
    record = receipt.federation
    return (
        _where(record),
        _rounds(record),
        *_whose_epsilon(record, receipt.privacy),
        _aggregation(record),
        *_left_out(record),
        *_served(record),
    )


def _where(record: FederationRecord) -> str:
    if record.simulated:
        return (
            f"A federation of {number(record.clients)} clients, simulated on one machine: it shows what such a federation would learn, and "
            "kept no record from anybody."
        )
    return f"Trained by {number(record.clients)} clients, each on records that stayed with it; what travelled were models."


def _rounds(record: FederationRecord) -> str:
    if not record.rounds:
        return "The clients were asked for counts alone, which were added up."
    used = record.participants
    if record.level == "client":
        asked = (
            "all clients" if record.sample == 1 else f"each client by a secret coin that falls so with probability {number(record.sample)}"
        )
        return f"{number(record.rounds)} rounds by {record.strategy}; asked in a round: {asked}; who answered is a secret."
    asked = "all clients" if record.sample == 1 else f"each client with probability {number(record.sample)}"
    most = f"{number(min(used))} to {number(max(used))}" if used and min(used) < max(used) else number(used[0] if used else 0)
    players = "" if record.players == "all" else "; players that see no record were trained by the server"
    counted = "by their records" if record.level is None else "by their noisy counts of records"
    weights = counted if record.weights == "counts" else "alike"
    return (
        f"{number(record.rounds)} rounds by {record.strategy}, clients weighed {weights}; asked in a round: {asked}; "
        f"updates used in a round: {most}{players}."
    )


def _whose_epsilon(record: FederationRecord, claim: PrivacyClaim | None) -> tuple[str, ...]:
    """Both epsilons: that of a record and that of a client."""
    if claim is None:
        return ()
    said = f"epsilon {number(claim.epsilon)} at delta {number(claim.delta)}"
    ledger = "in the ledger of the source" if record.simulated else "in every client's ledger"
    if record.level == "record":
        return (
            "Epsilon is each record's: every client clipped and noised its own steps, so it holds against the server and the other "
            "clients too. Each client took the same plan of steps through all rounds. Who has records with several clients is protected by "
            "each of them apart: for such a person their epsilons add up.",
            f"Per {claim.unit}: {said}, {ledger} and for the whole federation alike, since none lies with two clients. Per "
            "client: no bound; that one took part, and what its records have in common, the model may tell.",
        )
    if record.level == "client":
        return (
            "Epsilon is each client's: it bounds what the released model tells of whether a client took part at all. It rests on a server "
            "that adds noise as promised, against which it promises nothing itself; "
            + (
                "and on clients that clip, since under secure aggregation nobody else can."
                if record.secure_aggregation
                else "it clips, too."
            ),
            f"Per client: {said}. Per record, of a client that takes part with it or without it: epsilon {number(2 * claim.epsilon)} "
            f"at delta {number(_of_two(claim))}, as for a group of two, since such a client is another one in place of the first.",
        )
    return ()


def _of_two(claim: PrivacyClaim) -> float:
    """Delta of two units together, with twice the epsilon (Dwork and Roth 2014, group privacy)."""
    return min(1.0, claim.delta * (1 + math.exp(min(claim.epsilon, 700.0))))


def _aggregation(record: FederationRecord) -> str:
    if not record.secure_aggregation:
        return "Without secure aggregation: the server saw every client's update by itself."
    if record.simulated:
        return "Secure aggregation was carried out as it would be between hosts; in a simulation it protects nobody."
    return (
        "With secure aggregation: a server that follows the protocol and is curious saw sums of updates and no single one. This is not "
        "differential privacy: what the sum tells, and what the released model tells, it does not bound."
    )


def _served(record: FederationRecord) -> tuple[str, ...]:
    if record.level is not None:
        return ("Which client is served badly is not said: under privacy what a client's records tell of it stays with the client.",)
    if not record.served:
        return ()
    worst = max(record.served, key=lambda one: one.shortfall)
    return (
        f"Served worst is client {worst.client}: its records lie {number(round(worst.shortfall, 3))} further from the samples, in total "
        "variation column by column, than samples lie from each other.",
        *_within(record),
    )


def _within(record: FederationRecord) -> tuple[str, ...]:
    """The client that sees its own groups served most unequally."""
    found = [
        (one.groups[name][worst].value - one.groups[name][best].value, one.client, name, best, worst)
        for one in record.served
        if (unequal := one.most_unequal()) is not None
        for name, best, worst in [unequal]
    ]
    if not found:
        return ()
    gap, client, name, best, worst = max(found)
    where = f"client {client}: {name}={worst} by {number(round(gap, 3))} worse than {best}"
    return (f"Within a client, groups are served most unequally at {where}.",)


def _left_out(record: FederationRecord) -> tuple[str, ...]:
    return tuple(f"Client {name} was left out at times: {'; '.join(why)}." for name, why in record.left_out.items())
