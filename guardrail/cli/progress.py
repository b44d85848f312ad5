"""How far long work has come, on stderr: one living line on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from ..run.pipeline import Listener
from ..training.loop import Progress


class Printer:
    """Stages as lines; training as step, loss where it may be shown, epsilon so far, time left."""

    def __init__(self, unit: str = "step", stream: TextIO | None = None) -> None:
        """`unit`: what progress is counted in."""
        self._unit = unit
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._epsilon: float | None = None
        self._shown = 0.0
        self._open = False

    def listener(self) -> Listener:
        return Listener(training=self.training, stage=self.stage)

    def stage(self, what: str) -> None:
        if what.startswith(" ") and not self._terminal:
            return
        self._close()
        print(what, file=self._stream, flush=True)

    def training(self, progress: Progress) -> None:
        metered = progress.epsilon is not None
        self._epsilon = progress.epsilon if metered else self._epsilon
        last = progress.step == progress.steps
        tenth = progress.step % max(1, progress.steps // 10) == 0
        due = time.monotonic() - self._shown > 0.2 if self._terminal else tenth
        if not (due or last):
            return
        self._shown = time.monotonic()
        line = self._line(progress)
        if self._terminal:
            print(f"\r{line:<78}", end="", file=self._stream, flush=True)
            self._open = True
            if last:
                self._close()
        else:
            print(line, file=self._stream, flush=True)

    def _line(self, progress: Progress) -> str:
        left = progress.seconds / progress.step * (progress.steps - progress.step)
        parts = [f"  {self._unit} {progress.step:>5}/{progress.steps}"]
        if progress.loss is not None:
            parts.append(f"loss {progress.loss:.3f}")
        if self._epsilon is not None:
            parts.append(f"epsilon so far {self._epsilon:.2f}")
        return "   ".join([*parts, f"{left:.0f} s left"])

    def _close(self) -> None:
        if self._open:
            print(file=self._stream)
            self._open = False
