"""Answers of many clients, against one who has all records."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flwr.app import Message

from guardrail.training.federation.counts import added
from guardrail.training.federation.wire import content, read
from guardrail.training.plain import ExactCounts
from guardrail.vocabulary.errors import FederationFailed
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: {**arrays, "tokens": arrays["tokens"] * np.nan}, "no numbers"),
        (lambda arrays: {**arrays, "tokens": arrays["tokens"][:-1]}, "do not fit together"),
        (lambda arrays: {"classes": arrays["classes"]}, "do not fit together"),
    ],
)
def test_a_broken_count_is_refused_in_words(change, words: str):
    job = a_job("marginals")

    class Broken:
        def __init__(self, grid) -> None:
            self._grid, self.get_node_ids = grid, grid.get_node_ids

        def send_and_receive(self, messages, *, timeout=None):
            found = [(message, self._grid.deliver(message)) for message in messages]
            return [
                Message(content(change(read(reply.content)[0]), {}), reply_to=message)
                if (message.metadata.message_type, message.metadata.dst_node_id) == ("query.count", 2)
                else reply
                for message, reply in found
            ]

    told: list[str] = []
    with pytest.raises(FederationFailed) as failed:
        federate(job, shares(all_records(job), 3), grid=Broken, told=told)
    assert words in " ".join([str(failed.value), *told])


def test_the_floor_can_be_counted_again_when_the_clients_are_gone():
    job = a_job("lstm", "text", learning={"epochs": 1})
    server, _ = federate(job, shares(all_records(job, "text"), 3))
    again = job.built()[1]
    again.initialise(server.counts_of_floor())
    for value, truth in zip(again.state_dict().values(), server.floor.state_dict().values(), strict=True):
        assert torch.equal(value, truth)
