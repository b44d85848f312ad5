"""Privacy of records at every client, and of clients at the server: what is charged, and that nothing leaves twice."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message

from guardrail.training.accounting import epsilon_prv
from guardrail.training.federation import central
from guardrail.training.federation.central import clipped, plan_for_clients, released, within_sensitivity
from guardrail.training.federation.client import Client
from guardrail.training.federation.federated import Federated, claim_of
from guardrail.training.federation.learning import private_of, recipe_of, whole
from guardrail.training.federation.server import plan_of
from guardrail.training.federation.simulation import Loopback
from guardrail.training.federation.wire import MEMORY, in_public, read
from guardrail.training.secure import SecureStream
from guardrail.vocabulary.errors import DataError, PrivacyRefused, SpecError, Unsupported
from guardrail.vocabulary.receipt import GaussianQuery, Mechanism, SampledGaussian
from tests.training.federation.small import a_job, all_records, federate, shares
from tests.training.federation.test_rounds import Tampered

RECORDS = {"epsilon": 3.0, "canaries": 0}


def a_client(job: Any = None, reserved: list[Any] | None = None) -> Client:
    job = job or a_job(privacy=RECORDS, learning={"epochs": 1})
    return Client(job, shares(all_records(job), 3)[0], 0, (reserved if reserved is not None else []).append)


def test_a_client_reserves_the_whole_plan_before_its_first_answer():
    reserved: list[Any] = []
    client = a_client(reserved=reserved)
    client.answer([])
    client.train(1, whole(client.job.built()[0]))
    assert len(reserved) == 1
    assert epsilon_prv(reserved[0], 1e-5) <= 3.0
    generator, _ = client.job.built()
    _, steps = private_of(client.job).planner.pace(generator, recipe_of(generator, client.job))
    (mechanism,) = (one for one in reserved[0] if isinstance(one, SampledGaussian))
    assert mechanism.steps == steps and steps % client.job.federation.rounds == 0


def test_under_privacy_no_question_is_answered_twice_and_no_round_taken_twice():
    client = a_client()
    client.answer([])
    with pytest.raises(PrivacyRefused, match="second release"):
        client.answer([])
    start = whole(client.job.built()[0])
    client.train(1, start)
    with pytest.raises(SpecError, match="stale or repeated"):
        client.train(1, start)
    client.train(2, start)
    with pytest.raises(SpecError, match="round 3"):
        client.train(3, start)


def test_training_before_the_first_answer_is_refused():
    client = a_client()
    with pytest.raises(PrivacyRefused, match="before any count"):
        client.train(1, whole(client.job.built()[0]))


def test_steps_taken_stay_taken_where_a_round_is_killed(monkeypatch: pytest.MonkeyPatch):
    client = a_client()
    client.answer([])

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("guardrail.training.federation.client.train", killed)
    with pytest.raises(KeyboardInterrupt):
        client.train(1, whole(client.job.built()[0]))
    assert client.memory.rounds == 1 and client.memory.steps > 0


def test_a_client_that_forgot_its_training_pays_for_it_again():
    """After a crash of server or client, say: what is not known to have been spent is spent once more, never once less."""
    reserved: list[Any] = []
    client = a_client(reserved=reserved)
    client.answer([])
    again = Client(client.job, client.dataset, 0, reserved.append)
    again.answer([])
    assert len(reserved) == 2


def test_what_is_wrong_with_the_records_stays_with_the_client(capsys: pytest.CaptureFixture[str]):
    for fault in (DataError("visits.csv, row 3: age 203 of Jane Doe"), ValueError("could not convert 'Jane Doe'"), KeyError("Jane Doe")):
        assert "Jane" not in in_public(fault)
        assert "Jane Doe" in capsys.readouterr().err
    assert in_public(SpecError("a stale message")) == "a stale message"


def test_nothing_but_noisy_weights_leaves_a_client():
    job = a_job(privacy=RECORDS, learning={"epochs": 1})
    said: list[dict[str, Any]] = []

    def noted(message: Message, reply: Message) -> Message:
        said.append(read(reply.content)[1])
        return reply

    federate(job, shares(all_records(job), 3), grid=lambda grid: Tampered(grid, noted))
    assert {one["loss"] for one in said} == {None}
    weights = {one["weight"] for one in said}
    assert len(weights) == 3 and 30.0 not in weights  # each client's noisy count, the same in both rounds; the true one is 30
    assert all(set(one) == {"round", "steps", "weight", "loss"} for one in said)


def test_an_accountant_that_is_set_back_between_rounds_is_caught():
    """The planted over-claim: a client that forgets what it took would report the epsilon of one round after every round."""
    job = a_job(privacy=RECORDS, learning={"epochs": 1}, rounds=3)

    def forgetful(grid: Loopback) -> Any:
        def forget(message: Message, reply: Message) -> Message:
            kept = grid.contexts[2].state[MEMORY]
            kept["steps"] = 0
            return reply

        return Tampered(grid, forget, {2})

    with pytest.raises(PrivacyRefused, match="set back"):
        federate(job, shares(all_records(job), 3), grid=forgetful)


def test_the_claim_counts_the_steps_of_all_rounds():
    job = a_job(privacy=RECORDS, rounds=5)
    generator, _ = job.built()
    claim = claim_of(job, plan_of(job, generator), 100.0)
    one_round = [m.model_copy(update={"steps": m.steps // 5}) if isinstance(m, SampledGaussian) else m for m in claim.mechanisms]
    assert claim.epsilon <= 3.0
    assert epsilon_prv(one_round, 1e-5) < 0.75 * claim.epsilon


def test_canaries_live_through_all_rounds():
    job = a_job(privacy={"epsilon": 3.0, "canaries": 200}, learning={"epochs": 2}, rounds=3)
    server, _ = federate(job, shares(all_records(job), 3))
    found = server.canaries()
    gradients = [record for record in found if record.what == "gradients of made"]
    counts = [record for record in found if record.what != "gradients of made"]
    assert len(gradients) % 3 == 0 and len(counts) == 3
    scores = np.concatenate([np.array(record.scores) for record in gradients])
    included = np.concatenate([np.array(record.included) for record in gradients])
    generator, _ = job.built()
    _, steps = private_of(job).planner.pace(generator, recipe_of(generator, job))
    noise = next(one for one in plan_of(job, generator) if isinstance(one, SampledGaussian)).noise_multiplier
    assert scores[~included].std() == pytest.approx(noise * math.sqrt(steps), rel=0.2)  # the noise of every step of every round
    assert all(0 < record.total_variation <= 1 for record in found)


# -- of clients ----------------------------------------------------------------------------------------------------------------------

CLIENTS = {"epsilon": 3.0}


def test_the_plan_for_clients_keeps_to_its_epsilon_and_claims_amplification_only_for_sampled_clients():
    plans = {}
    for share in (1.0, 0.5):
        job = a_job(privacy=CLIENTS, level="client", clients=100, rounds=10, sample=share)
        plans[share] = plan_for_clients(job, job.built()[0], job.codec.tokens)
        assert 2.9 <= epsilon_prv(plans[share], 1e-5) <= 3.0
    noise = {share: next(one.noise_multiplier for one in plan if isinstance(one, SampledGaussian)) for share, plan in plans.items()}
    assert noise[0.5] < noise[1.0]
    assert next(one.sample_rate for one in plans[1.0] if isinstance(one, SampledGaussian)) == 1.0


def test_one_client_moves_the_sum_by_at_most_the_clip_whatever_it_sends():
    before = {"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.float32)}
    for update in ({"a": np.full((2, 3), 1e6, np.float32), "b": np.ones(4, np.float32)}, {"a": before["a"], "b": before["b"] + 1e-3}):
        change, norm = clipped(update, before, 0.7)
        size = math.sqrt(sum(float((part**2).sum()) for part in change.values()))
        assert size <= 0.7 + 1e-9 and size == pytest.approx(min(norm, 0.7))


def test_what_is_released_has_the_noise_that_was_charged_and_a_public_normaliser():
    mechanism = SampledGaussian(what="updates", noise_multiplier=2.0, sample_rate=1.0, steps=1, clip=0.5, normaliser=10.0)
    before = {"a": np.zeros(20_000, np.float32)}
    after = released({}, before, mechanism, SecureStream())
    assert after["a"].std() == pytest.approx(2.0 * 0.5 / 10, rel=0.05)  # also of a round without any client
    total = {"a": np.full(20_000, 3.0)}
    assert released(total, before, mechanism, SecureStream())["a"].mean() == pytest.approx(0.3, abs=0.01)


def test_a_clients_shares_are_bounded_whatever_it_sends():
    job = a_job(privacy=CLIENTS, level="client")
    space = job.codec.tokens
    wild = {"tokens": np.full(sum(space.sizes), 1e9), "classes": np.zeros(0)}
    bounded = within_sensitivity(wild, space)
    assert np.linalg.norm(bounded["tokens"]) <= math.sqrt(len(space.sizes)) + 1e-9


def test_level_client_trains_charges_clients_and_says_so():
    job = a_job(privacy=CLIENTS, level="client", clients=3, rounds=2, learning={"epochs": 1})
    server, generator = federate(job, shares(all_records(job), 3))
    assert server.participants == [3, 3]
    claim = claim_of(job, plan_of(job, generator), 0.0)
    assert claim.unit == "client" and claim.records_public == 3 and claim.bounded_by == "with all its records"
    assert [type(one) for one in claim.mechanisms] == [GaussianQuery, SampledGaussian]


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_where_clients_are_the_unit_nothing_tells_of_a_single_one(share: float):
    job = a_job(privacy=CLIENTS, level="client", clients=5, sample=share, quorum=0.1, learning={"epochs": 1})

    def lost(message: Message, reply: Message) -> None:
        return None

    server, _ = federate(job, shares(all_records(job), 5), grid=lambda grid: Tampered(grid, lost, {3}))
    record = server.record(simulated=True)
    assert (record.participants, record.left_out, record.served) == ((), {}, ())


def test_the_receipts_batch_is_not_the_true_one():
    """Also of a federation the number of records is nobody's business: what is printed follows from the noisy count."""

    class Unasked:
        def reserve(self, mechanisms: tuple[Mechanism, ...]) -> None:
            """Nothing to keep."""

    job = a_job(privacy={"epsilon": 0.1, "noise": "seeded", "canaries": 0}, learning={"epochs": 1})
    dataset, (generator, _) = all_records(job), job.built()
    strategy = Federated(job, np.arange(len(dataset.tokens)) % 3, Unasked(), in_process=True)
    recipe = strategy.recipe(generator)
    outcome = strategy.fit(generator, dataset, recipe, seed=0, device=torch.device("cpu"), report=lambda _: None)
    assert outcome.privacy is not None and abs(outcome.privacy.records_public - 90) > 30  # at this epsilon the count is far off
    assert outcome.batch_size == max(1, round(recipe.sample_rate * outcome.privacy.records_public / 3))
    assert outcome.trained_rows is None


def test_families_that_count_are_refused_for_level_client():
    job = a_job("markov", "text", privacy=CLIENTS, level="client")
    with pytest.raises(Unsupported, match="level client"):
        plan_of(job, job.built()[0])


def test_two_secure_rounds_of_one_seed_differ(monkeypatch: pytest.MonkeyPatch):
    job = a_job(privacy=CLIENTS, level="client", learning={"epochs": 1})
    parts = shares(all_records(job), 3)
    first, second = (federate(job, parts)[1].state_dict() for _ in range(2))
    assert any((value != second[name]).any() for name, value in first.items())
    seen: list[object] = []
    honest = central.gaussian
    monkeypatch.setattr(central, "gaussian", lambda source, n: (seen.append(source), honest(source, n))[1])
    federate(job, parts)
    assert seen and all(isinstance(source, SecureStream) for source in seen)


def test_what_travels_holds_no_secret():
    job = a_job(privacy=RECORDS)
    assert "canaries" in json.dumps(job.document()) and set(job.document()) == {
        "generator",
        "learning",
        "privacy",
        "federation",
        "records",
        "seed",
        "training",
    }
