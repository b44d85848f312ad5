"""Every error guardrail raises on purpose; each class is named for its remedy and carries the exit code of the CLI.

    GuardrailError                      4  internal, or a subclass below
    ├── InputError (ValueError)         2  what was given cannot be used: mend the input
    │   ├── DataError                      the records: file, columns, values
    │   ├── SchemaError                    the public schema, or what it lacks
    │   ├── SpecError                      the spec, an option, a command line
    │   ├── PolicyError                    a policy file
    │   └── ArtifactError                  a run folder, report or sidecar that is broken or not what it says
    ├── UnknownName (LookupError)       2  no such plugin, metric, policy, run: use the one named in the message
    ├── Unsupported (NotImplementedError)  2  a method refused by name: choose another
    ├── PrivacyRefused (ValueError)     2  would make the privacy claim false: declare it public, or pay for it
    ├── MissingExtra (ImportError)      2  an optional part is not installed: the message has the pip line
    ├── FederationFailed (RuntimeError) 2  clients were missing, late, or sent what cannot be used: mend them, train again
    └── BudgetExceeded (PermissionError) 3  the data's owner set a limit and this would pass it

A message says what was met, why it matters, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

MODULES_OF_EXTRAS = {
    "torch": "train",
    "opacus": "train",
    "safetensors": "train",
    "flwr": "federated",
    "c2pa": "provenance",
    "streamlit": "dashboard",
}


class GuardrailError(Exception):
    exit_code: ClassVar[int] = 4


class InputError(GuardrailError, ValueError):
    exit_code = 2


class DataError(InputError):
    pass


class SchemaError(InputError):
    pass


class SpecError(InputError):
    pass


class PolicyError(InputError):
    pass


class ArtifactError(InputError):
    pass


class UnknownName(GuardrailError, LookupError):
    exit_code = 2

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> UnknownName:
        """`no metric 'privacy.mia'; did you mean 'privacy.membership_auc'?`"""
        choices = sorted(known)
        return cls(f"no {kind} {name!r}; {nearest(name, choices) or 'there are ' + (', '.join(choices) or 'none')}")


class Unsupported(GuardrailError, NotImplementedError):
    exit_code = 2


class PrivacyRefused(GuardrailError, ValueError):
    exit_code = 2


class MissingExtra(GuardrailError, ImportError):
    exit_code = 2

    @classmethod
    def behind(cls, fault: ModuleNotFoundError) -> MissingExtra | None:
        """The extra that would have brought the module that was not found; None where none would."""
        extra = MODULES_OF_EXTRAS.get((fault.name or "").partition(".")[0])
        return cls.named(extra, "this") if extra else None

    @classmethod
    def named(cls, extra: str, purpose: str) -> MissingExtra:
        return cls(f"{purpose} needs the extra '{extra}', which is not installed: pip install 'guardrail-generators[{extra}]'")


class FederationFailed(GuardrailError, RuntimeError):
    exit_code = 2


class BudgetExceeded(GuardrailError, PermissionError):
    exit_code = 3


def nearest(name: str, choices: Iterable[str]) -> str:
    """`did you mean 'x'?` for the closest of the choices, or an empty string."""
    close = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""
