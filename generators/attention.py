"""Attention over the steps of a sequence, three ways: everything before, a window, or a running sum.

full     softmax(q k^T) v over all earlier steps (Vaswani et al. 2017, arXiv 1706.03762): time grows with the square of the length.
window   the same over the last `window` steps, block by block (Beltagy et al. 2020, arXiv 2004.05150): time grows with the length.
linear   with phi(q) (phi(k)^T v) in place of the softmax, phi = elu + 1 (Katharopoulos et al. 2020, arXiv 2006.16236): what was
         read is one matrix, so memory while drawing does not grow at all.
Each can be computed at once for a whole sequence, or step by step from a state; both give the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Kind = Literal["full", "window", "linear"]
CHUNK = 64
"""Steps that linear attention takes at once."""
FIRST_ROOM = 64
"""Steps for which a state has room at first."""


@dataclass
class State:
    """What a layer remembers of the steps before. Room for keys and values doubles when it is full, so that a step copies a
    few of them on average and not all; a window has room for its own steps only, the oldest making way."""

    steps: int = 0
    keys: Tensor | None = None
    """(records, heads, room, size), the first `steps` of them in use; their order means nothing."""
    values: Tensor | None = None
    matrix: Tensor | None = None
    """(records, heads, size, size): sum of phi(k)^T v."""
    mass: Tensor | None = None
    """(records, heads, size): sum of phi(k)."""
    source: tuple[Tensor, Tensor] | None = None
    """Keys and values of the other sequence that is looked at, (records, heads, its steps, size)."""

    def remember(self, key: Tensor, value: Tensor, most: int | None) -> tuple[Tensor, Tensor]:
        """(records, heads, 1, size) each -> all that are looked at, the new ones among them; `most`: of the window."""
        self.keys, self.values = (self._with_room(old, new, most) for old, new in ((self.keys, key), (self.values, value)))
        place = self.steps if most is None else self.steps % most
        self.keys[:, :, place], self.values[:, :, place] = key[:, :, 0], value[:, :, 0]
        self.steps += 1
        used = self.steps if most is None else min(self.steps, most)
        return self.keys[:, :, :used], self.values[:, :, :used]

    def _with_room(self, old: Tensor | None, new: Tensor, most: int | None) -> Tensor:
        room = 0 if old is None else old.shape[2]
        if old is not None and (self.steps < room or room == most):
            return old
        larger = max(FIRST_ROOM, 2 * room) if most is None else min(most, max(FIRST_ROOM, 2 * room))
        grown = new.new_empty(*new.shape[:2], larger, new.shape[3])
        if old is not None:
            grown[:, :, :room] = old
        return grown


class Attention(nn.Module):
    """Of every step over those before it and itself; over another sequence where `memory` is given."""

    def __init__(self, width: int, heads: int, kind: Kind = "full", window: int = 128) -> None:
        super().__init__()
        self.heads, self.kind, self.window = heads, kind, window
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, *, causal: bool = True, memory: Tensor | None = None) -> Tensor:
        source = x if memory is None else memory
        q, k, v = self._split(self.query(x)), self._split(self.key(source)), self._split(self.value(source))
        if not causal or memory is not None:
            return self._joined(F.scaled_dot_product_attention(q, k, v))
        attend = {"full": _full, "window": self._windowed, "linear": _linear}[self.kind]
        return self._joined(attend(q, k, v))

    def step(self, x: Tensor, state: State) -> Tensor:
        """(records, width) -> (records, width): the next step of the causal sequence; the state moves on."""
        q, k, v = (self._split(layer(x)[:, None]) for layer in (self.query, self.key, self.value))
        if self.kind == "linear":
            return torch.as_tensor(self._joined(_linear_step(q, k, v, state))[:, 0])
        keys, values = state.remember(k, v, self.window if self.kind == "window" else None)
        return self._joined(F.scaled_dot_product_attention(q, keys, values))[:, 0]

    def step_over(self, memory: Tensor, x: Tensor, state: State) -> Tensor:
        """(records, width) -> (records, width): one step over another sequence, whose keys and values are computed once."""
        if state.source is None:
            state.source = self._split(self.key(memory)), self._split(self.value(memory))
        return self._joined(F.scaled_dot_product_attention(self._split(self.query(x)[:, None]), *state.source))[:, 0]

    def weights(self, x: Tensor) -> Tensor:
        """(records, heads, steps, steps): how much each step looked at each before it."""
        q, k = self._split(self.query(x)), self._split(self.key(x))
        steps = torch.arange(x.shape[1], device=x.device)
        behind = steps[:, None] - steps[None, :]
        seen = (behind >= 0) & ((behind < self.window) | (self.kind != "window"))
        if self.kind == "linear":
            raw = (_phi(q) @ _phi(k).mT).masked_fill(~seen, 0.0)
            return torch.as_tensor(raw / raw.sum(3, keepdim=True))
        return torch.as_tensor((q @ k.mT * q.shape[3] ** -0.5).masked_fill(~seen, float("-inf")).softmax(3))

    def _split(self, x: Tensor) -> Tensor:
        """(records, steps, width) -> (records, heads, steps, size)."""
        return torch.as_tensor(x.unflatten(2, (self.heads, -1))).transpose(1, 2)

    def _joined(self, x: Tensor) -> Tensor:
        joined: Tensor = self.output(x.transpose(1, 2).flatten(2))
        return joined

    def _windowed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Blocks of `window` steps, each over itself and the one before: at most twice the work that is needed."""
        steps, window = q.shape[2], min(self.window, q.shape[2])
        short = -steps % window
        q, k, v = (F.pad(part, (0, 0, 0, short)).unflatten(2, (-1, window)) for part in (q, k, v))
        k, v = (torch.cat([F.pad(part, (0, 0, 0, 0, 1, 0))[:, :, :-1], part], dim=3) for part in (k, v))
        here = torch.arange(window, device=q.device)
        behind = here[:, None] - torch.arange(-window, window, device=q.device)[None, :]
        seen = ((behind >= 0) & (behind < window)).expand(q.shape[2], -1, -1).clone()
        seen[0, :, :window] = False  # before the first block there is nothing
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).flatten(2, 3)[:, :, :steps]


