"""Closed-form questions to a federation: every client answers about its own records, and the answers are added up.

A family asks questions one after the other (`Generator.initialise`), and what it asks may depend on what it was answered: every
step of expectation maximisation does. The server asks the clients whenever the family asks it. A client keeps nothing of a model
between two messages: with the question comes everything that was answered so far, the client's copy of the family goes through its
part again up to the question, and answers that one from the records. So client and server ask the same, and no question has to be
put into words: not even one that is a function of the present parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...vocabulary.errors import FederationFailed
from ...vocabulary.spaces import TokenSpace
from ..contract import Batch, Counts, Generator
from ..strategy import smoothed_shares

Answer = dict[str, np.ndarray]


class LocalCounts(Counts, Protocol):
    """Counts that also give what they counted, to be added up with other clients'."""

    def counted(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]: ...


Local = Callable[[LocalCounts], Answer]
"""How a question is answered from one client's records."""


class Reached(Exception):
    """A client's copy of the family has come to the question that was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class FederatedCounts:
    """What the family asks. The first question, how often which token occurs, is asked once and serves all who want shares."""

    def __init__(self, space: TokenSpace, *, noisy: bool, ask: Callable[[Local], Answer]) -> None:
        self.noisy = noisy
        self._space, self._ask = space, ask
        shares = ask(_shares)
        self._tokens = np.split(shares["tokens"], np.cumsum(space.sizes)[:-1])
        self._classes = np.split(shares["classes"], np.cumsum(space.conditions)[:-1]) if len(shares["classes"]) else []

    @property
    def records(self) -> float:
        """As every column counts them."""
        return max(1.0, float(np.mean([count.sum() for count in self._tokens])))

    def one_way(self) -> tuple[np.ndarray, ...]:
        return tuple(smoothed_shares(count) for count in self._tokens)

    def conditions(self) -> tuple[np.ndarray, ...]:
        return tuple(smoothed_shares(count) for count in self._classes)

    def ngrams(self, order: int, period: int = 1) -> tuple[np.ndarray, np.ndarray]:
        answer = self._ask(lambda local: dict(zip(("rows", "counts"), local.ngrams(order, period), strict=True)))
        return answer["rows"], answer["counts"]

    def total(self, statistic: Callable[[Batch], Tensor]) -> Tensor:
        return torch.from_numpy(self._ask(lambda local: {"sum": local.total(statistic).detach().cpu().numpy()})["sum"])


def _shares(local: LocalCounts) -> Answer:
    tokens, classes = local.counted()
    return {"tokens": _joined(tokens), "classes": _joined(classes)}


def _joined(counts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(counts).astype(np.float64) if counts else np.zeros(0)


def answered(
    learners: Sequence[Generator], space: TokenSpace, recorded: Sequence[Answer], local: Callable[[], LocalCounts], *, noisy: bool
) -> Answer | None:
    """A client's answer to the question after the recorded ones. `learners`: who asks, one after the other; afterwards they stand where
    the recorded answers put them. None where nobody has a question more."""
    place = 0

    def ask(compute: Local) -> Answer:
        nonlocal place
        place += 1
        if place > len(recorded):
            raise Reached(compute(local()))
        return recorded[place - 1]

    try:
        counts = FederatedCounts(space, noisy=noisy, ask=ask)
        for learner in learners:
            learner.initialise(counts)
    except Reached as reached:
        return reached.answer
    return None


def added(answers: Sequence[Answer]) -> Answer:
    """The answer of all clients together; FederationFailed where they answer different questions."""
    shapes = [{name: value.shape[1:] if name in ("rows", "counts") else value.shape for name, value in one.items()} for one in answers]
    if any(one != shapes[0] for one in shapes):
        raise FederationFailed("the clients' counts do not fit together: one of them counts other things than the others")
    if "rows" not in answers[0]:
        return {name: np.sum([answer[name] for answer in answers], axis=0) for name in answers[0]}
    rows = np.concatenate([answer["rows"] for answer in answers])
    counts = np.concatenate([answer["counts"] for answer in answers])
    found, places = np.unique(rows, axis=0, return_inverse=True)
    return {"rows": found, "counts": np.rint(np.bincount(places.ravel(), counts, minlength=len(found))).astype(np.int64)}


def flattened(answers: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """A list of answers as arrays with names of their own."""
    return {f"{i:04d}/{name}": value for i, answer in enumerate(answers) for name, value in answer.items()}


def unflattened(arrays: Mapping[str, np.ndarray]) -> list[Answer]:
    found: dict[int, Answer] = {}
    for key, value in arrays.items():
        place, _, name = key.partition("/")
        found.setdefault(int(place), {})[name] = value
    return [found[place] for place in sorted(found)]
