"""The interval bar of one finding: where its value lies in the metric's range, with what it is compared with below it.

The scale is the whole range of the metric, so that a short bar means a small uncertainty, on every row alike.
"""

from __future__ import annotations

from markupsafe import Markup

from ..vocabulary.estimate import Estimate
from ..vocabulary.finding import Finding
from ..vocabulary.metrics import METRICS
from ..vocabulary.requirement import OPERANDS
from .canvas import Canvas, Scale
from .text import interval, number

_WIDTH, _ROW, _PAD = 200.0, 20.0, 10.0  # a row is a line of the text beside it


def strip(finding: Finding) -> Markup:
    """A filled dot with its interval, hollow dots for comparisons, a dashed line for the reference."""
    own = finding.estimate
    if own is None:
        return Markup("")
    rows = {"": own, **beside(finding)}
    height = _ROW * len(rows)
    canvas = Canvas(_WIDTH, height, title=f"{finding.metric}: {number(own.value)}", description=_in_words(finding, own))
    least, most = _domain(finding, rows)
    scale = Scale(least, most, 5, _WIDTH - 5)
    canvas.line(5, _PAD, _WIDTH - 5, _PAD)
    if finding.reference is not None:
        canvas.line(scale(finding.reference), 1, scale(finding.reference), height - 1, stroke="muted", width=1.25, dashed=True)
    for place, (name, estimate) in enumerate(rows.items()):
        y, paint = _PAD + _ROW * place, "muted" if name else "series-1"
        low, high = least if estimate.low is None else estimate.low, most if estimate.high is None else estimate.high
        canvas.line(scale(low), y, scale(high), y, stroke=paint, width=2 if name else 4)
        canvas.dot(scale(estimate.value), y, 3 if name else 4, fill=paint, hollow=bool(name))
    return canvas.markup()


def beside(finding: Finding) -> dict[str, Estimate]:
    """The comparisons on the metric's own scale; an audit may bring others, which stand in the details."""
    return {name: estimate for name, estimate in finding.comparisons.items() if name in OPERANDS}


def _domain(finding: Finding, rows: dict[str, Estimate]) -> tuple[float, float]:
    """The metric's range; where it is open, as far as this finding reaches."""
    metric = METRICS.get(finding.metric)
    ends = [end for row in rows.values() for end in (row.value, row.low, row.high) if end is not None]
    ends += [finding.reference] if finding.reference is not None else []
    least = metric.least if metric and metric.least is not None else min(0.0, *ends)
    most = metric.most if metric and metric.most is not None else max(0.0, *ends) * 1.08
    return least, most


def _in_words(finding: Finding, own: Estimate) -> str:
    parts = [interval(own.low, own.high, own.value)]
    parts += [f"reference {number(finding.reference)}"] if finding.reference is not None else []
    parts += [f"{name} {number(other.value)}" for name, other in beside(finding).items()]
    return "; ".join(parts)
