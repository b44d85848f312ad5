"""Hidden Markov model (Rabiner 1989, https://doi.org/10.1109/5.18626): discrete emissions on tokens, Gaussian ones on series.

Learned by expectation maximisation (Baum et al. 1970) from sums of one statistic per record, so that no record needs to be
looked at by itself. Where the fields of a sequence take turns (voices), a state emits one token of each at a step. The
likelihood is exact, and so is filling in: the states are drawn from their posterior given all that is
known, before and behind the gap, and then emit what is missing. Missing values of a series contribute no term to the
likelihood: it is the density of what was observed, given which cells were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from guardrail.training.contract import Batch, Counts, Generator, Question, Recipe, Sums
from guardrail.vocabulary.errors import SpecError
from guardrail.vocabulary.frozen import Frozen
from guardrail.vocabulary.spaces import SeriesSpace, TokenSpace

from .emissions import LEAST, Gaussians, Tokens, normalised
from .forward_backward import Filtered, backward, draw, draw_path, forward, viterbi
from .markov import period_of

QUESTIONS = 8
"""Iterations of expectation maximisation on noisy counts: each is paid for."""
ENOUGH = 1e-7
"""Of the log-likelihood: EM stops when an iteration gains no more."""


class HmmOptions(Frozen):
    states: int = Field(default=16, ge=1, le=1024, description="hidden states")
    iterations: int = Field(default=40, ge=0, description="of expectation maximisation, at most")
    restarts: int = Field(default=2, ge=1, description="random starts; the best after ten iterations goes on")
    covariance_floor: float = Field(default=1e-4, gt=0, description="series: least variance of a channel, which lies in [-1, 1]")
    smoothing: float = Field(default=0.01, ge=0, description="pseudo-count of every start, move and token, added once after EM")


@dataclass(frozen=True)
class Parameters:
    start: Tensor
    transition: Tensor
    emission: Tokens | Gaussians


class Hmm(Generator):
    spaces = ("series", "tokens")
    Options = HmmOptions
    plain = Recipe(epochs=1, sample_rate=1.0, learning_rate=1.0)
    private = plain

    def __init__(self, space: TokenSpace | SeriesSpace, options: HmmOptions) -> None:
        super().__init__(space, options)
        if isinstance(space, TokenSpace) and not space.shared:
            raise SpecError("hmm lives on sequences that share one vocabulary; the columns of a table do not: use markov or made")
        self.space, self.options = space, options
        self._seed = int(torch.randint(2**62, (1,)))
        self.history: tuple[float, ...] = ()
        """Log-likelihood of the training records before each iteration of EM and after the last."""
        states = options.states
        self.start = _fixed(torch.full((states,), 1 / states))
        self.transition = _fixed(torch.full((states, states), 1 / states))
        if isinstance(space, TokenSpace):
            period = period_of(space)
            self.fields = period if space.end is None and space.length % period == 0 else 1
            self.shares = _fixed(torch.full((states, self.fields, space.sizes[0]), 1 / space.sizes[0]))
        else:
            channels = len(space.channels)
            self.means, self.variances = _fixed(torch.zeros(states, channels)), _fixed(torch.ones(states, channels))
            self.lengths = _fixed(torch.eye(space.steps + 1)[-1].clone())
            self.gaps = _fixed(torch.zeros(channels))

    def asks(self) -> tuple[Question, ...]:
        """Every record's statistic is divided by its number of steps, so that starts, moves and emissions sum to at most 1 each."""
        if isinstance(self.space, TokenSpace):
            return (Sums("starts, moves and emissions of hidden states", math.sqrt(3), QUESTIONS),)
        channels = len(self.space.channels)
        moments = Sums("moments and lengths of the series", math.sqrt(4 * channels + 1))
        return moments, Sums("starts, moves and emissions of hidden states", math.sqrt(2 + 3 * channels), QUESTIONS)

    def initialise(self, counts: Counts) -> None:
        rng = torch.Generator().manual_seed(self._seed)
        first = self._overall(counts)
        if counts.noisy:
            self._keep(self._em_of_noisy(counts, self._random(first, rng)))
            return
        short = min(10, self.options.iterations) if self.options.restarts > 1 else 0
        starts = [self._em(counts, self._random(first, rng), short) for _ in range(self.options.restarts)]
        parameters, begun = max(starts, key=lambda found: found[1][-1])
        parameters, went_on = self._em(counts, parameters, self.options.iterations - short)
        self.history = (*begun[:-1], *went_on)
        self._keep(self._smoothed(counts, parameters) if self.options.smoothing else parameters)

    def _overall(self, counts: Counts) -> Tensor:
        """What random starts lie around: (fields, tokens) shares, or (2, channels) means and variances."""
        if isinstance(self.space, TokenSpace):
            shares = torch.stack([torch.from_numpy(share) for share in counts.one_way()])  # (positions, tokens)
            return shares.view(-1, self.fields, shares.shape[1]).mean(0)
        channels, steps = len(self.space.channels), self.space.steps

        def moments(batch: Batch) -> Tensor:
            values, seen = self._read(batch.x)
            powers = torch.stack([seen.double(), values * seen, values.square() * seen], dim=1).sum(2)  # (records, 3, channels)
            ends = nn.functional.one_hot(_length(seen), steps + 1)
            inside = _length(seen)[:, None].expand(-1, channels)
            return torch.cat([powers.flatten(1) / steps, ends, inside / steps], dim=1)

        total = counts.total(moments)
        number, sums, squares = total[: 3 * channels].view(3, channels)
        ends, inside = total[3 * channels :].split([steps + 1, channels])
        self.lengths.copy_(normalised(ends.clamp_min(0), self.lengths.to(ends)))
        number, inside = number.clamp_min(LEAST), inside.clamp_min(LEAST)
        self.gaps.copy_((1 - number / inside).clamp(0, 1))
        mean = (sums / number).clamp(-1, 1)
        return torch.stack([mean, (squares / number - mean.square()).clamp(self.options.covariance_floor, 1)])

    def _random(self, overall: Tensor, rng: torch.Generator) -> Parameters:
        states = self.options.states
        stay = torch.eye(states + 1, states, dtype=torch.float64)
        moves = 1 + torch.rand(states + 1, states, generator=rng, dtype=torch.float64) + 2 * stay
        moves = moves / moves.sum(1, keepdim=True)  # the last row starts
        if isinstance(self.space, TokenSpace):
            return Parameters(moves[-1], moves[:-1], Tokens.random(overall, states, rng))
        return Parameters(moves[-1], moves[:-1], Gaussians.random(overall[0], overall[1], states, rng, self.options.covariance_floor))

    def _em(self, counts: Counts, parameters: Parameters, iterations: int) -> tuple[Parameters, tuple[float, ...]]:
        """The parameters after so many iterations, and the log-likelihood before each and after the last."""
        history: list[float] = []
        for i in range(iterations + 1):
            total = counts.total(lambda batch, now=parameters: self.statistic(batch, now))  # type: ignore[misc]
            history.append(float(total[0]))
            if i == iterations or (i and history[-1] - history[-2] <= ENOUGH * abs(history[-1])):
                break
            parameters = self._updated(parameters, total, 0.0)
        return parameters, tuple(history)

    def _em_of_noisy(self, counts: Counts, parameters: Parameters) -> Parameters:
        """As many iterations as were paid for, without the likelihood, which no clip would leave whole."""
        steps = self.space.length // self.fields if isinstance(self.space, TokenSpace) else self.space.steps
        for _ in range(QUESTIONS):
            share = counts.total(lambda batch, now=parameters: self.statistic(batch, now)[:, 1:] / steps)  # type: ignore[misc]
            parameters = self._updated(parameters, torch.cat([share.new_zeros(1), share]), self.options.smoothing)
        return parameters

    def _smoothed(self, counts: Counts, parameters: Parameters) -> Parameters:
        total = counts.total(lambda batch: self.statistic(batch, parameters))
        return self._updated(parameters, total, self.options.smoothing)

    def statistic(self, batch: Batch, parameters: Parameters) -> Tensor:
        """(records, m): log-likelihood, then expected starts, moves and emissions."""
        evidence, alive = self._evidence(batch.x, parameters)
        filtered = forward(parameters.start, parameters.transition, evidence, alive)
        smoothed = backward(parameters.transition, filtered, alive)
        states = smoothed.states * alive[:, :, None]
        emission = parameters.emission
        emitted = (
            emission.statistic(self._steps(batch.x), states)
            if isinstance(emission, Tokens)
            else emission.statistic(*self._read(batch.x), states)
        )
        return torch.cat([filtered.log_likelihood[:, None], states[:, 0], smoothed.moves.flatten(1), emitted], dim=1)

    def _updated(self, parameters: Parameters, total: Tensor, smoothing: float) -> Parameters:
        """The M step."""
        n = self.options.states
        _, starts, moves, emitted = total.split([1, n, n * n, len(total) - 1 - n - n * n])
        starts, moves = starts.clamp_min(0), moves.clamp_min(0)  # noise can make a count negative
        start = normalised(starts + smoothing, parameters.start)
        transition = normalised(moves.view(n, n) + smoothing, parameters.transition)
        emission = parameters.emission
        new = emission.updated(emitted, smoothing) if isinstance(emission, Tokens) else emission.updated(emitted)
        return Parameters(start, transition, new)

    def _keep(self, parameters: Parameters) -> None:
        self.start.copy_(parameters.start)
        self.transition.copy_(parameters.transition)
        names = ("shares",) if isinstance(parameters.emission, Tokens) else ("means", "variances")
        for name, value in zip(names, parameters.emission.tensors(), strict=True):
            getattr(self, name).copy_(value)

    @property
    def parameters_now(self) -> Parameters:
        """In double precision, where the device has it."""
        kind = torch.float32 if self.start.device.type == "mps" else torch.float64
        if isinstance(self.space, TokenSpace):
            emission: Tokens | Gaussians = Tokens(self.shares.to(kind))
        else:
            emission = Gaussians(self.means.to(kind), self.variances.to(kind), self.options.covariance_floor)
        return Parameters(self.start.to(kind), self.transition.to(kind), emission)

    def log_likelihood(self, batch: Batch) -> Tensor:
        return self._filtered(batch)[2].log_likelihood

    def explain(self, batch: Batch) -> dict[str, Tensor]:
        """`path`: the most probable states (records, steps); `posterior`: each state's probability (records, steps, states)."""
        now, alive, filtered = self._filtered(batch)
        path, _ = viterbi(now.start, now.transition, self._evidence(batch.x, now)[0], alive)
        return {"path": path, "posterior": backward(now.transition, filtered, alive).states}

    def _filtered(self, batch: Batch) -> tuple[Parameters, Tensor, Filtered]:
        now = self.parameters_now
        evidence, alive = self._evidence(batch.x, now)
        return now, alive, forward(now.start, now.transition, evidence, alive)

    def _evidence(self, x: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """(records, steps, states) log-densities, and which steps lie before the record's end (records, steps)."""
        if isinstance(parameters.emission, Tokens):
            end = cast(TokenSpace, self.space).end
            steps = self._steps(x)
            ends = (steps[:, :, 0] == (-1 if end is None else end)).long()
            return parameters.emission.log_density(steps, torch.ones_like(steps, dtype=torch.bool)), ends.cumsum(1) - ends == 0
        values, seen = self._read(x)
        steps = torch.arange(x.shape[1], device=x.device)
        return parameters.emission.log_density(values.to(parameters.start.dtype), seen), steps < _length(seen)[:, None]

    def _steps(self, x: Tensor) -> Tensor:
        """(records, positions) -> (records, steps, fields)"""
        return x.reshape(len(x), -1, self.fields)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A series' values in double precision and which of them were observed, (records, steps, channels) each."""
        space = cast(SeriesSpace, self.space)
        n = len(space.channels)
        values = x[:, :, :n].to(torch.float32 if x.device.type == "mps" else torch.float64)
        return values, x[:, :, n:] > 0 if space.marked else torch.ones_like(values, dtype=torch.bool)

    def sample(self, n: int, rng: torch.Generator, given: Tensor | None = None) -> Tensor:
        device = self.start.device
        if isinstance(self.space, TokenSpace):
            nothing = torch.zeros(n, self.space.length, dtype=torch.int64, device=device)
            return self._filled_tokens(nothing, torch.zeros_like(nothing, dtype=torch.bool), rng)
        nothing = torch.zeros(n, self.space.steps, self.space.width, device=device)
        drawn = self._filled_series(nothing, torch.zeros_like(nothing, dtype=torch.bool), rng)
        return self._with_gaps(drawn, rng) if self.space.marked else drawn

    def complete(self, batch: Batch, known: Tensor, rng: torch.Generator) -> Tensor:
        """From the exact posterior given what is known. Cells of a series that are drawn count as observed."""
        fill = self._filled_tokens if isinstance(self.space, TokenSpace) else self._filled_series
        return fill(batch.x, known, rng)

    def _filled_tokens(self, x: Tensor, known: Tensor, rng: torch.Generator) -> Tensor:
        space, now = cast(TokenSpace, self.space), self.parameters_now
        if space.end is not None:
            now = _with_ended_state(now, space.end)
        emission = cast(Tokens, now.emission)
        steps, given = self._steps(x), self._steps(known)
        filtered = forward(now.start, now.transition, emission.log_density(steps, given), torch.ones_like(given[:, :, 0]))
        path = draw_path(now.transition, filtered, rng)
        places = [(t, f) for t in range(steps.shape[1]) for f in range(self.fields)]
        columns = [torch.where(given[:, t, f], steps[:, t, f], draw(emission.shares[path[:, t], f], rng)) for t, f in places]
        return torch.stack(columns, dim=1)

    def _filled_series(self, x: Tensor, known: Tensor, rng: torch.Generator) -> Tensor:
        space, now = cast(SeriesSpace, self.space), self.parameters_now
        n, emission = len(space.channels), cast(Gaussians, now.emission)
        values, seen = self._read(x)
        evidence = emission.log_density(values, seen & known[:, :, :n])
        filtered = forward(now.start, now.transition, evidence, torch.ones_like(known[:, :, 0]))
        path = draw_path(now.transition, filtered, rng)
        noise = torch.randn(values.shape, generator=rng, dtype=values.dtype, device=rng.device).to(values.device)
        drawn = (emission.means[path] + emission.variances[path].sqrt() * noise).clamp(-1, 1).to(x.dtype)
        if space.marked:
            unseen = known[:, :, n:] & ~seen  # known to have been measured by nobody
            drawn = torch.cat([drawn.masked_fill(unseen, 0.0), torch.ones_like(drawn)], dim=2)
        return torch.where(known, x, drawn)

    def _with_gaps(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Series that end and have gaps as often as the records do; gaps fall independently."""
        n, steps = len(self.gaps), x.shape[1]
        length = draw(self.lengths.expand(len(x), -1), rng)
        gone = torch.rand(len(x), steps, n, generator=rng, device=rng.device).to(x.device) < self.gaps
        gone = gone | (torch.arange(steps, device=x.device) >= length[:, None])[:, :, None]
        return torch.cat([x[:, :, :n].masked_fill(gone, 0.0), 1 - 2 * gone.to(x.dtype)], dim=2)


def _with_ended_state(now: Parameters, end: int) -> Parameters:
    """The same model with a state for `ended`, from which nothing leads back and which emits only the end: positions behind it
    then hold evidence like all others, and a gap before something known cannot end."""
    shares = cast(Tokens, now.emission).shares[:, 0]  # a sequence that ends has one field
    ending = shares[:, end]
    going_on = shares.index_fill(1, torch.tensor([end], device=shares.device), 0.0)
    only_end = torch.zeros_like(shares[:1]).index_fill(1, torch.tensor([end], device=shares.device), 1.0)
    emission = torch.cat([going_on / going_on.sum(1, keepdim=True).clamp_min(1e-30), only_end])
    start = torch.cat([now.start * (1 - ending), (now.start * ending).sum()[None]])
    moves = torch.cat([now.transition * (1 - ending), (now.transition * ending).sum(1, keepdim=True)], dim=1)
    stays = torch.zeros_like(start).index_fill(0, torch.tensor([len(ending)], device=shares.device), 1.0)
    return replace(now, start=start, transition=torch.cat([moves, stays[None]]), emission=Tokens(emission[:, None]))


def _length(seen: Tensor) -> Tensor:
    """(records, steps, channels) -> (records,): steps up to the last at which something was observed."""
    steps = torch.arange(1, seen.shape[1] + 1, device=seen.device)
    return (seen.any(2) * steps).amax(1)


def _fixed(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value, requires_grad=False)
