"""HTML and Markdown show the report, no other number, and nothing in it can act."""

import html
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from guardrail.reports import publish, write_report
from guardrail.reports.render import report_html, report_markdown
from guardrail.vocabulary.plots import Bars, Heatmap

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
ALLOWED_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "h1", "h2", "h3", "p", "div", "span"),
    *("strong", "br", "code", "ul", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    *("figure", "figcaption", "svg", "desc", "line", "rect", "circle", "path", "text"),
}


class _Page(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts, self._hidden = [], [], [], 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self._hidden += tag == "style"

    def handle_endtag(self, tag):
        self._hidden -= tag == "style"

    def handle_data(self, data):
        if not self._hidden:
            self.texts.append(data)


def _leaves(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _known(report):
    """Every number of report.json, those inside its texts too."""
    known = set()
    for leaf in _leaves(json.loads(report.model_dump_json())):
        if isinstance(leaf, bool) or leaf is None:
            continue
        if isinstance(leaf, str):
            known |= {float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", leaf)}
        else:
            known.add(float(leaf))
    return known


def _strangers(text, known):
    """Numbers in the text that are no rounding of a known one."""
    found = []
    for token in _NUMBER.findall(text):
        shown = float(token.replace(",", ""))
        decimals = len(token.partition(".")[2].partition("e")[0])
        if "e" in token:
            decimals = 30
        if not any(math.isclose(round(abs(number), decimals), abs(shown), rel_tol=1e-9) for number in known):
            found.append(token)
    return found


def _visible(report):
    page = _Page(report_html(report))
    shown = [value for _, name, value in page.attributes if name in ("aria-label", "title", "alt")]
    return " ".join([*page.texts, *shown])


@pytest.mark.parametrize("public", [False, True])
def test_no_number_is_shown_that_report_json_lacks(report, public):
    report = publish(report) if public else report
    known = _known(report)
    assert _strangers(_visible(report), known) == []
    assert _strangers(html.unescape(report_markdown(report)).replace("\\", ""), known) == []


def test_that_test_can_fail(report):
    assert _strangers("found 0.987", _known(report)) == ["0.987"]
    assert _strangers("found 0.951", _known(report)) == []


def test_every_value_and_status_is_shown_in_words(report):
    for text in (_visible(report), html.unescape(report_markdown(report)).replace("\\", "")):
        for wanted in ("0.951", "0.948 to 0.955", "2.971", "0.00001", "unsure", "unknown", "waived", "passes", "fails", "not assessed"):
            assert wanted in text, wanted
        assert "Does not pass the policy 'mine'" in text


def test_without_a_verdict_the_page_says_that_nothing_was_judged(report):
    assert "Not judged" in _visible(report.model_copy(update={"verdict": None}))


def test_hostile_names_are_inert_in_html(hostile_report):
    page = _Page(report_html(hostile_report))
    assert set(page.tags) <= ALLOWED_TAGS
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("href", "src", "xlink:href")]
    text = " ".join(page.texts)
    assert "<script>alert(1)</script>" in text  # shown as what it is
    assert "{{7*7}}" in text
    assert "49" not in re.findall(r"\d+", text)
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert "'=HYPERLINK(1)" in text
    assert "'@SUM(1)" in text


def test_hostile_names_are_inert_in_markdown(hostile_report):
    text = report_markdown(hostile_report)
    assert "<" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    assert not re.search(r"(?<!\\)\{\{", text)
    assert not re.search(r"(?m)^#+ heading", text)
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    cells = [cell.strip() for line in text.splitlines() if line.startswith("|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    assert not [cell for cell in cells if re.match(r"[=+@]", cell)]
    assert "\\{\\{7\\*7\\}\\}" in text


def test_no_table_row_of_the_markdown_gains_or_loses_a_cell(hostile_report):
    table = []
    for line in [*report_markdown(hostile_report).splitlines(), ""]:
        if line.startswith("|"):
            table.append(len(re.split(r"(?<!\\)\|", line)))
        elif table:
            assert len(set(table)) == 1, table
            table = []


def test_the_page_needs_nothing_from_elsewhere(report):
    text = report_html(report)
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|@import|url\(|<link|<script", text)


def test_every_drawing_has_a_title_and_a_description(report):
    drawings = re.findall(r"<svg.*?</svg>", report_html(report), flags=re.DOTALL)
    assert len(drawings) >= 8
    assert all('role="img"' in drawing and "aria-label=" in drawing and "<title>" in drawing for drawing in drawings)


def test_the_page_stays_small_however_much_there_is_to_draw(report):
    names = tuple(f"column {i}" for i in range(300))
    matrix = Heatmap(title="all pairs", rows=names, columns=names, values=tuple(tuple(0.5 for _ in names) for _ in names))
    bars = tuple(Bars(title=f"Shares of {name}", labels=names, series={"real": tuple(0.1 for _ in names)}) for name in names)
    finding = report.findings[0].model_copy(update={"plots": (matrix,) * 20 + bars * 3})
    page = report_html(report.model_copy(update={"findings": (finding,)}))
    assert 2_000_000 < len(page.encode()) < 5_000_000
    assert "this page is full" in page


def test_the_written_page_is_the_rendered_one(report, tmp_path):
    write_report(report, tmp_path / "out")
    assert Path(tmp_path / "out" / "report.html").read_text() == report_html(report)
