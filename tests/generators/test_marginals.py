"""Positions by themselves, and a record that may end early."""

from __future__ import annotations

import itertools

import pytest
import torch

from guardrail.generators.marginals import Marginals, MarginalsOptions
from guardrail.training.contract import Batch
from guardrail.vocabulary.spaces import TokenSpace

END = 2


def test_the_probabilities_of_all_records_that_may_end_sum_to_one():
    space = TokenSpace(("token",) * 3, (3,) * 3, shared=True, end=END)
    generator = Marginals(space, MarginalsOptions())
    torch.manual_seed(0)
    generator.log_shares.copy_(torch.cat([torch.rand(3).log_softmax(0) for _ in range(3)]))
    records = []
    for tokens in itertools.product(range(3), repeat=3):
        first = tokens.index(END) if END in tokens else 3
        if all(token == END for token in tokens[first:]):
            records.append(tokens)
    assert float(generator.log_likelihood(Batch.of(torch.tensor(records))).exp().sum()) == pytest.approx(1.0, abs=1e-6)
