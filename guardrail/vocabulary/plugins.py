"""Generators and audits by name. Nothing is imported before it is asked for, so `guardrail list` needs no torch.

Our own stand in the TABLE of `guardrail.generators` and `guardrail.audits`; third parties add theirs by the entry point
group `guardrail.plugins`: a module with a `GENERATORS` and/or `AUDITS` table of the same shape.

    [project.entry-points."guardrail.plugins"]
    mine = "my_package.guardrail_plugins"
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal

from .errors import GuardrailError, MissingExtra, UnknownName

Kind = Literal["generators", "audits"]
GROUP = "guardrail.plugins"


class PluginError(GuardrailError):
    """A third party's plugin is broken: it says which one, and is never skipped silently."""

    exit_code = 2


@dataclass(frozen=True)
class Entry:
    """One line of a TABLE."""

    target: str
    """`module:Class`, relative modules (`.made:Made`) to the package that holds the table."""
    summary: str
    modalities: tuple[str, ...] = ("tabular",)
    abilities: tuple[str, ...] = ()
    paper: str = ""
    extra: str | None = None
    """The optional part it needs."""
    provider: str = "guardrail"
    package: str = ""


@cache
def table(kind: Kind) -> Mapping[str, Entry]:
    """Every known plugin of a kind, ours and installed third parties', by name."""
    package = f"guardrail.{kind}"
    found: dict[str, Entry] = {name: _placed(entry, package, "guardrail") for name, entry in importlib.import_module(package).TABLE.items()}
    for point in entry_points(group=GROUP):
        for name, entry in _third_party(point.name, point.value, kind).items():
            if name in found:
                raise PluginError(f"plugin {point.name!r} brings {kind[:-1]} {name!r}, which {found[name].provider} already has; rename it")
            found[name] = entry
    return found


def _third_party(provider: str, module: str, kind: Kind) -> dict[str, Entry]:
    try:
        holder = importlib.import_module(module)
    except (ImportError, SyntaxError) as fault:
        raise PluginError(f"plugin {provider!r} ({module}) cannot be imported: {fault}; mend or uninstall it") from fault
    rows: dict[str, Entry] = getattr(holder, kind.upper(), {})
    return {name: _placed(entry, holder.__package__ or module, provider) for name, entry in rows.items()}


def _placed(entry: Entry, package: str, provider: str) -> Entry:
    return Entry(**{**entry.__dict__, "package": package, "provider": provider})


def resolve(kind: Kind, name: str) -> Any:
    """The class behind a name; imports its module."""
    known = table(kind)
    if name not in known:
        raise UnknownName.among(kind[:-1], name, known)
    entry = known[name]
    module, _, attribute = entry.target.partition(":")
    try:
        return getattr(importlib.import_module(module, entry.package), attribute)
    except (ImportError, SyntaxError, AttributeError) as fault:
        missing = fault.name if isinstance(fault, ModuleNotFoundError) else None
        if entry.extra and entry.provider == "guardrail" and missing and not missing.startswith("guardrail"):
            raise MissingExtra.named(entry.extra, f"{kind[:-1]} {name!r}") from fault
        if entry.provider != "guardrail":
            raise PluginError(f"plugin {entry.provider!r}: {kind[:-1]} {name!r} ({entry.target}) cannot be loaded: {fault}") from fault
        raise
