"""Records drawn back from updates: in full from plain ones, and no better than a guess from those of a private client."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from guardrail.audits.privacy.gradient_inversion import GradientInversion
from guardrail.data.builtin import load
from guardrail.data.modality import modality
from guardrail.training.federation.inversion import attack_on
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.seeds import stream
from guardrail.vocabulary.spec import Spec


def attacked(family: str, privacy: dict[str, Any] | None, records: int = 400, seed: int = 0, **options: Any) -> Finding:
    raw, schema = load("mnist10k")
    frame, _ = modality("image").cast(raw.head(records), schema, on_error="fail", where="digits")
    spec = Spec.model_validate(
        {
            "name": "digits",
            "data": {"source": "builtin:mnist10k"},
            "generator": {"name": family, "options": options},
            "privacy": privacy,
            "federation": {"clients": 10},
        }
    )
    evidence = Evidence(schema=schema, train=frame, modality="image", update_attack=attack_on(spec, frame, schema))
    (finding,) = GradientInversion().measure(evidence, stream(seed, "inversion"))
    return finding


def test_plain_updates_of_one_record_give_digits_away():
    finding = attacked("vae", None)
    assert finding.value is not None and finding.value >= 0.8
    assert finding.reference is not None and finding.reference < 0.2


@pytest.mark.parametrize("epsilon", [1, 3])
def test_updates_of_a_private_client_give_no_more_than_the_mean_of_the_class(epsilon: float):
    finding = attacked("vae", {"epsilon": epsilon})
    assert finding.value is not None and finding.reference is not None
    assert finding.value <= finding.reference


@pytest.mark.slow
@pytest.mark.parametrize("family", ["dcgan", "wgan"])
def test_convolutions_hide_nothing_either(family: str):
    """No layer of theirs reads the record itself: it is looked for."""
    assert (attacked(family, None).value or 0) >= 0.8
    private = attacked(family, {"epsilon": 3})
    assert (private.value or 0) <= (private.reference or 0)


def test_where_no_update_travels_there_is_nothing_to_attack():
    (finding,) = GradientInversion().measure(Evidence(schema=load("mnist10k")[1], modality="image"), np.random.default_rng(0))
    assert finding.value is None and "no update of a client" in str(finding.reason)
