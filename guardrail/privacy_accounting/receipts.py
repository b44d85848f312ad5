"""Reading a receipt without taking its epsilon on trust: the mechanisms it lists must cost what it claims.

Renyi accounting of the same mechanisms bounds the claim from above, and no accountant of these mechanisms finds less than a
part of it: a claim outside is a slip or a forgery. Not covered: a receipt whose mechanisms were changed along with its
epsilon; the registry's hash of the receipt tells that, and a signature will.
"""

from __future__ import annotations

from pathlib import Path

from ..vocabulary import documents
from ..vocabulary.errors import ArtifactError
from ..vocabulary.frozen import parse
from ..vocabulary.receipt import PrivacyClaim, Receipt
from . import rdp

MOST, LEAST = 1.05, 0.6
"""Of the Renyi epsilon; the tighter accountant finds 0.75 to 1 of it over all plans that training makes."""


def read_receipt(path: Path) -> Receipt:
    receipt = parse(Receipt, documents.read_json(path, error=ArtifactError), where=str(path), error=ArtifactError)
    if receipt.privacy is not None:
        _refuse_contradiction(receipt.privacy, path)
    return receipt


def _refuse_contradiction(claim: PrivacyClaim, path: Path) -> None:
    bound = rdp.epsilon(rdp.curve(claim.mechanisms), claim.delta)
    if not LEAST * bound <= claim.epsilon <= MOST * bound:
        raise ArtifactError(
            f"{path}: claims epsilon {claim.epsilon:.4g}, but its own mechanisms cost about {bound:.4g} at delta {claim.delta:g}; "
            "the receipt was changed or is damaged, and nothing may be claimed from it: restore the run folder, or train again"
        )
