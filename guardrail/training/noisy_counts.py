"""Answers to a generator's closed-form questions under privacy: every one charged before the records are read, then noised.

A family says beforehand what it will ask (`Generator.asks`); the plan turns each question into Gaussian queries, and a question
that was not announced, or once more than announced, is refused. Each record's part of an answer is clipped here, whatever the
family says of it, and a unit with several records counts as one: each of them by its share. Noise is on every cell of a public
domain, those that no record has included.

Where canaries are asked for, every answer has dead cells behind its own, noised by the same call: a secret fair coin puts into each
of them what one record may add at most, or nothing (`canaries`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..vocabulary.canaries import CanaryRecord
from ..vocabulary.errors import Unsupported
from ..vocabulary.receipt import GaussianQuery
from ..vocabulary.spaces import TokenSpace
from .contract import Batch, Question, Runs, Sums
from .distributed import ALONE, World
from .plain import CHUNK, runs_of
from .secure import Stream, gaussian
from .strategy import Dataset, smoothed_shares
from .units import shares_of

MOST_CELLS = 4_000_000
"""Of the domain of one question: all of them get noise of their own."""
REPEATS = 2.0
"""Runs of tokens: a record's counts are clipped to the norm of a record in which every run occurs this often."""
GRID = 2.0**-20
"""Noisy sums are rounded to this part of the noise's deviation: low-order bits tell nothing."""


def one_way_sensitivity(columns: int) -> float:
    """L2: adding or removing a record changes one count in each column by one."""
    return math.sqrt(columns)


def queries_for(questions: Iterable[Question], space: TokenSpace, noise: float) -> list[GaussianQuery]:
    """What the questions cost at a noise multiplier; one query for every time that one is asked.

    Raises:
        Unsupported: The domain of a question is too large for noise on all of it.
    """
    found: list[GaussianQuery] = []
    for question in questions:
        norm = question.norm if isinstance(question, Sums) else run_norm(question, space)
        times = question.times if isinstance(question, Sums) else 1
        found += [GaussianQuery(what=named(question), sensitivity=norm, noise_multiplier=noise)] * times
    return found


def named(question: Question) -> str:
    return question.what if isinstance(question, Sums) else f"runs of {question.order + 1} tokens, by {question.period} places"


def run_norm(question: Runs, space: TokenSpace) -> float:
    """L2 bound of a record's counts of runs. Where every position is a place of its own each run occurs once: nothing is clipped."""
    return math.sqrt(space.length) if question.period == space.length else math.sqrt(REPEATS * space.length)


def cells_of(question: Runs, space: TokenSpace) -> int:
    cells: int = question.period * (max(space.sizes) + 1) ** (question.order + 1)
    return cells


def longest(order: int, period: int, space: TokenSpace) -> int:
    """The longest order up to `order` whose runs have a domain small enough for noise on all of it.

    Raises:
        Unsupported: Even single tokens have not.
    """
    fitting = [k for k in range(order + 1) if cells_of(Runs(k, period), space) <= MOST_CELLS]
    if not fitting:
        raise Unsupported(
            f"counting {max(space.sizes):,} tokens at {period:,} places under privacy needs noise on more than {MOST_CELLS:,} cells; "
            "use a smaller vocabulary, or a family that learns by gradients (lstm, transformer)"
        )
    return fitting[-1]


