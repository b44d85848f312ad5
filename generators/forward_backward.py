"""Exact inference in hidden Markov models (Rabiner 1989, https://doi.org/10.1109/5.18626), over many records at once.

What a model is here: `start` (states,) and `transition` (states, states), probabilities, and `evidence` (records, steps, states), the
log-density of what was observed at each step under each state: 0 where nothing was. Steps that are not `alive` lie behind a
record's end: they hold no evidence and no transition. The filter is rescaled at every step, so that no length underflows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TINY = 1e-300


@dataclass(frozen=True)
class Filtered:
    states: Tensor
    """(records, steps, states): P(state | evidence up to this step)."""
    log_likelihood: Tensor
    """(records,)"""


def forward(start: Tensor, transition: Tensor, evidence: Tensor, alive: Tensor) -> Filtered:
    total, steps = evidence.new_zeros(len(evidence)), []
    state = start.expand(len(evidence), -1)
    for t in range(evidence.shape[1]):
        foreseen = state @ transition if t else state
        joint = foreseen.log() + evidence[:, t]
        peak = joint.max(1, keepdim=True).values
        possible = alive[:, t, None] & (peak > -torch.inf)
        scaled = (joint - peak.where(possible, 0.0)).exp()
        mass = scaled.sum(1, keepdim=True)
        # Evidence that no state allows has probability 0, and then tells nothing about the state.
        state = torch.where(possible, scaled / mass, foreseen if t == 0 else torch.where(alive[:, t, None], foreseen, state))
        total = total + torch.where(alive[:, t], peak[:, 0] + mass[:, 0].log(), 0.0)
        steps.append(state)
    return Filtered(torch.stack(steps, dim=1), total)


@dataclass(frozen=True)
class Smoothed:
    states: Tensor
    """(records, steps, states): P(state | the whole record)."""
    moves: Tensor
    """(records, states, states): expected number of moves from one state to another."""


def backward(transition: Tensor, filtered: Filtered, alive: Tensor) -> Smoothed:
    """By correcting the filter from the end: every state keeps a share only of what was foreseen from it."""
    state = filtered.states[:, -1]
    steps, ratios = [state], []
    for t in range(filtered.states.shape[1] - 2, -1, -1):
        before, goes_on = filtered.states[:, t], alive[:, t + 1, None]
        ratio = state / (before @ transition).clamp_min(TINY) * goes_on
        state = torch.where(goes_on, before * (ratio @ transition.T), state)
        steps.append(state)
        ratios.append(ratio)
    if not ratios:
        return Smoothed(state[:, None], torch.zeros_like(state)[:, :, None] * transition)
    moves = torch.einsum("rti,rtj->rij", filtered.states[:, :-1], torch.stack(ratios[::-1], dim=1)) * transition
    return Smoothed(torch.stack(steps[::-1], dim=1), moves)


def viterbi(start: Tensor, transition: Tensor, evidence: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable path (records, steps), and the log of its joint probability with the record (records,).

    Behind the end the path stays where it was."""
    score = start.log() + evidence[:, 0].where(alive[:, :1], 0.0)
    stay = torch.arange(len(start), device=start.device).expand_as(score)
    came_from = []
    for t in range(1, evidence.shape[1]):
        best, origin = (score[:, :, None] + transition.log()).max(1)  # (records, to)
        score = torch.where(alive[:, t, None], best + evidence[:, t], score)
        came_from.append(torch.where(alive[:, t, None], origin, stay))
    value, state = score.max(1)
    path = [state]
    for origin in reversed(came_from):
        path.append(origin.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1], dim=1), value


def draw_path(transition: Tensor, filtered: Filtered, rng: torch.Generator) -> Tensor:
    """(records, steps): states drawn from their joint distribution given the record, the last one first."""
    state = draw(filtered.states[:, -1], rng)
    path = [state]
    for t in range(filtered.states.shape[1] - 2, -1, -1):
        state = draw(filtered.states[:, t] * transition[:, state].T, rng)
        path.append(state)
    return torch.stack(path[::-1], dim=1)


def draw(weights: Tensor, rng: torch.Generator) -> Tensor:
    """(n, choices) -> (n,): one choice each."""
    upto = weights.cumsum(1)
    point = torch.rand(len(weights), 1, generator=rng, dtype=weights.dtype, device=rng.device).to(weights.device) * upto[:, -1:]
    return (upto <= point).sum(1).clamp_max(weights.shape[1] - 1)
