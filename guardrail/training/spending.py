"""The ledger's side of a training: asked before the first step, told after the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..registry.books import Reason
from ..registry.ledger import Ledger, Reservation
from ..vocabulary.errors import GuardrailError
from ..vocabulary.receipt import Mechanism, PrivacyClaim
from ..vocabulary.spec import PrivacySpec
from .distributed import ALONE, World


@dataclass
class LedgerSpending:
    """The ledger's side of a training: asked before the records are touched, told when training ended.

    Under secure noise it takes epsilon. Without privacy, or with noise that whoever knows the seed removes, no epsilon
    bounds what leaves: then that is what it records, and a limit refuses it.
    """

    ledger: Ledger
    data: str
    unit: str
    privacy: PrivacySpec | None
    what: str
    parent: str | None
    tell: Callable[[str], None]
    world: World = ALONE
    """Of several processes only the leader asks."""
    reservation: Reservation | None = field(default=None, init=False)

    def reserve(self, mechanisms: tuple[Mechanism, ...]) -> None:
        refused = None
        try:
            if self.world.leads:
                self._reserve(mechanisms)
        except GuardrailError as fault:
            refused = fault
        self.world.agree(refused)

    def _reserve(self, mechanisms: tuple[Mechanism, ...]) -> None:
        if self.privacy is None or self.privacy.noise == "seeded":
            self.reservation = self._unbounded("seeded noise" if self.privacy else "no privacy")
        else:
            self.reservation = self._epsilon(self.privacy, mechanisms)
        for warning in self.reservation.warnings:
            self.tell(warning)

    def settle(self, claim: PrivacyClaim | None) -> str:
        """The ledger's entry. Only epsilon can be settled for less."""
        if not self.world.leads:
            return ""
        if self.reservation is None:
            raise GuardrailError("the strategy trained without asking the ledger; please report it")
        if claim is not None and claim.valid:
            self.ledger.settle(self.reservation, claim.mechanisms)
        return self.reservation.reference

    def what_stays(self) -> str:
        """Where training was interrupted."""
        if self.reservation is None:
            return "no model was written and no epsilon was spent"
        privacy = self.privacy
        if privacy is None:
            stays = "that a training without privacy began on these records stays in their ledger"
        elif privacy.noise == "seeded":
            stays = "that a training with seeded noise began on these records stays in their ledger"
        else:
            stays = f"epsilon {privacy.epsilon:g} at delta {privacy.delta:g} was reserved before the records were read and stays spent"
        return f"no model was written, but {stays}: see guardrail budget"

    def _unbounded(self, reason: Reason) -> Reservation:
        return self.ledger.record_unbounded(self.data, reason=reason, unit=self.unit, what=self.what, parent=self.parent)

    def _epsilon(self, privacy: PrivacySpec, mechanisms: tuple[Mechanism, ...]) -> Reservation:
        return self.ledger.reserve(
            self.data,
            mechanisms=mechanisms,
            unit=self.unit,
            relation=PrivacyClaim.model_fields["relation"].default,
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            what=self.what,
            parent=self.parent,
        )
