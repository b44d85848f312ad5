"""What a rule requires, as a small grammar: an operator and an operand.

    <= 0.55              a number
    <= holdout + 0.01    the same metric elsewhere (a comparison of the finding), a number added or taken away
    >= floor             beats a model without any dependence between columns
    <= reference         the value the finding is read against

A finding has an interval, and so has a comparison. The rule passes when the worst case of both satisfies it, fails when
the best case of both does not, and is unsure in between.
"""

from __future__ import annotations

import re
from typing import Literal

from .errors import nearest
from .estimate import Estimate
from .finding import Finding
from .frozen import Frozen

Operator = Literal["<=", ">=", "<", ">"]
OPERANDS: dict[str, str] = {
    "reference": "the reference value",
    "holdout": "real rows the generator never saw",
    "floor": "a model without any dependence between columns",
    "real": "real rows",
    "rdp": "Rényi accounting",
}
"""Comparisons that audits make, in words."""

_BOUNDS: dict[Operator, str] = {"<=": "at most", ">=": "at least", "<": "below", ">": "above"}

ROUNDING = 1e-12
"""0.54 + 0.01 is not 0.55 in floating point; a threshold that is met exactly is met."""

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_GRAMMAR = re.compile(
    rf"\s*(?P<operator><=|>=|<|>)\s*(?:(?P<number>[-+]?{_NUMBER})|(?P<operand>[a-z][a-z0-9_]*)(?:\s*(?P<sign>[-+])\s*(?P<offset>{_NUMBER}))?)\s*"
)


class Requirement(Frozen):
    operator: Operator
    operand: str | None
    """Name of a comparison, or `reference`; null: the number alone."""
    number: float
    """The threshold itself, or what is added to the operand."""

    @property
    def upper(self) -> bool:
        """It bounds the metric from above: the high end of the interval is the unfavourable one."""
        return self.operator in ("<=", "<")

    def holds(self, value: float, threshold: float) -> bool:
        """`value` against `threshold`; equality, up to rounding, satisfies `<=` and `>=` only."""
        margin = (threshold - value if self.upper else value - threshold) + (ROUNDING if "=" in self.operator else -ROUNDING)
        return margin >= 0

    def operand_in(self, finding: Finding) -> Estimate | None:
        """What the finding has to be compared with; None where it lacks it."""
        if self.operand is None:
            return Estimate.exact(0.0)
        if self.operand == "reference":
            return None if finding.reference is None else Estimate.exact(finding.reference)
        return finding.comparisons.get(self.operand)

    def with_bound(self, threshold: str) -> str:
        """`at most 0.267 for real rows`, `at most 0.277 for real rows, 0.01 added`: what a comparison came down to."""
        added = f", {_plain(abs(self.number))} {'added' if self.number > 0 else 'taken away'}" if self.number else ""
        return f"{_BOUNDS[self.operator]} {threshold} for {OPERANDS.get(self.operand or '', self.operand)}{added}"

    def in_words(self) -> str:
        """`at most that of real rows the generator never saw (holdout), plus 0.01`."""
        bound = _BOUNDS[self.operator]
        if self.operand is None:
            return f"{bound} {_plain(self.number)}"
        named = OPERANDS.get(self.operand, self.operand)
        base = named if self.operand == "reference" else f"that of {named}" + ("" if self.operand in named else f" ({self.operand})")
        return f"{bound} {base}" + (f", {'plus' if self.number > 0 else 'minus'} {_plain(abs(self.number))}" if self.number else "")


def parse_requirement(text: str) -> Requirement:
    """The requirement, or a ValueError that says what is wrong with it."""
    if "%" in text:
        raise ValueError(f"{text!r}: shares are written as numbers from 0 to 1, 0.55 and not 55 %")
    match = _GRAMMAR.fullmatch(text)
    if not match:
        raise ValueError(
            f"{text!r} is not a requirement; write an operator and a number or a comparison, as '<= 0.55' or '<= holdout + 0.01'"
        )
    sign = -1.0 if match["sign"] == "-" else 1.0
    number = float(match["number"]) if match["number"] else sign * float(match["offset"] or 0)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text!r}: the number is too large to mean anything")
    return Requirement(operator=match["operator"], operand=match["operand"], number=number)


def _plain(number: float) -> str:
    """0.00001 and not 1e-05: read by people who sign contracts."""
    return f"{number:g}" if number == 0 or abs(number) >= 1e-3 else f"{number:.10f}".rstrip("0")


def known_operand(name: str) -> str | None:
    """Why `name` is not one of the comparisons that audits make, or None."""
    if name in OPERANDS:
        return None
    return f"no audit compares with {name!r}; {nearest(name, OPERANDS) or 'there are ' + ', '.join(OPERANDS)}"
