"""Words and numbers made safe to print: names come from data, and data may be hostile.

HTML is escaped by the templates, XML by its library. What is left are characters that act on a terminal or on the reading
order (ANSI escapes, NUL, right-to-left overrides), cells that a spreadsheet would run, and Markdown's own signs.
"""

from __future__ import annotations

import math
import re

_FORMULA = ("=", "+", "-", "@")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&!@$^]|(?<=\w):(?=\S)|:(?=//))")
"""Markdown's signs, and the colon of what would become a link by itself."""
_LEADING = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=])")


def inert(text: str, *, lines: bool = False) -> str:
    """The text with control and direction characters made visible, and no first sign that a spreadsheet would run."""
    kept = "".join(c if c.isprintable() or (lines and c == "\n") else " " if c == "\n" else _visible(c) for c in text)
    return f"'{kept}" if kept.lstrip().startswith(_FORMULA) else kept


def _visible(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def markdown(text: str) -> str:
    """One line of text that Markdown renders as it stands: no markup, no HTML, no link, automatic ones included."""
    escaped = _MARKDOWN.sub(r"\\\1", re.sub(r"^\s+", " ", inert(text)))
    escaped = escaped.replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
    escaped = re.sub(r"(?i)\bwww\.", lambda match: match[0][:3] + "\\.", escaped)
    return _LEADING.sub(lambda match: f"{match[1]}\\{match[2]}" if match[1] else f"\\{match[3]}", escaped)


def markdown_lines(text: str) -> str:
    """Prose of people: its line breaks stay, everything else as in `markdown`."""
    return "\n\n".join(markdown(line.strip()) for line in text.splitlines() if line.strip())


def code(text: str) -> str:
    """A name in Markdown's code font where nothing in it could end the code; otherwise escaped like any text."""
    return f"`{text}`" if re.fullmatch(r"[\w.:/ ,-]+", text) and not text.startswith("-") else markdown(text)


def number(value: float | None) -> str:
    """Three digits after the point, fewer for large numbers, two that count for small ones."""
    if value is None:
        return "none"
    size = abs(value)
    if value == int(value) and size < 1e15:
        return f"{int(value):,}"
    if size >= 1000:
        return f"{value:,.0f}"
    if 0.9995 <= size < 1:  # 1.000 would claim certainty
        return f"{value:.{min(9, math.ceil(-math.log10(1 - size)))}f}".rstrip("0")
    if size >= 0.01:
        return f"{value:.{1 if size >= 100 else 2 if size >= 10 else 3}f}"
    if size < 1e-9:
        return f"{value:.2g}"
    return f"{value:.{1 - math.floor(math.log10(size))}f}".rstrip("0")


def interval(low: float | None, high: float | None, value: float | None) -> str:
    """`0.510 to 0.552`, `exact`, `at least 0.510`."""
    if value is None:
        return ""
    if low == high == value:
        return "exact"
    if low is None and high is None:
        return "no interval"
    if low is None:
        return f"at most {number(high)}"
    return f"at least {number(low)}" if high is None else f"{number(low)} to {number(high)}"


def shortened(text: str, most: int) -> str:
    """At most so many characters; the full text stands in the tooltip and in report.json."""
    return text if len(text) <= most else text[: most - 1] + "…"
