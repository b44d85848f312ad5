"""Draws the plots of the findings as inline SVG: bars, curves, whiskers, heat maps.

Values are written beside their marks, so that there are no axis ticks to read off, and no number is drawn that the
report does not hold. What would not fit is left to report.json, and the drawing says so.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from ..vocabulary.plots import Bars, Curve, Heatmap, Plot, Whiskers
from .canvas import SERIES, Canvas, Scale
from .text import interval, number, shortened

WIDTH = 640.0
_LABELS = 206.0
_MOST_ROWS = 24
_MOST_CELLS = 40
_MOST_POINTS = 200
_REST = "The rest stands in report.json."


def draw(plot: Plot) -> Markup:
    """One plot as an `<svg>` element."""
    if isinstance(plot, Bars):
        return _bars(plot)
    if isinstance(plot, Curve):
        return _curve(plot)
    return _whiskers(plot) if isinstance(plot, Whiskers) else _heatmap(plot)


def _bars(plot: Bars) -> Markup:
    rows = sorted(range(len(plot.labels)), key=lambda i: -max((values[i] for values in plot.series.values()), default=0))[:_MOST_ROWS]
    rows = sorted(rows)  # as the audit ordered them: the order may mean something
    cut, bar, gap = len(rows) < len(plot.labels), 10, 9
    height = 26 + len(rows) * (len(plot.series) * bar + gap) + (18 if cut else 0)
    canvas = Canvas(
        WIDTH, height, title=plot.title, description=f"Bars by {', '.join(plot.series)}; {plot.unit}. {_REST if cut else ''}".strip()
    )
    _legend(canvas, plot.series)
    top = max((value for values in plot.series.values() for value in values), default=0)
    bottom = min((value for values in plot.series.values() for value in values), default=0)
    scale = Scale(min(0.0, bottom), max(top, 0.0) or 1.0, _LABELS, WIDTH - 60)
    y = 26.0
    for i in rows:
        _label(canvas, y + len(plot.series) * bar / 2 + 4, plot.labels[i])
        for place, values in enumerate(plot.series.values()):
            left, right = sorted((scale(0.0), scale(values[i])))
            canvas.rect(left, y, right - left, bar - 2, fill=_series(place))
            canvas.text(right + 5, y + bar - 2, number(values[i]), size=10, fill="muted")
            y += bar
        y += gap
    if cut:
        canvas.text(_LABELS, height - 4, _REST, size=11, fill="muted")
    return canvas.markup()


def _curve(plot: Curve) -> Markup:
    points = [point for line in plot.series.values() for point in line]
    xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
    left, top, side_x, side_y = 56.0, 46.0, 300.0 if plot.diagonal else 520.0, 260.0 if plot.diagonal else 220.0
    described = f"{plot.y} over {plot.x}, by {', '.join(plot.series)}" + ("; the dashed diagonal is a coin toss" if plot.diagonal else "")
    canvas = Canvas(left + side_x + 24, top + side_y + 42, title=plot.title, description=described)
    _legend(canvas, plot.series, dashed="coin toss" if plot.diagonal else None)
    across, up = Scale(min(xs), max(xs), left, left + side_x), Scale(min(ys), max(ys), top + side_y, top)
    canvas.line(left, top + side_y, left + side_x, top + side_y)
    canvas.line(left, top, left, top + side_y)
    if plot.diagonal:
        canvas.path([(across(0), up(0)), (across(1), up(1))], stroke="muted", dashed=True)
    for place, line in enumerate(plot.series.values()):
        if line:
            canvas.path([(across(x), up(y)) for x, y in _thinned(line)], stroke=_series(place))
    for value, anchor in ((min(xs), "start"), (max(xs), "end")):
        canvas.text(across(value), top + side_y + 16, number(value), anchor=anchor, size=11, fill="muted")  # type: ignore[arg-type]
    for value in {min(ys), max(ys)}:
        canvas.text(left - 8, up(value) + 4, number(value), anchor="end", size=11, fill="muted")
    canvas.text(left + side_x / 2, top + side_y + 32, plot.x, anchor="middle", size=11)
    canvas.text(left - 8, top - 12, plot.y, size=11)
    return canvas.markup()


def _whiskers(plot: Whiskers) -> Markup:
    count = min(len(plot.labels), _MOST_ROWS)
    cut = count < len(plot.labels)
    ends = [value for value in (*plot.values, *plot.lows, *plot.highs, plot.line) if value is not None] or [0.0]
    least = 0.0 if 0 <= min(ends) < 0.35 else min(ends)
    scale = Scale(least, max(ends), _LABELS + 6, WIDTH - 170)
    height = 30 + 22.0 * count + (18 if cut else 0)
    canvas = Canvas(
        WIDTH, height, title=plot.title, description="; ".join(_in_words(plot, i) for i in range(count)) + (f"; {_REST}" if cut else "")
    )
    if plot.line is not None:
        canvas.line(scale(plot.line), 18, scale(plot.line), 24 + 22 * count, stroke="muted", dashed=True)
        canvas.text(scale(plot.line), 12, f"reference {number(plot.line)}", anchor="middle", size=11, fill="muted")
    for i in range(count):
        y = 34 + 22.0 * i
        _label(canvas, y + 4, plot.labels[i])
        low, high = plot.lows[i], plot.highs[i]
        canvas.line(scale(least if low is None else low), y, scale(max(ends) if high is None else high), y, stroke="series-1", width=2)
        canvas.dot(scale(plot.values[i]), y, 4, fill="series-1")
        canvas.text(WIDTH - 158, y + 4, number(plot.values[i]), size=11)
        canvas.text(WIDTH, y + 4, interval(low, high, plot.values[i]), anchor="end", size=11, fill="muted")
    if cut:
        canvas.text(_LABELS, height - 4, _REST, size=11, fill="muted")
    return canvas.markup()


def _heatmap(plot: Heatmap) -> Markup:
    rows, columns = plot.rows[:_MOST_CELLS], plot.columns[:_MOST_CELLS]
    cut = len(rows) < len(plot.rows) or len(columns) < len(plot.columns)
    side = max(10.0, min(34.0, (WIDTH - _LABELS) / max(len(columns), 1)))
    height = 24 + side * len(rows) + 96 + (18 if cut else 0)
    shown = [value for line in plot.values for value in line if value is not None] or [0.0]
    shade = Scale(min(shown), max(shown), 0.06, 0.92)
    canvas = Canvas(
        WIDTH,
        height,
        title=plot.title,
        description=f"From {number(min(shown))} (light) to {number(max(shown))} (dark). {_REST if cut else ''}".strip(),
    )
    canvas.text(_LABELS, 12, f"light {number(min(shown))}, dark {number(max(shown))}", size=11, fill="muted")
    for i, name in enumerate(rows):
        y = 24 + side * i
        _label(canvas, y + side / 2 + 4, name)
        for j, other in enumerate(columns):
            _cell(canvas, plot.values[i][j], _LABELS + side * j, y, side, shade, f"{name}, {other}")
    for j, name in enumerate(columns):
        x, y = _LABELS + side * (j + 0.5), 24 + side * len(rows)
        canvas.slanted(x, y + 12, shortened(name, 14), tip=name)
    if cut:
        canvas.text(_LABELS, height - 4, _REST, size=11, fill="muted")
    return canvas.markup()


def _cell(canvas: Canvas, value: float | None, x: float, y: float, side: float, shade: Scale, names: str) -> None:
    if value is None:
        canvas.line(x + 3, y + side - 3, x + side - 3, y + 3)
        return
    canvas.rect(x, y, side - 1.5, side - 1.5, fill="series-1", opacity=shade(value), tip=f"{names}: {number(value)}")


def _in_words(plot: Whiskers, i: int) -> str:
    return f"{plot.labels[i]}: {number(plot.values[i])} ({interval(plot.lows[i], plot.highs[i], plot.values[i])})"


def _legend(canvas: Canvas, names: Iterable[str], *, dashed: str | None = None) -> None:
    x = 2.0
    for place, name in enumerate(names):
        canvas.rect(x, 3, 10, 10, fill=_series(place))
        canvas.text(x + 15, 12, shortened(name, 28), size=11, tip=name)
        x += 15 + 6.4 * len(shortened(name, 28)) + 16
    if dashed:
        canvas.line(x, 8, x + 14, 8, stroke="muted", dashed=True)
        canvas.text(x + 19, 12, dashed, size=11, fill="muted")


def _label(canvas: Canvas, y: float, name: str) -> None:
    canvas.text(_LABELS - 10, y, shortened(name, 27), anchor="end", size=11.5, tip=name)


def _series(place: int) -> str:
    return SERIES[place % len(SERIES)]


def _thinned(line: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """At most so many points, first and last among them: a curve of a million steps looks the same."""
    step = max(1, -(-len(line) // _MOST_POINTS))
    return [*line[::step], *(line[-1:] if (len(line) - 1) % step else ())]
