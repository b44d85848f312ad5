"""The privacy claim for a reader who signs contracts: what it promises, how strong that is, and what it leaves out.

Epsilon is said as the best true-positive rate of any attacker at 1 % false positives, since 'epsilon 10' sounds private and
allows a likelihood ratio of 22,026. No receipt, no privacy section in the spec, or seeded noise: not private, in these words.
"""

from __future__ import annotations

import math

from ..reports.text import number
from ..vocabulary.card import PrivacyMeaning
from ..vocabulary.privacy_meaning import best_tpr, in_words
from ..vocabulary.receipt import PrivacyClaim, Receipt

AT_FPR = 0.01
WEAK_FROM = 0.5
"""An attacker who may find half of the members is not held back."""
_USELESS = 50.0

_ELSEWHERE = (
    "No privacy claim. These samples come from elsewhere: without a training receipt nothing is known about what they cost in privacy."
)
_PLAIN = (
    "Not private. Training was not differentially private: nothing bounds what the model gives away about a record. "
    "The audits on this card can find leaks; they cannot show that there are none."
)
_SEEDED = (
    "Not private: no privacy claim. The noise came from a seed, as in tests, and whoever knows the seed can take it away. "
    "Epsilon and delta of the receipt bound nothing here."
)
_UNCOVERED = (
    "the numbers of audits, of this card and of its plots: they are computed from private records",
    "other models, samples or statistics from the same data: their epsilons add up, and `guardrail budget` keeps the sum",
    "what is true of a whole group: a correct statistic can harm people who are not in the data",
    "knowledge that was declared public in the schema: the claim holds only if it is",
)


def privacy_meaning(receipt: Receipt | None) -> PrivacyMeaning:
    """What the receipt allows to say."""
    if receipt is None:
        return PrivacyMeaning(claimed=False, statement=_ELSEWHERE)
    claim = receipt.privacy
    if claim is None:
        return PrivacyMeaning(claimed=False, statement=_PLAIN)
    if not claim.valid:
        return PrivacyMeaning(claimed=False, statement=_SEEDED)
    return _claimed(claim)


def _claimed(claim: PrivacyClaim) -> PrivacyMeaning:
    caught = best_tpr(claim.epsilon, claim.delta, AT_FPR)
    return PrivacyMeaning(
        claimed=True,
        statement=_statement(claim),
        meaning=in_words(claim.epsilon, claim.delta, unit=claim.unit, fpr=AT_FPR),
        epsilon=claim.epsilon,
        epsilon_rdp=claim.epsilon_rdp,
        delta=claim.delta,
        at_fpr=AT_FPR,
        best_tpr=caught,
        likelihood_ratio=math.exp(claim.epsilon) if claim.epsilon <= _USELESS else None,
        scale="For scale: epsilon 1 allows a likelihood ratio of 2.7, epsilon 3 of 20, epsilon 10 of 22,026.",
        weak=caught >= WEAK_FROM,
        uncovered=(*_UNCOVERED, *_paid_with_data(claim)),
    )


def _statement(claim: PrivacyClaim) -> str:
    bounded = "with all its records" if claim.unit == "client" else f"at most {claim.rows_per_unit} rows"
    who = "one row" if claim.unit == "row" else f"everything of one {claim.unit} ({bounded})"
    return (
        "The model and everything drawn from it are differentially private with "
        f"epsilon {math.ceil(claim.epsilon * 1000) / 1000:g} at delta {number(claim.delta)}. "
        f"Protected is {who}; neighbouring data sets: {claim.relation}."
    )


def _paid_with_data(claim: PrivacyClaim) -> tuple[str, ...]:
    """Knowledge read from the records would make the claim false; a private training refuses it, the card looks again."""
    read = sorted(name for name, source in claim.schema_sources.items() if source.partition(" ")[0] == "data")
    return (f"columns whose schema was read from the records, against the claim: {', '.join(read)}",) if read else ()
