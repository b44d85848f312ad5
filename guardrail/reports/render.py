"""HTML and Markdown from templates: one environment each, and both escape whatever a template forgets to.

HTML uses Jinja's autoescape. Markdown has no such thing, so its environment escapes every expression as Markdown text
unless it is marked as Markdown already (a macro's output, a name in code font).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from ..vocabulary.report import Report, RuleOutcome, Verdict
from . import words
from .room import Room
from .strip import beside, strip
from .text import code, inert, interval, markdown, markdown_lines, number, shortened

_BRIEF = 600
"""Characters of a reason in a table; the detail below it has the whole."""
_DIRECTION = {"lower": "Lower is better", "higher": "Higher is better", "closer": "Closer to the reference is better"}


def report_html(report: Report) -> str:
    return html().get_template("report.html.j2").render(report=report, room=Room())


def report_markdown(report: Report) -> str:
    return tidy(md().get_template("report.md.j2").render(report=report))


@cache
def html() -> jinja2.Environment:
    """Autoescaped, undefined names refused; control characters and formula cells made inert before escaping."""
    environment = _environment(_for_html)
    environment.globals.update(strip=strip, css=_css)
    return environment


@cache
def md() -> jinja2.Environment:
    """Every expression becomes escaped Markdown text, unless it is `Markup`, here: Markdown already.

    Autoescape is on so that macros return `Markup`; finalize runs before it and leaves it nothing to escape.
    """
    environment = _environment(_for_markdown)
    environment.filters.update(code=lambda text: Markup(code(text)), lines=lambda text: Markup(markdown_lines(text)))  # noqa: S704
    return environment


def _environment(finalize: Callable[[Any], Any]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("guardrail.reports", "."), jinja2.PackageLoader("guardrail.cards", ".")]),
        autoescape=True,
        finalize=finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        number=_number, moment=_moment, capitalise=lambda text: text[:1].upper() + text[1:], brief=lambda text: shortened(text, _BRIEF)
    )
    shared = ("question", "by_family", "outcome", "not_passing", "not_passing_of", "waived_in", "verdict_line")
    environment.globals.update({name: getattr(words, name) for name in shared})
    environment.globals.update(
        interval=lambda *ends: _Number(interval(*ends)),
        rules_on=_rules_on,
        beside=beside,
        icons=words.ICONS,
        status_words=words.STATUS,
        severity_words=words.SEVERITY,
        direction_words=_DIRECTION,
        outside_epsilon=words.OUTSIDE_EPSILON,
    )
    return environment


def tidy(text: str) -> str:
    """At most one empty line in a row; none inside lists and tables, where the templates leave none."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
    return "\n".join(lines).strip() + "\n"


class _Number(str):
    """A number we wrote ourselves: its minus sign is no formula."""


def _number(value: float | None) -> str:
    return _Number("–" if value is None else number(value))


def _moment(moment: dt.datetime) -> str:
    return _Number(f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC")


def _for_html(value: Any) -> Any:
    return inert(value, lines=True) if isinstance(value, str) and not isinstance(value, (Markup, _Number)) else value


def _for_markdown(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    return Markup(value if isinstance(value, _Number) else markdown(str(value)))  # noqa: S704


def _rules_on(metric: str, verdicts: Sequence[Verdict]) -> list[tuple[str, RuleOutcome]]:
    """Rules about a metric, each with the policy it belongs to."""
    return [(verdict.policy, rule) for verdict in verdicts for rule in verdict.rules if rule.metric == metric]


@cache
def _css() -> Markup:
    return Markup((resources.files("guardrail.reports") / "style.css").read_text(encoding="utf-8"))  # noqa: S704
