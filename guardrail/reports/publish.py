"""A report made public on purpose: nothing in it should single out a record.

What audits print is computed from private records and lies outside epsilon. Publishing therefore keeps only aggregates:

- groups, comparisons and findings on fewer than 30 records go, and so do those of unknown size, with their names. 30 is stricter than the
  3 to 10 that statistical offices commonly ask for a cell, because a cell here is a metric and not a count. Where one
  group of an attribute goes, the next smallest goes with it: otherwise total minus the rest gives it back.
- bars and curves go: their edges are extremes of the records and their steps single records. Whiskers and heat maps of
  metrics stay, rounded.
- every number is rounded to the order of its interval's width, outwards, so that the interval still covers; counts to two digits.
- plain hashes of private data go (they confirm a guess); keyed fingerprints stay.

Not covered: this lowers what can be learned, it bounds nothing. Many public reports on the same data add up.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from ..vocabulary.estimate import Estimate
from ..vocabulary.finding import Finding
from ..vocabulary.metrics import METRICS
from ..vocabulary.plots import Heatmap, Plot, Whiskers
from ..vocabulary.report import Report, RuleOutcome, Verdict

FEWEST = 30
_WORDS_BETWEEN = r"(?: (?:of|training|real|synthetic|random|holdout|unseen|\d[\d,]*))*"
_COUNTED = re.compile(rf"(?<![\d.,\w-])\d[\d,]*\b(?={_WORDS_BETWEEN} (?:rows|records|units|people|persons)\b)")
_WAIVED = re.compile(r"waived by .*", re.DOTALL)
_VALUES = re.compile(r"=[^&:]*")  # `sex=female & race=b: rate` belongs to the attribute `sex& race: rate`
_HEADLINE = {"all rows", "synthetic"}
"""What audits call the finding's own row in a plot."""
_PRIVATE = ("train", "holdout", "source", "data")
CAVEAT = (
    "Public: records, extremes, plots of distributions and cells on few records were left out, and numbers rounded outwards to "
    "their interval's width. This lowers what the numbers give away; it bounds nothing."
)


def publish(report: Report) -> Report:
    """The report for readers outside; a report that is public already is returned as it is."""
    if report.audience == "public":
        return report
    dropped = {value for role, value in report.subject.artifacts.items() if role in _PRIVATE and not value.startswith("hmac-")}
    findings = tuple(_finding(found, dropped) for found in report.findings)
    subject = report.subject.model_copy(
        update={
            "artifacts": {role: value for role, value in report.subject.artifacts.items() if value not in dropped},
            "rows": {role: _count(rows) for role, rows in report.subject.rows.items()},
        }
    )
    verdict = published_verdict(report.verdict, findings) if report.verdict else None
    return report.model_copy(
        update={"audience": "public", "subject": subject, "findings": findings, "verdict": verdict, "caveats": (*report.caveats, CAVEAT)}
    )


def _finding(found: Finding, dropped: set[str]) -> Finding:
    evidence = tuple(value for value in found.evidence if value not in dropped)
    if _from_receipt(found.metric):
        return found.model_copy(update={"evidence": evidence, "seconds": None})
    own = found.estimate
    if own is None:
        return found.model_copy(update={"reason": _without_counts(found.reason or ""), "evidence": evidence, "seconds": None})
    if found.n is not None and found.n < FEWEST:
        reason = "rests on too few records to be published"
        return Finding.not_assessable(found.metric, reason, direction=found.direction)
    groups = _large_enough(found.groups, found.left_out)
    hidden = _hider([*found.left_out, *(name for name in found.groups if name not in groups)])
    comparisons = {name: other for name, other in found.comparisons.items() if not _small(other)}
    kept = {**comparisons, **groups}
    return found.model_copy(
        update={
            **_rounded(own, found.metric).model_dump(include={"value", "low", "high", "n"}),
            "reference": None if found.reference is None else _nearest(found.reference, _quantum(own)),
            "comparisons": {name: _rounded(other, found.metric) for name, other in comparisons.items()},
            "groups": {name: _rounded(other, found.metric) for name, other in groups.items()},
            "left_out": (),
            "plots": tuple(plot for plot in (_plot(plot, kept, found) for plot in found.plots) if plot),
            "estimand": _without_counts(hidden(found.estimand)),
            "caveats": tuple(_without_counts(hidden(caveat)) for caveat in found.caveats),
            "evidence": evidence,
            "seconds": None,
        }
    )


def _from_receipt(metric: str) -> bool:
    """Epsilon and delta are no function of the records."""
    return metric in METRICS and METRICS[metric].exact


def _small(estimate: Estimate) -> bool:
    return estimate.n is None or estimate.n < FEWEST


