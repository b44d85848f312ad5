"""Answers of many clients, against one who has all records."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from guardrail.training.federation.counts import added
from guardrail.training.plain import ExactCounts
from guardrail.vocabulary.plugins import table
from guardrail.vocabulary.seeds import entropy
from tests.training.federation.small import a_job, all_records, federate, shares

COUNTING = [
    (name, modality)
    for name, modality in (("marginals", "tabular"), ("markov", "text"), ("markov", "tabular"), ("hmm", "text"), ("hmm", "series"))
    if modality in table("generators")[name].modalities
]


@pytest.mark.parametrize(("family", "modality"), COUNTING)
def test_a_family_of_counts_is_the_one_that_all_records_in_one_place_would_give(family: str, modality: str):
    """Also expectation maximisation, whose every question is a function of the answers before."""
    job = a_job(family, modality)
    dataset = all_records(job, modality)
    _, generator = federate(job, shares(dataset, 3))
    pooled, _ = job.built()
    torch.manual_seed(entropy(job.seed, "training") % 2**63)
    pooled.initialise(ExactCounts(dataset))
    for (name, value), truth in zip(generator.state_dict().items(), pooled.state_dict().values(), strict=True):
        assert value.shape == truth.shape, name
        assert torch.allclose(value.double(), truth.double(), rtol=1e-4, atol=1e-5), name


def test_runs_of_several_clients_are_merged_in_order():
    one = {"rows": np.array([[0, 1, 2], [0, 2, 1]]), "counts": np.array([3, 4])}
    other = {"rows": np.array([[0, 0, 9], [0, 2, 1]]), "counts": np.array([1, 5])}
    merged = added([one, other])
    assert merged["rows"].tolist() == [[0, 0, 9], [0, 1, 2], [0, 2, 1]]
    assert merged["counts"].tolist() == [1, 3, 9]


def test_the_floor_can_be_counted_again_when_the_clients_are_gone():
    job = a_job("lstm", "text", learning={"epochs": 1})
    server, _ = federate(job, shares(all_records(job, "text"), 3))
    again = job.built()[1]
    again.initialise(server.counts_of_floor())
    for value, truth in zip(again.state_dict().values(), server.floor.state_dict().values(), strict=True):
        assert torch.equal(value, truth)
