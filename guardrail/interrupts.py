"""Ctrl-C, but never inside an import; and whoever is told to end (SIGTERM) clears up like one that is interrupted.

An interrupt that is raised while a module is being loaded does not always arrive as one: Python 3.11 makes a RuntimeError of it where
a class is being made, and in the C++ of torch it ends the process. So it waits for the end of the import, and no longer; a second one
does not wait.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any, NoReturn

IMPORTING = "<frozen importlib._bootstrap>"


def wait_for_imports() -> None:
    """From now on, where a signal is heard at all: a shell's background job ignores Ctrl-C, and goes on doing so."""
    stop = _Stop()
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            signal.signal(number, stop)


class _Stop:
    def __init__(self) -> None:
        self._waiting = False

    def __call__(self, _: int, frame: FrameType | None) -> None:
        importer = importer_of(frame)
        if importer is None or self._waiting:
            self._now()
        self._waiting = True
        importer.f_trace = lambda *_: self._now()  # called before its next line, once tracing is on
        sys.settrace(_nothing)

    def _now(self) -> NoReturn:
        self._waiting = False
        sys.settrace(None)
        raise KeyboardInterrupt


def _nothing(*_: Any) -> None:
    """Traces no new frame."""


def importer_of(frame: FrameType | None) -> FrameType | None:
    """The frame of the outermost import that this one is part of; None where it is part of none."""
    importer, inside = None, False
    while frame is not None:
        importing = frame.f_code.co_filename == IMPORTING
        if inside and not importing:
            importer = frame
        inside, frame = importing, frame.f_back
    return importer
