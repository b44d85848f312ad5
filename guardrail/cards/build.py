"""The card from what a run left behind. Nothing is measured here and nothing is judged: both are only put in order.

What is missing is said: words nobody wrote are 'not stated', metrics nobody measured are listed, and a model without a
valid privacy claim is called not private.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from ..reports.directory import report_json
from ..reports.publish import published_verdict
from ..reports.words import OUTSIDE_EPSILON
from ..vocabulary.card import Card, ColumnLine, NotAssessed, Words
from ..vocabulary.content import Content, ImageContent, MusicContent, TextContent
from ..vocabulary.documents import sha256_of
from ..vocabulary.metrics import METRICS
from ..vocabulary.receipt import Receipt
from ..vocabulary.report import Report, Verdict
from ..vocabulary.schema import Categorical, Column, Datetime, Numeric, Schema
from .federation import federation_meaning
from .privacy import privacy_meaning

LIMITS = (
    "Attacks only refute. An attack that fails shows that this attack failed, not that there is no leak, and what it found is no "
    "estimate of epsilon.",
    "Distances to the closest record describe and never certify: training rows with most of their cells changed score like an honest "
    "generator, and a filter that drops near copies tells who was in the data.",
    OUTSIDE_EPSILON,
    "Numbers of two cards compare only where data, split, delta and sample size are the same.",
)
_NOT_MEASURED = "not measured in this report"


def build_card(
    *,
    name: str,
    created: dt.datetime,
    words: Words,
    report: Report,
    verdicts: tuple[Verdict, ...],
    receipt: Receipt | None,
    schema: Schema,
    spec: dict[str, Any] | None,
    artifacts: dict[str, str],
) -> Card:
    """One object that card.json, card.md and card.html show; a public report makes a public card."""
    public = report.audience == "public"
    return Card(
        name=name,
        created=created,
        guardrail_version=report.guardrail_version,
        audience=report.audience,
        words=words,
        subject=report.subject,
        verdicts=tuple(published_verdict(verdict, report.findings) for verdict in verdicts) if public else verdicts,
        privacy=privacy_meaning(receipt),
        federation=federation_meaning(receipt),
        not_assessed=_not_assessed(report, verdicts),
        receipt=receipt,
        columns=(*_content(schema, public=public), *(_column(schema, column, public=public) for column in schema.columns)),
        unit=schema.unit,
        declared_by=schema.declared_by,
        spec=_without_paths(spec) if public and spec else spec,
        findings=report.findings,
        limits=(*report.caveats, *LIMITS),
        evidence=_evidence(report, artifacts),
    )


def _not_assessed(report: Report, verdicts: Iterable[Verdict]) -> tuple[NotAssessed, ...]:
    """Metrics by the reason why there is no number: said by the audit, or nobody measured them."""
    reasons: dict[str, list[str]] = {}
    for found in report.findings:
        if found.value is None:
            reasons.setdefault(found.reason or "no reason given", []).append(found.metric)
    asked = [rule.metric for verdict in verdicts for rule in verdict.rules]
    measured = {found.metric for found in report.findings}
    absent = [metric for metric in dict.fromkeys([*METRICS, *asked]) if metric not in measured]
    if absent:
        reasons.setdefault(_NOT_MEASURED, []).extend(absent)
    return tuple(NotAssessed(reason=reason, metrics=tuple(metrics)) for reason, metrics in reasons.items())


def _evidence(report: Report, artifacts: dict[str, str]) -> dict[str, str]:
    """The report's own hash first; a public report keeps back plain hashes of private data, and so does its card."""
    withheld = {"train", "holdout", "source", "data"} if report.audience == "public" else set()
    shown = {role: value for role, value in artifacts.items() if role not in withheld or value.startswith("hmac-")}
    return {"report.json": sha256_of(report_json(report)), **report.subject.artifacts, **shown}


def _without_paths(spec: dict[str, Any]) -> dict[str, Any]:
    """Where the records lie on somebody's machine is nobody else's business."""
    data = spec.get("data")
    if not isinstance(data, dict):
        return spec
    return {**spec, "data": {key: value for key, value in data.items() if key not in ("source", "schema", "schema_", "parent")}}


def _content(schema: Schema, *, public: bool) -> tuple[ColumnLine, ...]:
    """The image, text, music or series itself, as the first of the columns."""
    content = schema.content
    if content is None:
        return ()
    allowed = "read from the records, not published" if public and content.source == "data" else _allowed_content(content)
    return (ColumnLine(name=content.column, kind=schema.modality, allowed=allowed, source=schema.sources()[content.column], roles=()),)


def _allowed_content(content: Content) -> str:
    """`28 x 28 pixels, grey`; `texts in pieces of 128 characters`."""
    if isinstance(content, ImageContent):
        return f"{content.width} x {content.height} pixels, {'grey' if content.channels == 1 else 'colour'}"
    if isinstance(content, TextContent):
        return f"pieces of at most {content.length} tokens, vocabulary: {content.vocabulary}"
    if isinstance(content, MusicContent):
        unit = f"steps, voices {', '.join(content.voices)}" if content.encoding == "grid" else "event tokens"
        return f"pieces of at most {content.length} {unit}, MIDI pitches {content.low} to {content.high}"
    channels = ", ".join(f"{name} from {entry.low:,.10g} to {entry.high:,.10g}" for name, entry in content.channels.items())
    return f"at most {content.steps} steps of {channels}" + (", may be missing" if content.missing else "")


def _column(schema: Schema, name: str, *, public: bool) -> ColumnLine:
    column = schema.columns[name]
    withheld = public and column.source == "data"
    roles = (["target"] if name == schema.target else []) + (["sensitive"] if name in schema.sensitive else [])
    allowed = "read from the records, not published" if withheld else _allowed(column)
    return ColumnLine(name=name, kind=column.kind, allowed=allowed, source=schema.source_of(name), roles=tuple(roles))


def _allowed(column: Column) -> str:
    """`0 to 110, may be missing`; `female, male`."""
    if isinstance(column, Numeric):
        text = f"{column.low:,.10g} to {column.high:,.10g}"
    elif isinstance(column, Datetime):
        text = f"{column.low} to {column.high}"
    elif isinstance(column, Categorical):
        text = ", ".join(column.categories[:12]) + (" …" if len(column.categories) > 12 else "")
    else:
        text = "true, false"
    return text + (", may be missing" if column.missing else "")