class NoisyCounts:
    """Counts with Gaussian noise. Shares are drawn once and then reused by whoever asks: model, floor, record count."""

    noisy = True

    def __init__(
        self,
        dataset: Dataset,
        *,
        queries: Sequence[GaussianQuery],
        source: Stream,
        questions: Sequence[Question] = (),
        canaries: int = 0,
        world: World = ALONE,
    ) -> None:
        """`queries`: what was charged: the one-way counts first, then, where there are conditions, theirs, then those of `questions`.
        `canaries`: of each answer."""
        given = dataset.records.given.cpu().numpy()
        asked = len(queries_for(questions, dataset.space, 1.0))
        shares, paid = list(queries[: len(queries) - asked]), list(queries[len(queries) - asked :])
        columns = [(dataset.tokens, dataset.space.sizes), (given, dataset.space.conditions if given.shape[1] else ())]
        self._dataset, self._source, self._questions = dataset, source, tuple(questions)
        self._left, self._asked, self._world = paid, canaries, world
        self._parts = shares_of(dataset.units, len(dataset.tokens))
        self.canaries: list[CanaryRecord] = []
        self._counts, *rest = (self._shares(*column, query) for column, query in zip(columns, shares, strict=False))
        self._conditions: tuple[np.ndarray, ...] = rest[0] if rest else ()

    def one_way(self) -> tuple[np.ndarray, ...]:
        return tuple(smoothed_shares(count) for count in self._counts)

    def conditions(self) -> tuple[np.ndarray, ...]:
        return tuple(smoothed_shares(count) for count in self._conditions)

    def counted(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """The noisy count of each token in each column, and of each class in each condition; some below 0."""
        return self._counts, self._conditions

    def ngrams(self, order: int, period: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """As contracted, of the longest order that was announced and fits. Cells that noise alone would fill are left out."""
        space = self._dataset.space
        question = Runs(longest(order, period, space), period)
        query, base = self._pay(named(question)), max(space.sizes) + 1
        counts = torch.zeros(cells_of(question, space), dtype=torch.float64)
        for start in range(0, len(self._dataset.tokens), CHUNK):
            some = slice(start, start + CHUNK)
            _add_runs(counts, self._dataset.tokens[some], self._parts[some], question, space)
        noisy = self._noisy(counts, query)
        kept = (noisy > query.noise_multiplier * query.sensitivity * math.sqrt(2 * math.log(len(noisy)))).nonzero().squeeze(1).numpy()
        found = np.rint(noisy.numpy()[kept]).astype(np.int64)
        digits = [kept // base**power % base for power in range(question.order, -1, -1)]
        rows = np.stack([kept // base ** (question.order + 1), *digits], axis=1)
        possible = (found > 0) & (rows[:, -1] < np.asarray(_sizes_of_places(space, period))[rows[:, 0]])
        return rows[possible], found[possible]

    def total(self, statistic: Callable[[Batch], Tensor]) -> Tensor:
        """Under the next announced question of sums; each record's row is clipped to the norm that was charged."""
        question = next((one for one in self._questions if isinstance(one, Sums) and self._is_left(one.what)), None)
        if question is None:
            raise Unsupported("a sum over the records that was not announced, and so not paid for: the family asks more than it declares")
        query, total = self._pay(question.what), torch.zeros(())
        shares = torch.from_numpy(self._parts).to(self._dataset.records.device)[:, None].split(CHUNK)
        for part, share in zip(self._dataset.records.split(CHUNK), shares, strict=True):
            rows = statistic(part).double()
            norms = rows.norm(dim=1, keepdim=True)
            # A record whose statistic is no number has no part in the answer, as if it were not there.
            rows = torch.where(norms.isfinite(), rows * (question.norm / norms.clamp_min(1e-12)).clamp(max=1.0), 0.0)
            total = total + (share * rows).sum(0).cpu()
        return self._noisy(total, query)

    def records(self) -> float:
        """Every column counts every record once: weighted by their noise, the columns' sums agree on the record count."""
        weights = np.array([1 / len(count) for count in self._counts])
        sums = np.array([count.sum() for count in self._counts])
        return max(1.0, float((weights * sums).sum() / weights.sum()))

    def _is_left(self, what: str) -> bool:
        return any(query.what == what for query in self._left)

    def _pay(self, what: str) -> GaussianQuery:
        """Raises where nothing is left of what was announced."""
        place = next((i for i, query in enumerate(self._left) if query.what == what), None)
        if place is None:
            raise Unsupported(f"{what}: asked more often than announced, and so not paid for")
        return self._left.pop(place)

    def _shares(self, tokens: np.ndarray, sizes: Sequence[int], query: GaussianQuery) -> tuple[np.ndarray, ...]:
        """Per column the noisy count of each token, in whole numbers again."""
        counts = np.concatenate([np.bincount(tokens[:, i], self._parts, minlength=size) for i, size in enumerate(sizes)])
        noisy = np.rint(self._noisy(torch.from_numpy(counts).double(), query).numpy())
        return tuple(np.split(noisy, np.cumsum(sizes)[:-1]))

    def _noisy(self, cells: Tensor, query: GaussianQuery) -> Tensor:
        answer, seen = noisy_answer(cells, query, source=self._source, canaries=self._asked, world=self._world)
        self.canaries += seen
        return answer


def noisy_answer(
    cells: Tensor, query: GaussianQuery, *, source: Stream, canaries: int, world: World = ALONE
) -> tuple[Tensor, tuple[CanaryRecord, ...]]:
    """Cells with their noise; so are the canaries' behind them, whose answers are kept apart. All processes get the leader's: a second
    noisy answer to the same question would be one that nobody paid for."""
    included = source.uniform(canaries) < 0.5
    deviation = query.noise_multiplier * query.sensitivity
    grid, everything = deviation * GRID, torch.cat([cells.double(), query.sensitivity * included])
    noisy = ((everything + deviation * gaussian(source, len(everything))) / grid).round_().mul_(grid)
    (answer,) = world.shared([noisy[: len(cells)]])
    if not canaries:
        return answer, ()
    scores = noisy[len(cells) :] / query.sensitivity
    seen = CanaryRecord(what=query.what, where="its cells", included=tuple(included.tolist()), scores=tuple(scores.tolist()))
    return answer, (seen,)


def _add_runs(counts: Tensor, tokens: np.ndarray, shares: np.ndarray, question: Runs, space: TokenSpace) -> None:
    """Adds every record's share of its counts of runs, clipped to the norm; a run's cell is its place and tokens read as one number."""
    rows, counted = runs_of(tokens, space, question.order, question.period)
    codes, base = rows[..., 0].astype(np.int64), max(space.sizes) + 1
    for i in range(1, rows.shape[2]):
        codes = codes * base + rows[..., i]
    norm = run_norm(question, space)
    for code, there, share in zip(codes, counted, shares, strict=True):
        cells, number = np.unique(code[there], return_counts=True)
        weight = share * min(1.0, norm / math.sqrt(float((number**2).sum()))) if len(number) else 0.0
        counts.index_add_(0, torch.from_numpy(cells), torch.from_numpy(weight * number))


def _sizes_of_places(space: TokenSpace, period: int) -> tuple[int, ...]:
    return space.sizes[:period]
