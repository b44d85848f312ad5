"""The findings of a run: a table of every number with its interval, then groups, plots and caveats of each."""

from __future__ import annotations

import streamlit as st
from markupsafe import Markup

from guardrail.reports.strip import strip
from guardrail.reports.svg import draw
from guardrail.reports.text import interval, number
from guardrail.reports.words import by_family, question
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.metrics import METRICS
from guardrail.vocabulary.report import Verdict

from .cells import bullets, chip, code, heading, joined, lines, muted, paragraph, picture, table, write
from .documents import Saved


def show(saved: Saved) -> None:
    if not saved.findings:
        write(paragraph("This run has no report yet. Make it with:", code(f"guardrail audit {saved.record.id} --policy release --out DIR")))
        return
    for family, members in by_family(saved.findings).items():
        write(heading(family))
        table(
            ["question", "value", "interval", "", "reference", "read beside", "records", "rules"],
            [_row(found, saved.verdicts) for found in members],
            numbers=(1, 4, 6),
            short=(2, 7),
        )
        for found in members:
            if found.groups or found.plots or found.caveats:
                _detail(found)


def _row(found: Finding, verdicts: tuple[Verdict, ...]) -> tuple[Markup | str, ...]:
    asked = lines(question(found.metric), code(found.metric))
    rules = _rules(found, verdicts)
    if found.value is None:
        return lines(asked, muted(f"not assessed: {found.reason}")), "", "", "", "", "", "", rules
    beside = lines(*(f"{name} {number(other.value)}" for name, other in found.comparisons.items()))
    return (
        asked,
        number(found.value),
        interval(found.low, found.high, found.value),
        picture(strip(found), f"{found.metric} {number(found.value)}"),
        "" if found.reference is None else number(found.reference),
        beside,
        "" if found.n is None else number(found.n),
        rules,
    )


def _rules(found: Finding, verdicts: tuple[Verdict, ...]) -> Markup:
    """The status of every rule on this metric, with its policy where there are several."""
    chips = [
        chip(rule.status, f"{verdict.policy}: {rule.status}" if len(verdicts) > 1 else None)
        for verdict in verdicts
        for rule in verdict.rules
        if rule.metric == found.metric
    ]
    return joined(chips)


def _detail(found: Finding) -> None:
    # The label of an expander is Markdown, so it takes only our own words.
    with st.expander(question(found.metric) if found.metric in METRICS else "Details of the metric above"):
        write(code(found.metric), paragraph(found.estimand))
        if found.groups:
            rows = [
                (name, number(other.value), interval(other.low, other.high, other.value), "" if other.n is None else number(other.n))
                for name, other in found.groups.items()
            ]
            table(["group", "value", "interval", "records"], rows, numbers=(1, 3), short=(2,))
        if found.left_out:
            write(paragraph(f"Not judged, too small or beyond the largest: {', '.join(found.left_out)}."))
        for plot in found.plots:
            write(heading(plot.title, 3), picture(draw(plot), plot.title))
        if found.caveats:
            write(paragraph("What this does not prove:"), bullets(found.caveats))
