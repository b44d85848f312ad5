"""The room on a page: it opens offline and travels by mail, so it stays below 5 MB whatever the data brings.

Drawings and words have a share each, so that the plots of one finding cannot crowd out the numbers of the next. What no
longer fits is left to the JSON file, and the page says so. The rest, a few lines per finding and rule, needs no counting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from markupsafe import Markup, escape

from ..vocabulary.estimate import Estimate
from ..vocabulary.plots import Plot
from .svg import draw
from .text import inert, shortened

DRAWINGS, WORDS = 2_600_000, 1_400_000
_ROW = 230
"""Bytes of a table's row beside its name."""
_SHORT = 300


class Room:
    """What is left of one page; asked in the order in which the page is written."""

    def __init__(self, drawings: int = DRAWINGS, words: int = WORDS) -> None:
        self._drawings, self._words = drawings, words

    def draw(self, plot: Plot) -> Markup:
        """The drawing, or nothing."""
        drawing = draw(plot)
        size = len(drawing.encode())
        if size > self._drawings:
            return Markup("")
        self._drawings -= size
        return drawing

    def rows(self, estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
        """As many of the first as fit."""
        shown = {}
        for name, estimate in estimates.items():
            if not self._fits(name, _ROW):
                break
            shown[name] = estimate
        return shown

    def texts(self, texts: Iterable[str]) -> list[str]:
        """As many of the first as fit."""
        shown = []
        for text in texts:
            if not self._fits(text, 20):
                break
            shown.append(text)
        return shown

    def text(self, text: str) -> str:
        """The text, or its beginning."""
        return text if self._fits(text, 0) else shortened(text, _SHORT)

    def _fits(self, text: str, beside: int) -> bool:
        size = len(str(escape(inert(text, lines=True))).encode()) + beside
        if size > self._words:
            return False
        self._words -= size
        return True
