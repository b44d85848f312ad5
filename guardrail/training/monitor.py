"""The monitor: watches a training without privacy for instability and mode collapse, warns, and keeps what it saw.

It changes nothing in what it watches: with it and without it a training ends at the same weights. Losses are kept as they come;
the rest is looked at now and then, so that it costs a few per cent of the training. Under privacy it is off: every look at the
records would be one that nobody paid for.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..vocabulary.errors import Unsupported
from ..vocabulary.monitor import MonitorModes, MonitorRecord
from ..vocabulary.seeds import entropy, stream
from .conduct import reseed, undisturbed
from .contract import Generator
from .looks import Clusters, dead_units, duality_gap, plays_a_game
from .loop import Training, Turn, read, sound
from .signs import FIRST, explodes, fades, swings
from .strategy import Dataset

POINTS = 200
RECENT = 400
"""Losses that oscillation is looked for in."""
LOOK_RECORDS, PRACTICE_RECORDS, CLUSTER_RECORDS, SAMPLES = 128, 64, 2000, 512
LOOK_SHARE, LOOK_LEAST = 0.015, 0.5
"""Of the training's time, but at least so many seconds: what looks at dead units and the family's own numbers may take in all."""
TIME_SHARE, TIME_LEAST = 0.015, 1.0
"""The same for samples, among which clusters are looked for."""
GAP_SHARE, GAP_STEPS = 0.02, (5, 50)
"""Of the training's steps: what the players' excursions for the duality gap may take in all; and how long one is."""
MANY_DEAD, ONE_SIDED, MOST = 0.5, 0.99, 0.75
EARLY = 0.15
"""Share of the training in which a critic may win always: what an untrained generator makes is easily told from records."""


class Curve:
    """Values by step, thinned as they come."""

    def __init__(self, points: Sequence[Sequence[float]] = ()) -> None:
        self.points = [(int(step), float(value)) for step, value in points]

    def add(self, step: int, value: float) -> None:
        if math.isfinite(value):
            self.points.append((step, value))
        if len(self.points) > 2 * POINTS:
            self.points = [*self.points[:-1:2], self.points[-1]]

    def thinned(self) -> tuple[tuple[int, float], ...]:
        stride = math.ceil(len(self.points) / (POINTS - 1)) if self.points else 1
        return (*self.points[:-1:stride], *self.points[-1:])

    def values(self) -> list[float]:
        return [value for _, value in self.points]


class Monitor:
    def __init__(self, dataset: Dataset, *, seed: int, device: torch.device, tell: Callable[[str], None]) -> None:
        self._dataset, self._tell, self._device = dataset, tell, device
        self._seed = entropy(seed, "monitor") % 2**63
        rows = stream(seed, "monitor").permutation(len(dataset.records))
        self._look = dataset.records[torch.from_numpy(rows[:LOOK_RECORDS].copy())].to(device)
        self._practice = dataset.records[torch.from_numpy(rows[-PRACTICE_RECORDS:].copy())].to(device)
        self._some = dataset.records[torch.from_numpy(rows[:CLUSTER_RECORDS].copy())]
        self._curves: dict[str, dict[str, Curve]] = {kind: {} for kind in ("losses", "gradient_norms", "diagnostics")}
        self._single = {kind: Curve() for kind in ("win_rate", "modes", "duality_gap")}
        self._recent: dict[str, deque[float]] = {}
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        self._norms: list[tuple[int, dict[str, Tensor]]] = []
        self._said: dict[str, str] = {}
        self._last: dict[str, float] = {}
        """The latest of `dead units` and `duality reference`."""
        self._counts: MonitorModes | None = None
        self._clusters: Clusters | None = None
        self._per_sample: float | None = None
        self._lost = 0
        self._looked = 0.0
        """Seconds."""
        self._broken = False
        """Nothing can be seen in weights that are no numbers."""

    def begin(self, training: Training, notes: Any) -> None:
        steps = training.steps
        self._steps = steps
        self._blind = {name for name, turn in training.turns.items() if not turn.player.sees_records}
        self._norm_every, self._look_every, self._mode_every = max(5, steps // POINTS), max(10, steps // 40), max(10, steps // 8)
        if notes is not None:
            self._recall(notes)
        self._plan_gaps(training)
        if self._gap_at and notes is None:
            self._last["duality reference"] = self._gap(training)

    def after_step(self, training: Training, losses: Mapping[str, Tensor | None]) -> Mapping[str, float]:
        step = training.step
        seen: dict[str, float] = {}
        self._waiting.append((step, {name: loss.detach() for name, loss in losses.items() if loss is not None}))
        if step <= FIRST or step % self._norm_every == 0:
            self._norms.append((step, {name: norm for name, turn in training.turns.items() if (norm := _norm(turn)) is not None}))
        if step % self._look_every == 0:
            self._drain()
            self._review(step)
            self._broken = not sound(training.generator)
            if not self._broken and self._looked <= LOOK_LEAST + LOOK_SHARE * training.seconds:
                started = time.perf_counter()
                seen = self._look_at(training)
                self._looked += time.perf_counter() - started
        if self._broken:
            self._warn("broken", step, f"the weights are not finite numbers any more; {GENTLER}")
            return {}
        if step % self._mode_every == 0 and step < self._steps:
            with training.average.shown():
                seen |= self._look_for_modes(training, share=1 / 8)
        if step in self._gap_at:
            gap = self._gap(training)
            self._single["duality_gap"].add(step, gap)
            seen["duality_gap"] = gap
        return seen

    def end(self, training: Training) -> None:
        self._drain()
        self._review(training.step)
        self._look_for_modes(training, share=1.0)
        self._judge_gap()

    def record(self) -> MonitorRecord:
        many = {kind: {name: curve.thinned() for name, curve in curves.items()} for kind, curves in self._curves.items()}
        single = {kind: curve.thinned() for kind, curve in self._single.items()}
        return MonitorRecord(
            steps=self._steps,
            dead_units=self._last.get("dead units"),
            mode_counts=self._counts,
            duality_reference=self._last.get("duality reference"),
            warnings=tuple(self._said.values()),
            lost=self._lost,
            losses=many["losses"],
            gradient_norms=many["gradient_norms"],
            diagnostics=many["diagnostics"],
            win_rate=single["win_rate"],
            modes=single["modes"],
            duality_gap=single["duality_gap"],
        )

    def notes(self) -> Any:
        self._drain()
        return {
            "curves": {kind: {name: curve.points for name, curve in curves.items()} for kind, curves in self._curves.items()},
            "single": {kind: curve.points for kind, curve in self._single.items()},
            "recent": {name: [v if math.isfinite(v) else None for v in values] for name, values in self._recent.items()},
            "said": self._said,
            "last": self._last,
            "lost": self._lost,
        }

    def _recall(self, notes: Any) -> None:
        self._curves = {kind: {name: Curve(points) for name, points in curves.items()} for kind, curves in notes["curves"].items()}
        self._single = {kind: Curve(points) for kind, points in notes["single"].items()}
        self._recent = {name: deque((math.nan if v is None else v for v in values), RECENT) for name, values in notes["recent"].items()}
        self._said, self._last, self._lost = dict(notes["said"]), dict(notes["last"]), int(notes["lost"])

    def _drain(self) -> None:
        """Reads what lies on the device, all at once."""
        for step, values in _together(self._waiting):
            self._lost += any(not math.isfinite(value) for value in values.values())
            for name, value in values.items():
                self._curves["losses"].setdefault(name, Curve()).add(step, value)
                self._recent.setdefault(name, deque(maxlen=RECENT)).append(value)
        for step, values in _together(self._norms):
            for name, value in values.items():
                curve = self._curves["gradient_norms"].setdefault(name, Curve())
                if explodes([*curve.values(), value]):
                    self._warn(f"exploding {name}", step, f"the gradient of {name} exploded (norm {value:.3g}); {GENTLER}")
                curve.add(step, value)
        self._waiting, self._norms = [], []

    def _review(self, step: int) -> None:
        if self._lost:
            self._warn("lost", step, f"the loss was not a finite number at {self._lost} steps: training diverged; {GENTLER}")
        for name, losses in self._recent.items():
            # What a player without records loses is what its rival says at the moment: it follows every step of the rival's.
            if name not in self._blind and swings(list(losses)):
                self._warn(f"swings {name}", step, f"the loss of {name} goes up and down without settling; {GENTLER}")
        for name, curve in self._curves["gradient_norms"].items():
            # At the end of a training small gradients are what one wants.
            if step < 0.8 * self._steps and fades(curve.values()):
                self._warn(f"fading {name}", step, f"the gradient of {name} has all but vanished, so that it no longer learns; {WEAKER}")

    def _look_at(self, training: Training) -> dict[str, float]:
        step, generator = training.step, training.generator
        with self._quietly(generator):
            dead = dead_units(generator, self._look)
            with torch.no_grad():
                told = {name: float(value) for name, value in generator.diagnose(self._look).items()}
        if dead is not None:
            self._last["dead units"] = dead
            if dead > MANY_DEAD:
                self._warn("dead", step, f"{dead:.0%} of the rectified units give nothing on any of {len(self._look)} records; {GENTLER}")
        for name, value in told.items():
            self._curve_of(name).add(step, value)
        rates = self._single["win_rate"].values()[-3:]
        if step > EARLY * self._steps and len(rates) == 3 and (min(rates) > ONE_SIDED or max(rates) < 1 - ONE_SIDED):
            winner = "nearly always wins" if rates[-1] > 0.5 else "hardly ever wins"
            self._warn("one-sided", step, f"the critic {winner} ({rates[-1]:.0%}): the generator learns little from it; {WEAKER}")
        return told if dead is None else told | {"dead_units": dead}

    def _curve_of(self, name: str) -> Curve:
        return self._single["win_rate"] if name == "win_rate" else self._curves["diagnostics"].setdefault(name, Curve())

    def _look_for_modes(self, training: Training, *, share: float) -> dict[str, float]:
        """`share` of the time set aside for it."""
        started = time.perf_counter()
        whole = training.seconds / training.step * self._steps
        try:
            n = self._affordable(training.generator, share * max(TIME_LEAST, TIME_SHARE * whole))
        except Unsupported:  # a family that only translates makes nothing in which to look for modes
            return {}
        if n < SAMPLES // 4:
            return {}
        if self._clusters is None:
            self._clusters = Clusters.of(self._some, self._dataset.space, seed=self._seed)
            started = time.perf_counter()
        if self._clusters is None:
            return {}
        samples = self._drawn(training.generator, n)
        self._per_sample = (time.perf_counter() - started) / n
        if samples.is_floating_point() and not samples.isfinite().all():
            return {}
        found, total = self._clusters.found(samples)
        if not total:
            return {}
        self._single["modes"].add(training.step, found / total)
        shares = self._single["modes"].values()[-2:]
        over = training.step == self._steps
        self._counts = MonitorModes(found=found, total=total, n_samples=n)
        if (over and found < MOST * total) or (training.step >= 0.4 * self._steps and max(shares) < 0.5 and len(shares) == 2):
            self._warn("modes", training.step, f"{n} samples show {found} of {total} clusters of the records: mode collapse; {WEAKER}")
        return {"modes": found / total}

    def _affordable(self, generator: Generator, seconds: float) -> int:
        if self._per_sample is None:
            started = time.perf_counter()
            self._drawn(generator, 32)
            self._per_sample = (time.perf_counter() - started) / 32
        return min(SAMPLES, int(seconds / max(self._per_sample, 1e-9)))

    def _drawn(self, generator: Generator, n: int) -> Tensor:
        rng = torch.Generator(self._device).manual_seed(self._seed)
        rows = torch.from_numpy(stream(self._seed, "classes").integers(0, len(self._dataset.records), n))
        given = self._dataset.records.given[rows].to(self._device) if generator.conditional else None
        with self._quietly(generator), torch.no_grad():
            generator.eval()
            return generator.sample(n, rng, given)

    def _plan_gaps(self, training: Training) -> None:
        """Two excursions of equal length at each of a few steps, the last one included, and before the first."""
        least, most = GAP_STEPS
        times = int(min(5, max(2, GAP_SHARE * self._steps / (2 * most)))) if plays_a_game(training.generator) else 0
        self._gap_length = int(min(most, max(least, GAP_SHARE * self._steps / (2 * max(1, times)))))
        self._gap_at = {round(self._steps * k / (times - 1)) for k in range(1, times)} if times else set()
        self._rates = {name: 5 * training.recipe.learning_rate * turn.player.pace for name, turn in training.turns.items()}

    def _gap(self, training: Training) -> float:
        with self._quietly(training.generator):
            gap = duality_gap(training.generator, self._practice, self._look, self._rates, steps=self._gap_length, seed=self._seed % 2**62)
        return gap if math.isfinite(gap) else 0.0

    def _judge_gap(self) -> None:
        reference, gaps = self._last.get("duality reference"), self._single["duality_gap"].values()
        if reference is not None and gaps and gaps[-1] > 2 * reference + 0.1:
            self._warn(
                "gap",
                self._steps,
                f"the players end further from equilibrium than they began (duality gap {gaps[-1]:.3g} after {reference:.3g}); {WEAKER}",
            )

    @contextmanager
    def _quietly(self, generator: Generator) -> Iterator[None]:
        with undisturbed(generator):
            reseed(self._device, self._seed)
            yield

    def _warn(self, kind: str, step: int, text: str) -> None:
        """Once of a kind."""
        if kind not in self._said:
            self._said[kind] = f"step {step}: {text}"
            self._tell(self._said[kind])


GENTLER = "a lower training.learning_rate, training.warmup or training.max_norm steadies it"
WEAKER = "try a lower learning rate, fewer critic steps, or another family (wgan)"


def _norm(turn: Turn) -> Tensor | None:
    """Of the step just taken, before it was bounded."""
    measured: Tensor | None = getattr(turn, "gradient_norm", None)
    gradients = [p.grad for group in turn.optimizer.param_groups for p in group["params"] if p.grad is not None]
    if measured is not None or not gradients:
        return measured
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def _together(waiting: Sequence[tuple[int, Mapping[str, Tensor]]]) -> Iterator[tuple[int, dict[str, float]]]:
    values = iter(read([value for _, named in waiting for value in named.values()]))
    for step, named in waiting:
        yield step, {name: next(values) for name in named}
