"""Markov chain of order k (Shannon 1948, https://doi.org/10.1002/j.1538-7305.1948.tb01338.x), smoothed by interpolation.

Each token is drawn given the k before it. What was seen after a context is mixed with what was seen after its shorter ones,
down to every token equally often, by modified Kneser-Ney (Chen and Goodman 1999, https://doi.org/10.1006/csla.1999.0128) or by
Witten and Bell (1991): so every record has a probability, and they sum to 1. Where the fields of a sequence take turns (voices,
colours, the columns of a table), each has a chain of its own over all the tokens before. It is the floor of texts, music and
series: learned in one pass of counting, drawn by looking up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from guardrail.training.contract import Batch, Counts, Generator, Question, Recipe, Runs
from guardrail.vocabulary.errors import SpecError
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import TokenSpace

Smoothing = Literal["kneser-ney", "witten-bell"]
LARGEST = 2**63 - 1
"""A run of tokens is one int64."""


class MarkovOptions(Frozen):
    order: int | None = Field(default=None, ge=0, le=32, description="tokens a token depends on; None: 3, or one of each field if more")
    smoothing: Smoothing = Field(default="kneser-ney", description="how contexts of different length share a token's probability")


class Markov(Generator):
    spaces = ("tokens",)
    Options = MarkovOptions
    plain = Recipe(epochs=1, sample_rate=1.0, learning_rate=1.0)
    private = plain

    runs: Tensor
    """(runs,) int64, ascending: those that occur, each coded with its place as one number."""
    counts: Tensor
    """(runs,) int64: how often each does."""
    depth: Tensor
    """The order of what was counted: under privacy the domain of long runs is too large for noise on all of it."""

    def __init__(self, space: TokenSpace, options: MarkovOptions) -> None:
        super().__init__(space, options)
        self.space, self.smoothing = space, options.smoothing
        self.period = period_of(space)
        self.base = max(space.sizes) + 1  # the padding before a record's beginning is a token too
        self.order = self._fitting(options.order)
        self.register_buffer("depth", torch.tensor(self.order))
        self.register_buffer("runs", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("counts", torch.zeros(0, dtype=torch.int64))
        self._levels: list[_Level] | None = None

    def _fitting(self, asked: int | None) -> int:
        most = max(k for k in range(33) if self.period * self.base ** (k + 1) <= LARGEST)
        if asked is not None and asked > most:
            raise SpecError(
                f"markov of order {asked}: runs of {asked + 1} of {self.base - 1:,} tokens cannot be numbered; "
                f"generator.options.order may be at most {most} here"
            )
        return min(most, max(3, self.period if self.space.shared else 0)) if asked is None else asked

    def asks(self) -> tuple[Question, ...]:
        return (Runs(self.order, self.period),)

    def initialise(self, counts: Counts) -> None:
        rows, found = (torch.from_numpy(part) for part in counts.ngrams(self.order, self.period))
        self._deepen(rows.shape[1] - 2)  # noisy counts may be of shorter runs
        self.runs, self.counts = _code(rows[:, 0], rows[:, 1:], self.base), found.to(torch.int64)
        self._levels = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Takes as many runs as there are; a file whose runs are none of this space does not fit."""
        runs, counts, depth = (state_dict.get(prefix + name) for name in ("runs", "counts", "depth"))
        if runs is not None and counts is not None:
            if depth is not None and depth.dim() == 0 and 0 <= int(depth) <= self.order:
                self._deepen(int(depth))
            if not self._are_runs(runs, counts):
                arguments[-1].append("runs and counts are not those of a Markov chain over this vocabulary")
                return
            self.runs, self.counts = torch.empty_like(runs, device=self.runs.device), torch.empty_like(counts, device=self.runs.device)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._levels = None

    def _deepen(self, order: int) -> None:
        self.order = order
        self.depth.fill_(order)

    def _are_runs(self, runs: Tensor, counts: Tensor) -> bool:
        if runs.dim() != 1 or runs.shape != counts.shape or not runs.dtype == counts.dtype == torch.int64:
            return False
        within = not len(runs) or (int(runs[0]) >= 0 and int(runs[-1]) < self.period * self.base ** (self.order + 1))
        return within and bool((runs.diff() > 0).all() and (counts > 0).all())

    @property
    def levels(self) -> list[_Level]:
        """From no context to one of k tokens."""
        if self._levels is None or self._levels[-1].runs.device != self.runs.device:
            self._levels = _levels_of(self.runs, self.counts, self.order, self.base, self.smoothing)
        return self._levels

    def log_likelihood(self, batch: Batch) -> Tensor:
        x = batch.x  # (records, positions)
        places = (torch.arange(x.shape[1], device=x.device) % self.period).expand_as(x)
        padded = torch.cat([x.new_full((len(x), self.order), self.base - 1), x], dim=1)
        windows = padded.unfold(1, self.order + 1, 1)  # (records, positions, order + 1)
        probability = 1 / self._sizes(x.device)[places]
        for length, level in enumerate(self.levels):
            probability = level.probability(_code(places, windows[..., self.order - length :], self.base), probability)
        log = probability.log()
        if self.space.end is not None:
            log = log * _before_the_end(x, self.space.end)
        return log.sum(1)

    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        nothing = torch.zeros(n, self.space.length, dtype=torch.int64, device=self.runs.device)
        return self._continued(nothing, torch.zeros_like(nothing, dtype=torch.bool), rng)

    def complete(self, batch: Batch, known: Tensor, rng: torch.Generator) -> Tensor:
        """Continues beginnings, which may differ in length; it cannot look ahead to what is known further on."""
        if (known[:, 1:] & ~known[:, :-1]).any():
            raise self._cannot("impute", "fill in what lies before something known")
        return self._continued(batch.x, known, rng)

    def _continued(self, x: Tensor, known: Tensor, rng: torch.Generator) -> Tensor:
        drawn = torch.cat([x.new_full((len(x), self.order), self.base - 1), x], dim=1)
        over = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for position in range(x.shape[1]):
            ahead = (~known[:, position] & ~over).nonzero()[:, 0]
            column = drawn[:, self.order + position]
            if self.space.end is not None:
                column[over & ~known[:, position]] = self.space.end
            column[ahead] = self._next(drawn[ahead, position : position + self.order], position % self.period, rng)
            if self.space.end is not None:
                over |= column == self.space.end
        return drawn[:, self.order :]

    def _next(self, context: Tensor, place: int, rng: torch.Generator) -> Tensor:
        """(n, order) -> (n,): from the longest context down; at each, a token seen there, or on to a shorter one."""
        size = int(self._sizes(context.device)[place])
        tokens = (_uniform(len(context), rng, context.device) * size).long()
        left = torch.arange(len(context), device=context.device)
        for length in range(self.order, -1, -1):
            code = _code(torch.full_like(left, place), context[left, self.order - length :], self.base)
            found, drawn = self.levels[length].draw(code, rng)
            tokens[left[found]] = drawn
            left = left[~found]
        return tokens

    def _sizes(self, device: torch.device) -> Tensor:
        return torch.tensor(self.space.sizes[: self.period], dtype=torch.float64, device=device)