def _full(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _phi(x: Tensor) -> Tensor:
    return F.elu(x) + 1


def _linear(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Chunk by chunk: within a chunk as a product of small matrices, what lies before it as one matrix."""
    q, k = _phi(q), _phi(k)
    matrix, mass = q.new_zeros(*q.shape[:2], q.shape[3], v.shape[3]), q.new_zeros(*q.shape[:2], q.shape[3])
    parts = []
    for a, b, c in zip(q.split(CHUNK, 2), k.split(CHUNK, 2), v.split(CHUNK, 2), strict=True):
        inside = (a @ b.mT).tril()
        total = inside @ c + a @ matrix
        parts.append(total / (inside.sum(3, keepdim=True) + (a * mass[:, :, None]).sum(3, keepdim=True)))
        matrix, mass = matrix + b.mT @ c, mass + b.sum(2)
    return torch.cat(parts, 2)


def _linear_step(q: Tensor, k: Tensor, v: Tensor, state: State) -> Tensor:
    q, k = _phi(q), _phi(k)
    state.matrix = k.mT @ v if state.matrix is None else state.matrix + k.mT @ v
    state.mass = k[:, :, 0] if state.mass is None else state.mass + k[:, :, 0]
    return q @ state.matrix / (q * state.mass[:, :, None]).sum(3, keepdim=True)


class Block(nn.Module):
    """Attention, then a small network for each step by itself; both read a normalised copy and add to what is there."""

    def __init__(self, width: int, heads: int, kind: Kind, window: int, dropout: float, *, crossed: bool = False) -> None:
        super().__init__()
        self.before, self.attention = nn.LayerNorm(width), Attention(width, heads, kind, window)
        self.before_cross = nn.LayerNorm(width) if crossed else None
        self.cross = Attention(width, heads) if crossed else None
        self.between = nn.LayerNorm(width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout))
        self.dropped = nn.Dropout(dropout)

    def forward(self, x: Tensor, *, causal: bool = True, memory: Tensor | None = None) -> Tensor:
        x = x + self.dropped(self.attention(self.before(x), causal=causal))
        if self.cross is not None and self.before_cross is not None and memory is not None:
            x = x + self.dropped(self.cross(self.before_cross(x), memory=memory))
        return x + torch.as_tensor(self.network(self.between(x)))

    def step(self, x: Tensor, state: State, memory: Tensor | None = None) -> Tensor:
        """(records, width) in and out: the next step; the state moves on."""
        x = x + self.attention.step(self.before(x), state)
        if self.cross is not None and self.before_cross is not None and memory is not None:
            x = x + self.cross.step_over(memory, self.before_cross(x), state)
        return x + torch.as_tensor(self.network(self.between(x)))
