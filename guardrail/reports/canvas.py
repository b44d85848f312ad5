"""A small SVG canvas: shapes and text, accessible, escaped by the XML library, coloured by the page's CSS properties.

Colours are CSS custom properties with a fallback, so that one drawing serves light and dark pages, print, and a viewer
without any CSS. The series colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; series also
differ in shape or order, and every mark is named in words.
"""

from __future__ import annotations

from typing import Literal
from xml.etree import ElementTree as Tree

from markupsafe import Markup

from .text import inert

Anchor = Literal["start", "middle", "end"]
SERIES = ("series-1", "series-2", "series-3", "series-4", "series-5", "series-6")
_FALLBACK = {
    "ink": "#1f2328",
    "muted": "#5f6670",
    "line": "#d5d9de",
    "wash": "#eef0f2",
    "paper": "#ffffff",
    "series-1": "#0072b2",
    "series-2": "#d55e00",
    "series-3": "#009e73",
    "series-4": "#cc79a7",
    "series-5": "#8a6d00",
    "series-6": "#56b4e9",
}


def colour(name: str) -> str:
    return f"var(--{name}, {_FALLBACK[name]})"


class Canvas:
    """Draws in units of CSS pixels; `title` names the picture, `description` says what it shows to who cannot see it."""

    def __init__(self, width: float, height: float, *, title: str, description: str) -> None:
        self._root = Tree.Element(
            "svg",
            {
                "viewBox": f"0 0 {_short(width)} {_short(height)}",
                "width": _short(width),
                "height": _short(height),
                "role": "img",
                "aria-label": inert(title),
            },
        )
        Tree.SubElement(self._root, "title").text = inert(title)
        if description:
            Tree.SubElement(self._root, "desc").text = inert(description)

    def line(self, x1: float, y1: float, x2: float, y2: float, *, stroke: str = "line", width: float = 1, dashed: bool = False) -> None:
        place = {"x1": _short(x1), "y1": _short(y1), "x2": _short(x2), "y2": _short(y2)}
        dash = {"stroke-dasharray": "3 3"} if dashed else {}
        Tree.SubElement(
            self._root, "line", place | dash | {"stroke": colour(stroke), "stroke-width": _short(width), "stroke-linecap": "round"}
        )

    def rect(self, x: float, y: float, width: float, height: float, *, fill: str, opacity: float = 1, tip: str = "") -> None:
        place = {"x": _short(x), "y": _short(y), "width": _short(max(width, 0)), "height": _short(height), "rx": "1"}
        shape = Tree.SubElement(self._root, "rect", place | {"fill": colour(fill), "fill-opacity": _short(opacity)})
        if tip:
            Tree.SubElement(shape, "title").text = inert(tip)

    def dot(self, x: float, y: float, radius: float, *, fill: str, hollow: bool = False) -> None:
        paint = {"fill": colour("paper" if hollow else fill), "stroke": colour(fill), "stroke-width": "1.5"}
        Tree.SubElement(self._root, "circle", {"cx": _short(x), "cy": _short(y), "r": _short(radius)} | paint)

    def path(self, points: list[tuple[float, float]], *, stroke: str, dashed: bool = False) -> None:
        steps = "M" + " L".join(f"{_short(x)} {_short(y)}" for x, y in points)
        dash = {"stroke-dasharray": "4 3"} if dashed else {}
        paint = {"fill": "none", "stroke": colour(stroke), "stroke-width": "1.75", "stroke-linejoin": "round"}
        Tree.SubElement(self._root, "path", {"d": steps} | paint | dash)

    def text(
        self, x: float, y: float, content: str, *, anchor: Anchor = "start", fill: str = "ink", size: float = 12, tip: str = ""
    ) -> None:
        place = {"x": _short(x), "y": _short(y), "text-anchor": anchor, "font-size": _short(size), "fill": colour(fill)}
        label = Tree.SubElement(self._root, "text", place)
        label.text = inert(content)
        if tip and tip != content:
            Tree.SubElement(label, "title").text = inert(tip)

    def slanted(self, x: float, y: float, content: str, *, tip: str) -> None:
        """A column's name under it, turned so that long names do not run into each other."""
        turn = f"rotate(-55 {_short(x)} {_short(y)})"
        place = {"x": _short(x), "y": _short(y), "text-anchor": "end", "font-size": "11", "fill": colour("ink"), "transform": turn}
        label = Tree.SubElement(self._root, "text", place)
        label.text = inert(content)
        Tree.SubElement(label, "title").text = inert(tip)

    def markup(self) -> Markup:
        """The drawing, escaped already."""
        return Markup(Tree.tostring(self._root, encoding="unicode"))  # noqa: S704  # every text went through the XML library


class Scale:
    """A linear map from values to pixels; values outside the domain are drawn at its edge."""

    def __init__(self, least: float, most: float, start: float, end: float) -> None:
        if not most > least:
            least, most = least - 0.5, most + 0.5
        self._least, self._span, self._start, self._end = least, most - least, start, end

    def __call__(self, value: float) -> float:
        share = min(1.0, max(0.0, (value - self._least) / self._span))
        return self._start + share * (self._end - self._start)


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