@dataclass(frozen=True)
class _Level:
    """What follows contexts of one length. A token is drawn by its share among those seen after the context, and kept with a
    probability that the smoothing decides; else the shorter context is asked."""

    contexts: Tensor
    """(contexts,) ascending codes."""
    totals: Tensor
    """(contexts,) tokens counted after each."""
    starts: Tensor
    """(contexts,) those counted after the contexts before it."""
    passed: Tensor
    """(contexts,) probability with which the shorter context is asked."""
    runs: Tensor
    """(runs,) ascending codes of context and token."""
    upto: Tensor
    """(runs,) running sum of the counts."""
    kept: Tensor
    """(runs,) probability with which a drawn token is kept."""
    direct: Tensor
    """(runs,) probability of being drawn and kept."""
    base: int

    def probability(self, codes: Tensor, shorter: Tensor) -> Tensor:
        """Of each run's last token after those before it, given the same after the shorter context."""
        if not len(self.runs):
            return shorter
        at, seen = _find(self.contexts, codes // self.base)
        run, occurs = _find(self.runs, codes)
        return torch.where(seen, self.direct[run] * occurs + self.passed[at] * shorter, shorter)

    def draw(self, codes: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Which of the contexts gave a token (n,) bool, and those tokens."""
        if not len(self.runs):
            return torch.zeros_like(codes, dtype=torch.bool), codes[:0]
        at, seen = _find(self.contexts, codes)
        which = (_uniform(len(codes), rng, codes.device) * self.totals[at]).long()
        run = torch.searchsorted(self.upto, self.starts[at] + which, right=True)
        seen = seen & (_uniform(len(codes), rng, codes.device) < self.kept[run])
        return seen, self.runs[run[seen]] % self.base


def _levels_of(runs: Tensor, counts: Tensor, order: int, base: int, smoothing: Smoothing) -> list[_Level]:
    levels = [_level(runs, counts, base, smoothing)]
    for length in range(order - 1, -1, -1):
        whole = base ** (length + 2)
        shorter = runs // whole * base ** (length + 1) + runs % base ** (length + 1)  # without the first token of the context
        weights = counts
        if smoothing == "kneser-ney":
            # In how many contexts it was seen, not how often; a context that reaches back before the beginning has no longer one.
            first = runs % base ** (length + 1) // base**length
            weights = torch.where((first == base - 1) & (length > 0), counts, 1)
        runs, place = shorter.unique(return_inverse=True)
        counts = torch.zeros_like(runs).index_add_(0, place, weights)
        levels.append(_level(runs, counts, base, smoothing))
    return levels[::-1]


def _level(runs: Tensor, counts: Tensor, base: int, smoothing: Smoothing) -> _Level:
    contexts, of, kinds = (runs // base).unique_consecutive(return_inverse=True, return_counts=True)
    totals = torch.zeros_like(contexts).index_add_(0, of, counts)
    kept = (totals / (totals + kinds).double())[of] if smoothing == "witten-bell" else 1 - _discounts(counts) / counts
    direct = counts / totals[of].double() * kept
    passed = (1 - torch.zeros(len(contexts), dtype=torch.float64, device=runs.device).index_add_(0, of, direct)).clamp_min(0)
    return _Level(contexts, totals, totals.cumsum(0) - totals, passed, runs, counts.cumsum(0), kept, direct, base)


def _discounts(counts: Tensor) -> Tensor:
    """(runs,): what modified Kneser-Ney takes from runs seen once, twice, and more often."""
    n1, n2, n3, n4 = (max(1, int((counts == k).sum())) for k in (1, 2, 3, 4))
    share = n1 / (n1 + 2 * n2)
    taken = [min(max(k - (k + 1) * share * after / now, 0.1), 0.9 * k) for k, now, after in ((1, n1, n2), (2, n2, n3), (3, n3, n4))]
    return torch.tensor(taken, dtype=torch.float64, device=counts.device)[counts.clamp(1, 3) - 1]


def _code(places: Tensor, tokens: Tensor, base: int) -> Tensor:
    """(...), (..., k) -> (...): place and tokens as one number."""
    code = places
    for i in range(tokens.shape[-1]):
        code = code * base + tokens[..., i]
    return code


def _find(ordered: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Where each wanted code stands, and whether it does."""
    at = torch.searchsorted(ordered, wanted).clamp_max(len(ordered) - 1)
    return at, ordered[at] == wanted


def _uniform(n: int, rng: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(n, generator=rng, dtype=torch.float64, device=rng.device).to(device)


def _before_the_end(x: Tensor, end: int) -> Tensor:
    """(records, positions) bool: the tokens that count, the end included."""
    ends = x == end
    return ends.cumsum(1) - ends.long() == 0


def period_of(space: TokenSpace) -> int:
    """After how many positions the fields of the sequence repeat; in a table, never."""
    if not space.shared:
        return space.length
    return next((p for p in range(1, space.length // 2 + 1) if _repeats(space.names, p)), 1)


def _repeats(names: Sequence[str], period: int) -> bool:
    return all(name == names[i % period] for i, name in enumerate(names))
