"""`guardrail budget`: the ledger of one data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import echo_json, table

if TYPE_CHECKING:
    from ..registry.books import Entry, UnboundedEntry
    from ..registry.ledger import BudgetSummary


@click.command()
@click.argument("data")
@click.option("--limit", type=float, help="Refuse any training that would pass this epsilon.")
@click.option("--delta", type=float, help="Delta of the limit, or of what is shown where there is none; 1e-5 if left out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def budget(data: str, limit: float | None, delta: float | None, as_json: bool) -> None:
    """Show what this home has spent on a data set (a file, or builtin:adult), or limit it.

    The name it prints is what `data.parent` of an edited copy takes; the ledger knows it from then on.

    \b
    Example: guardrail budget visits.csv --limit 5
    """
    from ..data.fingerprint import fingerprint
    from ..data.sources import open_source
    from ..registry.home import Home
    from ..registry.ledger import USUAL_DELTA, Ledger
    from ..vocabulary.errors import SpecError

    if delta is not None and not 0 < delta < 1:
        raise SpecError(
            f"--delta {delta}: delta lies between 0 and 1; 1e-5 is usual, and it should be far below one over the number of records"
        )
    home = Home.find()
    name = fingerprint(open_source(data, Path.cwd()).frame, home.key())
    ledger = Ledger(home)
    ledger.know(name)
    if limit is not None:
        ledger.limit(name, limit, USUAL_DELTA if delta is None else delta)
    summary = ledger.summary(name, delta=delta)
    if as_json:
        echo_json(summary.model_dump(mode="json"))
    else:
        click.echo(_page(data, summary))


def _page(data: str, summary: BudgetSummary) -> str:
    from ..reports.text import inert

    limit = f"epsilon {summary.limit.epsilon:g} at delta {summary.limit.delta:g}" if summary.limit else "none (--limit E sets one)"
    lines = [f"{inert(data)}  {summary.data}", f"limit  {limit}"]
    if summary.uncovered:
        lines.append(f"spent  beyond any bound: {summary.uncovered}")
    for group in summary.groups:
        left = "" if group.left is None else f", {group.left:.4g} left"
        runs = f"{group.runs} run{'s' if group.runs > 1 else ''}"
        alone = ", by the private trainings alone" if summary.unbounded else ""
        lines.append(
            f"spent  epsilon {group.epsilon:.4g} at delta {summary.delta:g} per {inert(group.unit)}, {group.relation} ({runs}{left}){alone}"
        )
    if not summary.entries:
        lines.append("spent  nothing yet")
    else:
        rows = [[f"{entry.time:%Y-%m-%d %H:%M}", inert(entry.what), inert(entry.unit), *_cost(entry)] for entry in summary.entries]
        lines += ["", table(rows, ["time (UTC)", "what", "unit", "epsilon", "delta", "state"])]
    lines += [f"parent or child  {inert(name)}" for name in summary.related]
    lines += [f"note: {inert(warning)}" for warning in summary.warnings]
    return "\n".join([*lines, f"(the ledger of home {summary.home} only)"])


def _cost(entry: Entry | UnboundedEntry) -> list[str]:
    """Epsilon, delta, state."""
    if entry.epsilon is None:
        return ["no bound", "-", entry.reason]
    return [f"{entry.epsilon:.4g}", f"{entry.delta:g}", entry.state]
