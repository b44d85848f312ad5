"""First page: the runs of this home, newest first."""

from __future__ import annotations

import streamlit as st
from markupsafe import Markup

from guardrail.registry.runs import RunRecord
from guardrail.reports.text import number

from .cells import chip, heading, joined, lines, muted, paragraph, strong, write

_MOST = 50
_WIDTHS = [5, 2, 2, 2, 3, 1]


def show(runs: tuple[RunRecord, ...]) -> None:
    write(heading("Runs", 1))
    if not runs:
        _first_steps()
        return
    wanted = st.text_input("Search", placeholder="name, generator, policy", key="search") if len(runs) > 8 else ""
    found = [
        record for record in runs if wanted.lower() in f"{record.id} {record.name} {record.family} {' '.join(record.verdicts)}".lower()
    ]
    write(muted(f"{len(found)} run{'' if len(found) == 1 else 's'}" + (f", the newest {_MOST} shown" if len(found) > _MOST else "")))
    for record in found[:_MOST]:
        _row(record)


def _row(record: RunRecord) -> None:
    with st.container(border=True):
        *cells, action = st.columns(_WIDTHS, vertical_alignment="center")
        for cell, content in zip(cells, _contents(record), strict=True):
            with cell:
                write(content)
        if action.button("Open", key=f"open {record.id}", width="stretch"):
            st.query_params["run"] = record.id
            st.rerun()


def _contents(record: RunRecord) -> tuple[Markup, ...]:
    return (
        lines(strong(record.name or "unnamed"), muted(record.id)),
        lines(f"{record.created:%Y-%m-%d}", muted(f"{record.created:%H:%M} UTC")),
        lines(record.family, muted("generator")),
        lines("none", muted("privacy claim"))
        if record.epsilon is None
        else lines(f"epsilon {number(record.epsilon)}", muted(f"delta {number(record.delta)}")),
        joined(chip(status, f"{policy}: {status}") for policy, status in record.verdicts.items()) or muted("not judged"),
    )


def _first_steps() -> None:
    write(paragraph("This home has no runs yet. The demonstration makes one from built-in public data in about two minutes:"))
    st.code("guardrail demo", language="shell")
    write(paragraph("With a table of your own:"))
    st.code("guardrail init tabular\nguardrail run spec.yaml", language="shell")
    write(muted("A demonstration keeps a home of its own; to see it here, set GUARDRAIL_HOME to the folder that it names."))
