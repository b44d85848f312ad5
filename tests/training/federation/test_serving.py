"""Which client is served badly: the one whose records the others outvote. Under privacy nobody says."""

from __future__ import annotations

import numpy as np
import pytest

from guardrail.audits.fairness.clients import Clients
from guardrail.training.federation.client import Client
from guardrail.training.federation.federated import part_of
from guardrail.training.federation.learning import whole
from guardrail.training.federation.serving import _shortfall
from guardrail.vocabulary.errors import BudgetExceeded
from guardrail.vocabulary.evidence import Evidence
from tests.training.federation.small import a_job, all_records, federate, shares


def test_the_client_unlike_the_others_is_found():
    job = a_job("marginals", clients=3)
    dataset = all_records(job, n=900)
    red = dataset.tokens[:, 3] == dataset.tokens[:, 3].max()  # a third of the records, of one colour, all with one client
    others = np.flatnonzero(~red)
    parts = [part_of(dataset, red), *(part_of(dataset, np.isin(np.arange(len(red)), others[i::2])) for i in range(2))]
    server, _ = federate(job, parts)
    served = {one.client: one for one in server.served()}
    worst = max(served.values(), key=lambda one: one.shortfall)
    assert worst.client == 0 and worst.low > max(served[1].shortfall, served[2].shortfall)
    (finding,) = Clients().measure(Evidence(schema=job.records, served=server.record(simulated=True).served), np.random.default_rng(0))
    assert finding.value is not None and finding.low is not None and finding.low > 0.02
    assert set(finding.groups) == {"client 0", "client 1", "client 2"}


def test_clients_who_are_alike_are_served_alike():
    job = a_job("marginals", clients=3)
    server, _ = federate(job, shares(all_records(job, n=900), 3))
    assert all(abs(one.shortfall) < 0.03 for one in server.served())


@pytest.mark.parametrize("n", [30, 300])
def test_the_interval_of_a_shortfall_covers_it(n: int):
    """Records and samples from one distribution: the truth is 0. At 95 %, 200 trials of a good one lie below 0.90 once in 1,000."""
    rng, sizes = np.random.default_rng(1), (5, 12, 3, 8, 20)
    covered = 0
    for _ in range(200):
        sets = [np.stack([rng.integers(0, size, n) for size in sizes], axis=1) for _ in range(3)]
        found = _shortfall(*sets, sizes, rng)
        covered += found.low <= 0 <= found.high
    assert covered >= 180


def test_the_group_that_is_served_badly_within_a_client_is_found():
    """At client 0 the red ones are all of one size, which the common model does not know; a group of a few is not spoken of."""
    job = a_job("marginals", clients=3)
    job = job.model_copy(update={"records": job.records.model_copy(update={"sensitive": ("colour", "label", "number")})})
    dataset = all_records(job, n=1800)
    parts = shares(dataset, 3)
    red = parts[0].tokens[:, 3] == 1
    parts[0].tokens[red, 4] = 0
    few = np.flatnonzero(parts[1].tokens[:, 3] == 2)[25:]
    parts[1] = part_of(parts[1], ~np.isin(np.arange(len(parts[1].tokens)), few))
    server, _ = federate(job, parts)
    served = {one.client: one for one in server.served()}
    assert set(served[0].groups) == {"colour", "label"} and set(served[0].groups["colour"]) == {"red", "green", "blue", "(missing)"}
    assert set(served[0].groups["label"]) == {"False", "True"} and "green" not in served[1].groups["colour"]
    name, best, worst = served[0].most_unequal() or ("", "", "")
    assert (name, worst) == ("colour", "red")
    assert served[0].groups[name][worst].low > served[0].groups[name][best].high
    (finding,) = Clients().measure(Evidence(schema=job.records, served=server.record(simulated=True).served), np.random.default_rng(0))
    assert {"client 0", "client 0, colour=red", f"client 0, colour={best}"} <= set(finding.groups)
    assert sum(label.startswith("client 0") for label in finding.groups) == 3


def test_a_server_that_asks_this_first_is_refused_by_the_ledger_like_any_other():
    """A limit admits no training without privacy, and this answer is computed from the records as well."""
    job = a_job("marginals")

    def limited(_: object) -> None:
        raise BudgetExceeded("refused by the limit")

    client = Client(job, shares(all_records(job), 3)[0], 0, limited)
    with pytest.raises(BudgetExceeded):
        client.served(whole(job.built()[0]))


def test_under_privacy_no_client_says():
    job = a_job("marginals", privacy={"epsilon": 5, "canaries": 0})
    server, _ = federate(job, shares(all_records(job), 3))
    assert server.served() == () and server.record(simulated=True).served == ()