def _large_enough(groups: dict[str, Estimate], left_out: Sequence[str]) -> dict[str, Estimate]:
    """Groups on enough records; never all but one of an attribute, whether the audit left that one out or we do."""
    attributes: dict[str, list[str]] = defaultdict(list)
    for name in groups:
        attributes[_VALUES.sub("", name)].append(name)
    absent = Counter(_VALUES.sub("", name) for name in left_out if name not in groups)
    kept: set[str] = set()
    for attribute, names in attributes.items():
        large = sorted((name for name in names if not _small(groups[name])), key=lambda name: groups[name].n or 0)
        gone = len(names) - len(large) + absent[attribute.partition(":")[0]]
        kept.update(large[1:] if gone == 1 else large)
    return {name: estimate for name, estimate in groups.items() if name in kept}


def _hider(names: Sequence[str]) -> Callable[[str], str]:
    """Takes these groups' names out of a text: an estimand says which group is the worst."""
    if not names:
        return lambda text: text
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)(?:{longest_first})(?!\w)")
    return lambda text: pattern.sub("(a small group)", text)


def _rounded(estimate: Estimate, metric: str) -> Estimate:
    step = _quantum(estimate)
    least, most = (METRICS[metric].least, METRICS[metric].most) if metric in METRICS else (None, None)
    low = None if estimate.low is None else _clipped(_step(math.floor(estimate.low / step + 1e-9), step), least, most)
    high = None if estimate.high is None else _clipped(_step(math.ceil(estimate.high / step - 1e-9), step), least, most)
    value = _clipped(_nearest(estimate.value, step), low, high)
    n = None if estimate.n is None else _count(estimate.n)
    return estimate.model_copy(update={"value": value, "low": low, "high": high, "n": n})


def _quantum(estimate: Estimate) -> float:
    """The power of ten just below the interval's width; a hundredth for what claims to be exact."""
    ends = [end for end in (estimate.low, estimate.high) if end is not None]
    width = max(ends) - min(ends) if len(ends) == 2 else 2 * abs(estimate.value - ends[0]) if ends else abs(estimate.value) / 10
    return 10.0 ** math.floor(math.log10(width)) if width > 1e-9 else 0.01


def _step(steps: int, step: float) -> float:
    return round(steps * step, max(0, -math.floor(math.log10(step))))


def _nearest(value: float, step: float) -> float:
    return _step(round(value / step), step)


def _clipped(value: float, least: float | None, most: float | None) -> float:
    value = value if least is None else max(value, least)
    return value if most is None else min(value, most)


def _count(n: int) -> int:
    """Two digits that count: the exact number of records in a group is a cell too."""
    return int(float(f"{n:.1e}"))


def _without_counts(text: str) -> str:
    """Counts of rows and records, rounded like any count; years, thresholds and other numbers as they are."""

    def rounded(match: re.Match[str]) -> str:
        n = int(match[0].replace(",", ""))
        return match[0] if n < 100 else f"about {_count(n):,}"

    return _COUNTED.sub(rounded, text)


def _plot(plot: Plot, kept: dict[str, Estimate], found: Finding) -> Plot | None:
    if isinstance(plot, Heatmap):
        named = any("=" in label for label in (*plot.rows, *plot.columns))  # groups of people, of unknown size
        values = tuple(tuple(None if cell is None else round(cell, 2) for cell in line) for line in plot.values)
        return None if named else plot.model_copy(update={"values": values})
    return _whiskers(plot, kept, found) if isinstance(plot, Whiskers) else None


def _whiskers(plot: Whiskers, kept: dict[str, Estimate], found: Finding) -> Whiskers | None:
    """Only rows that the finding itself still shows, by their names: a group of one may share the headline's value."""
    rows, own = [], found.estimate
    shown = set(kept) | (_HEADLINE - set(found.groups) - set(found.comparisons))
    for label, value, low, high in zip(plot.labels, plot.values, plot.lows, plot.highs, strict=True):
        if label in shown:
            rows.append((label, _rounded(Estimate(value=value, low=low, high=high), "")))
    if not rows:
        return None
    return plot.model_copy(
        update={
            "labels": tuple(label for label, _ in rows),
            "values": tuple(row.value for _, row in rows),
            "lows": tuple(row.low for _, row in rows),
            "highs": tuple(row.high for _, row in rows),
            "line": None if plot.line is None or own is None else _nearest(plot.line, _quantum(own)),
        }
    )


def published_verdict(verdict: Verdict, findings: Sequence[Finding]) -> Verdict:
    """The statuses as they were found on the full numbers, which are shown as the published `findings` have them."""
    by_metric = {found.metric: found for found in findings}
    return verdict.model_copy(update={"rules": tuple(_outcome(rule, by_metric.get(rule.metric)) for rule in verdict.rules)})


def _outcome(rule: RuleOutcome, found: Finding | None) -> RuleOutcome:
    if _from_receipt(rule.metric):
        return rule
    upper = rule.require.lstrip().startswith("<")
    end = None if found is None else found.high if upper else found.low
    waived = _WAIVED.search(rule.note)
    note = waived[0] if waived else "not assessable" if rule.status == "unknown" else ""
    return rule.model_copy(
        update={"observed": found.value if found else None, "judged": None if rule.judged is None else end, "note": note}
    )
