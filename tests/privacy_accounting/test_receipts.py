"""A receipt that contradicts itself is not read, and one that was swapped is not the run's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardrail.privacy_accounting.receipts import read_receipt
from guardrail.training.accounting import epsilon_prv
from guardrail.training.noisy_counts import one_way_sensitivity
from guardrail.vocabulary.errors import ArtifactError
from guardrail.vocabulary.receipt import GaussianQuery, Mechanism, SampledGaussian


def receipt(mechanisms: list[Mechanism], epsilon: float) -> dict[str, object]:
    return {
        "generator": "made", "strategy": "private", "seed": 0, "data": "hmac-sha256:00", "trained_rows": None, "epochs": 1,
        "batch_size": 10, "steps": 10, "learning_rate": 0.1, "device": "cpu", "parameters": 1, "started": "2026-01-01T00:00:00Z",
        "seconds": 1.0, "versions": {},
        "privacy": {
            "epsilon": epsilon, "epsilon_rdp": epsilon, "delta": 1e-5, "unit": "row", "records_public": 1000,
            "records_source": "declared public", "noise": "secure", "schema_sources": {},
            "mechanisms": [mechanism.model_dump() for mechanism in mechanisms],
        },
    }  # fmt: skip


PLANS: list[list[Mechanism]] = [
    [GaussianQuery(what="counts", sensitivity=one_way_sensitivity(15), noise_multiplier=noise)] for noise in (0.1, 1.0, 30.0)
] + [
    [
        GaussianQuery(what="counts", sensitivity=1.0, noise_multiplier=counts),
        SampledGaussian(what="gradients", noise_multiplier=noise, sample_rate=rate, steps=steps, clip=1.0),
    ]
    for counts, noise, rate, steps in ((7.6, 3.0, 0.1, 400), (22.0, 7.7, 0.1, 400), (2.5, 1.2, 0.1, 400), (30.0, 1.0, 0.005, 2000))
]


@pytest.mark.parametrize("mechanisms", PLANS)
def test_an_honest_receipt_is_read_and_a_forged_epsilon_is_not(mechanisms: list[Mechanism], tmp_path: Path):
    honest, file = epsilon_prv(mechanisms, 1e-5), tmp_path / "receipt.json"
    file.write_text(json.dumps(receipt(mechanisms, honest)))
    assert read_receipt(file).privacy is not None
    for forged in (honest / 2, honest * 2):
        file.write_text(json.dumps(receipt(mechanisms, forged)))
        with pytest.raises(ArtifactError, match="mechanisms cost"):
            read_receipt(file)
