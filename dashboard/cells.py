"""Words, tables and pictures for the pages: escaped here, and sanitised again by Streamlit, which runs no script in them.

Not by Markdown: Streamlit's turns every address in a text into a link, escaped or not, and words of a run are no links.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

import streamlit as st
from markupsafe import Markup, escape

from guardrail.reports.text import inert
from guardrail.reports.words import ICONS, STATUS

_INK = {"pass": "#00664f", "fail": "#a8340a", "unsure": "#7a5700", "unknown": "#545b64", "waived": "#7b3f73"}
_WASH = {"pass": "#e8f4f0", "fail": "#fbece6", "unsure": "#f8f1de", "unknown": "#eef0f2", "waived": "#f6ecf4"}
STYLE = """<style>
.gr { overflow-x: auto; color: #1f2328; line-height: 1.5; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.gr h1 { font-size: 2.1rem; line-height: 1.2; padding: 0; margin: 0; font-weight: 650; letter-spacing: -.015em; }
.gr h2 { font-size: 1.3rem; padding: 0; margin: 1.6rem 0 .2rem; font-weight: 650; }
.gr h3 { font-size: 1.05rem; padding: 0; margin: .4rem 0 .1rem; font-weight: 650; }
.gr .box { margin-bottom: .8rem; }
.gr p, .gr li { max-width: 48rem; margin: .2rem 0; }
.gr ul { margin: .2rem 0; padding-left: 1.2rem; }
.gr .muted { color: #5f6670; font-size: .875rem; }
.gr .unsaid { color: #5f6670; font-style: italic; }
.gr .prose { white-space: pre-line; }
.gr code { font-size: .82em; background: none; color: #5f6670; padding: 0; }
.gr table { border-collapse: collapse; width: 100%; font-size: .9rem; }
.gr th { text-align: left; font-weight: 600; color: #5f6670; padding: .35rem .9rem .35rem 0; white-space: nowrap; }
.gr thead th { border-bottom: 1px solid #aeb4bb; }
.gr td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid #e3e6e9; vertical-align: top; }
.gr td.number, .gr th.number { text-align: right; white-space: nowrap; }
.gr td.short { white-space: nowrap; overflow-wrap: normal; }
.gr td.wide { min-width: 14rem; }
.gr .chip { display: inline-block; border-radius: 99px; padding: .05rem .6rem; font-size: .8rem; font-weight: 600; white-space: nowrap; }
.gr .box { border: 1px solid #d5d9de; border-left: 5px solid #545b64; border-radius: 6px; padding: .8rem 1.1rem; background: #f5f6f7; }
.gr .figure { font-size: 2.3rem; font-weight: 650; line-height: 1.2; }
.gr img { max-width: none; display: block; }
</style>"""


def safe(value: object) -> Markup:
    """Text for a cell: escaped, with what acts on reading order or spreadsheets made visible."""
    return value if isinstance(value, Markup) else escape(inert(str(value), lines=True))


def chip(status: str, text: str | None = None) -> Markup:
    """A status in words and a sign; colour only repeats it."""
    known = status if status in ICONS else "unknown"
    return Markup('<span class="chip" style="color:{};background:{}">{} {}</span>').format(
        _INK[known], _WASH[known], ICONS[known], safe(text or STATUS[known])
    )


def code(text: str) -> Markup:
    return Markup("<code>{}</code>").format(safe(text))


def muted(text: str) -> Markup:
    return Markup('<span class="muted">{}</span>').format(safe(text))


def lines(*parts: Markup | str) -> Markup:
    """Several things in one cell, below each other."""
    return Markup("<br>").join(safe(part) for part in parts if part)


def joined(parts: Iterable[Markup]) -> Markup:
    return Markup(" ").join(parts)


def picture(drawing: str, alt: str) -> Markup:
    """A drawing as an image: what is inside an image cannot act on the page."""
    if not drawing:
        return Markup("")
    drawing = str(drawing)  # Markup would escape what it is given to put in
    named = drawing if "xmlns=" in drawing else drawing.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    data = base64.b64encode(named.encode()).decode()
    return Markup('<img alt="{}" src="data:image/svg+xml;base64,{}">').format(inert(alt), data)


def write(*parts: Markup) -> None:
    """Finished pieces, one below the other."""
    st.html(Markup('<div class="gr">{}</div>').format(Markup("").join(parts)))


def heading(text: str, level: int = 2) -> Markup:
    return Markup("<h{0}>{1}</h{0}>").format(level, safe(text))


def paragraph(*parts: Markup | str) -> Markup:
    return Markup('<p class="prose">{}</p>').format(Markup(" ").join(safe(part) for part in parts if part))


def bullets(items: Iterable[Markup | str]) -> Markup:
    return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(safe(item)) for item in items))


def strong(text: str) -> Markup:
    return Markup("<strong>{}</strong>").format(safe(text))


def box(status: str, *parts: Markup) -> Markup:
    """A verdict or a notice, its edge in the colour of the status."""
    known = status if status in _INK else "unknown"
    return Markup('<div class="box" style="border-left-color:{};background:{}">{}</div>').format(
        _INK[known], _WASH[known], Markup("").join(parts)
    )


def table(header: Sequence[str], rows: Iterable[Sequence[Markup | str]], *, numbers: Sequence[int] = (), short: Sequence[int] = ()) -> None:
    """The first column is wide. Args: numbers, short: columns aligned to the right, and columns whose words are not broken."""
    kinds = ["number" if i in numbers else "short" if i in short else "" if i else "wide" for i in range(len(header))]
    head = Markup("").join(Markup('<th class="{}">{}</th>').format(kind, safe(cell)) for kind, cell in zip(kinds, header, strict=True))
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup('<td class="{}">{}</td>').format(kind, safe(cell)) for kind, cell in zip(kinds, row, strict=True))
        )
        for row in rows
    )
    write(Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body))
