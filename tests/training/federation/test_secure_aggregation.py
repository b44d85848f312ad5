"""Sums under masks: equal to plain ones, through every dropout, and closed where too few are left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from guardrail.training.federation import masks
from guardrail.training.federation.federated import part_of
from guardrail.training.federation.masks import Masker, PublicKeys, keystream, masker_of, quantised, restored, step_for, written
from guardrail.training.federation.secure_sum import SecureSum, neighbours
from guardrail.training.federation.wire import Reply, read
from guardrail.vocabulary.errors import FederationFailed, GuardrailError, SpecError
from guardrail.vocabulary.spec import MOST_MASKED
from tests.training.federation.small import a_job, all_records, federate, shares
from tests.training.federation.test_rounds import Tampered

STEP = step_for(8.0)
SIZES = {"a": (3, 2), "b": (5,)}


class Clients:
    """Clients that hold a vector each; `gone[kind]` do not answer that message, nor any after it. All that they send is kept."""

    def __init__(self, n: int, gone: Mapping[str, set[int]] | None = None) -> None:
        rng = np.random.default_rng(n)
        self.vectors = {i: {name: rng.normal(size=shape) for name, shape in SIZES.items()} for i in range(n)}
        self.gone = dict(gone or {})
        self.maskers: dict[int, str] = {}
        self.sent: dict[str, dict[int, Any]] = {}
        self._lost: set[int] = set()

    def ask(self, kind: str, requests: Mapping[int, Any]) -> dict[int, Reply]:
        self._lost |= self.gone.get(kind, set())
        found = {number: self.answer(kind, number, facts) for number, (_, facts) in requests.items() if number not in self._lost}
        self.sent[kind] = found
        return found

    def answer(self, kind: str, number: int, facts: Mapping[str, Any]) -> Reply:
        if kind == "query.keys":
            masker = Masker(facts["session"], number)
            self.maskers[number] = written(masker)
            return Reply(facts={key: value.hex() for key, value in vars(masker.public()).items()})
        masker = masker_of(self.maskers[number])
        if kind == "query.shares":
            peers = {int(peer): PublicKeys(*map(bytes.fromhex, keys)) for peer, keys in facts["peers"].items()}
            said = Reply(facts={"sealed": {str(n): box.hex() for n, box in masker.share(peers, facts["threshold"]).items()}})
        elif kind == "train.masked":
            inbox = {int(peer): bytes.fromhex(box) for peer, box in facts["inbox"].items()}
            said = Reply(masker.masked(self.vectors[number], inbox, facts["step"]))
        else:
            said = Reply(facts={"shares": {str(n): share.hex() for n, share in masker.unmask(facts["alive"], facts["gone"]).items()}})
        self.maskers[number] = written(masker)
        return said


def total_of(clients: Clients) -> tuple[dict[str, np.ndarray], set[int]]:
    sums = SecureSum(range(len(clients.vectors)), clients.ask, STEP)
    return sums.of("train", {}, {}), set(sums.facts)


def truth(clients: Clients, there: set[int]) -> dict[str, np.ndarray]:
    return {name: np.sum([clients.vectors[i][name] for i in there], axis=0) for name in SIZES}


@pytest.mark.parametrize("n", [3, 4, 7, 60])
def test_the_sum_is_the_plain_one_within_the_steps(n: int):
    clients = Clients(n)
    total, there = total_of(clients)
    assert there == set(range(n))
    for name, value in truth(clients, there).items():
        assert np.abs(total[name] - value).max() <= n * STEP


@pytest.mark.parametrize("kind", ["query.keys", "query.shares", "train.masked", "query.unmask"])
@pytest.mark.parametrize("n", [7, 60])
def test_who_drops_out_at_any_stage_is_survived(kind: str, n: int):
    clients = Clients(n, {kind: {1, 4}})
    total, there = total_of(clients)
    assert there == set(range(n)) - (set() if kind == "query.unmask" else {1, 4})  # a vector that came before stays in
    for name, value in truth(clients, there).items():
        assert np.abs(total[name] - value).max() <= n * STEP


def test_dropouts_at_several_stages_of_one_round():
    clients = Clients(12, {"query.keys": {0}, "query.shares": {1}, "train.masked": {2}, "query.unmask": {3}})
    total, there = total_of(clients)
    assert there == set(range(3, 12))
    assert np.allclose(total["a"], truth(clients, there)["a"])


@pytest.mark.parametrize("kind", ["query.keys", "query.shares", "train.masked", "query.unmask"])
def test_below_the_threshold_the_round_fails_closed(kind: str):
    with pytest.raises(FederationFailed, match="secure aggregation"):
        total_of(Clients(7, {kind: {0, 1, 2, 3, 4}}))


def test_two_clients_are_refused():
    with pytest.raises(FederationFailed, match="the other's vector"):
        total_of(Clients(2))


def test_what_a_client_sends_tells_nothing_of_its_vector():
    """Of two runs with very different vectors the masked ones look alike: uniform over all 64 bits."""
    clients = Clients(3)
    clients.vectors[0] = {"a": np.zeros((3, 2)), "b": np.full(5, 7.9)}
    total_of(clients)
    seen = np.concatenate([part.ravel() for part in clients.sent["train.masked"][0].arrays.values()])
    assert seen.dtype == np.uint64 and len(set(seen.tolist())) == len(seen)
    many = keystream(b"k" * 32, b"a", 100_000)
    assert abs((many >> np.uint64(63)).mean() - 0.5) < 0.01 and abs((many & np.uint64(1)).mean() - 0.5) < 0.01


def test_the_whole_key_decides_the_mask():
    """A generator that folds its key to 32 bits gives the same mask to keys whose words cancel (as Flower 1.41's does)."""
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    word = bytes(range(1, 5))
    one, other = word * 2 + bytes(24), bytes(32)
    folded = [pseudo_rand_gen(key, 2**31, [(8,)])[0] for key in (one, other)]
    assert (folded[0] == folded[1]).all()  # the fault that this test is about
    assert not (keystream(one, b"x", 8) == keystream(other, b"x", 8)).any()
    assert not (keystream(one, b"x", 8) == keystream(one, b"y", 8)).any()


def test_a_number_that_does_not_fit_is_refused_with_the_range_that_would_hold_it():
    with pytest.raises(SpecError, match="a range of 16 would hold"):
        quantised(np.array([0.0, 8.5]), STEP)
    with pytest.raises(SpecError, match="no number"):
        quantised(np.array([np.nan]), STEP)
    edge = np.array([-8.0, 8.0, 0.0, 1e-12])
    assert np.allclose(restored(quantised(edge, STEP), STEP), edge, atol=STEP)


def test_as_many_clients_as_a_spec_may_have_do_not_wrap():
    total = quantised(np.array([8.0, -8.0]), STEP) * np.uint64(MOST_MASKED)  # all of them at the very edge
    assert np.allclose(restored(total, STEP), [8.0 * MOST_MASKED, -8.0 * MOST_MASKED])
    with pytest.raises(ValueError, match="secure_aggregation is for 3 to"):
        a_job(clients=MOST_MASKED + 1, secure_aggregation=True)


# -- what a client refuses -----------------------------------------------------------------------------------------------------------


def three() -> tuple[list[Masker], list[dict[int, bytes]]]:
    maskers = [Masker("s", i) for i in range(3)]
    keys = {masker.number: masker.public() for masker in maskers}
    sealed = [masker.share({n: k for n, k in keys.items() if n != masker.number}, 2) for masker in maskers]
    return maskers, [{peer: sealed[peer][i] for peer in range(3) if peer != i} for i in range(3)]


def test_both_shares_of_one_client_are_never_given():
    maskers, boxes = three()
    maskers[0].masked({"a": np.zeros(2)}, boxes[0], STEP)
    with pytest.raises(FederationFailed, match="both shares"):
        maskers[0].unmask([0, 1, 2], [1])


def test_shares_are_given_once_and_not_while_few_are_left():
    maskers, boxes = three()
    for i in (0, 1):
        maskers[i].masked({"a": np.zeros(2)}, boxes[i], STEP)
    with pytest.raises(FederationFailed, match="fewer are left"):
        maskers[0].unmask([0], [1, 2])
    maskers[1].unmask([0, 1, 2], [])
    with pytest.raises(FederationFailed, match="out of turn"):
        maskers[1].unmask([0, 1], [2])


def test_a_session_masks_one_vector_once():
    maskers, boxes = three()
    maskers[0].masked({"a": np.zeros(2)}, boxes[0], STEP)
    with pytest.raises(FederationFailed, match="out of turn"):
        maskers[0].masked({"a": np.ones(2)}, boxes[0], STEP)


def _own_key_again(keys: dict[int, PublicKeys], own: PublicKeys) -> dict[int, PublicKeys]:
    return {**keys, 1: own}


def _one_key_twice(keys: dict[int, PublicKeys], own: PublicKeys) -> dict[int, PublicKeys]:
    return {**keys, 1: keys[2]}


@pytest.mark.parametrize("wrong", [_own_key_again, _one_key_twice])
def test_keys_that_come_twice_are_refused(wrong: Callable[..., dict[int, PublicKeys]]):
    maskers = [Masker("s", i) for i in range(3)]
    keys = {i: maskers[i].public() for i in (1, 2)}
    with pytest.raises(FederationFailed, match="the same key"):
        maskers[0].share(wrong(keys, maskers[0].public()), 2)


def test_a_threshold_of_half_is_refused():
    maskers = [Masker("s", i) for i in range(4)]
    with pytest.raises(FederationFailed, match="more than half"):
        maskers[0].share({i: maskers[i].public() for i in (1, 2, 3)}, 2)


def test_shares_of_another_client_session_or_hand_are_refused():
    maskers, boxes = three()
    swapped = {1: boxes[0][2], 2: boxes[0][1]}
    with pytest.raises(FederationFailed, match="not what it sent"):
        maskers[0].masked({"a": np.zeros(2)}, swapped, STEP)
    maskers, boxes = three()
    broken = {**boxes[0], 1: boxes[0][1][:-1] + bytes([boxes[0][1][-1] ^ 1])}
    with pytest.raises(FederationFailed, match="not what it sent"):
        maskers[0].masked({"a": np.zeros(2)}, broken, STEP)


def test_a_key_that_is_none_is_refused():
    maskers, boxes = three()
    maskers[0].peers[1] = PublicKeys(bytes(32), bytes(32))
    with pytest.raises(FederationFailed):
        maskers[0].masked({"a": np.zeros(2)}, boxes[0], STEP)


def test_neighbours_are_mutual_and_few():
    for n in (3, 5, 30, 400):
        ring, threshold = neighbours(range(n))
        assert all(i in ring[j] for i in ring for j in ring[i]) and all(i not in ring[i] for i in ring)
        degree = {len(others) for others in ring.values()}
        assert len(degree) == 1
        (d,) = degree
        assert (d + 1) / 2 < threshold <= d + 1
    assert d < 60  # of 400: it grows with the logarithm


# -- in a training -------------------------------------------------------------------------------------------------------------------


def test_a_training_under_masks_is_the_plain_one():
    learning = {"epochs": 2}
    whole = all_records(a_job())
    owners = np.repeat([0, 1, 2, 3], [50, 20, 10, 10])
    parts = [part_of(whole, owners == number) for number in range(4)]  # weighed by their records, which are under masks as well
    models = []
    for secure in (False, True):
        job = a_job(learning=learning, clients=4, secure_aggregation=secure)
        models.append(federate(job, parts)[1].state_dict())
    for name, value in models[0].items():
        assert np.allclose(value, models[1][name], atol=1e-5), name


def test_the_server_sees_no_clients_update_and_no_loss():
    job = a_job(learning={"epochs": 1}, clients=3, secure_aggregation=True)
    seen: list[tuple[Any, Any]] = []

    class Watched(Tampered):
        def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
            found = [self._grid.deliver(message) for message in messages]
            seen.extend(read(reply.content) for reply in found)
            return found

    server, _ = federate(job, shares(all_records(job), 3), grid=lambda grid: Watched(grid, None))
    assert server.participants == [3, 3]
    arrays = [array for part, _ in seen for array in part.values()]
    assert arrays and all(array.dtype == np.uint64 for array in arrays)
    assert all("loss" not in facts and "weight" not in facts for _, facts in seen)


@pytest.mark.parametrize("level", ["record", "client"])
def test_masks_and_privacy_go_together(level: str):
    job = a_job(privacy={"epsilon": 5, "canaries": 0}, level=level, learning={"epochs": 1}, clients=4, secure_aggregation=True)
    server, generator = federate(job, shares(all_records(job), 4))
    assert server.participants == [4, 4]
    assert all(bool(value.isfinite().all()) for value in generator.state_dict().values())


def test_a_family_that_counts_runs_is_refused_under_masks():
    job = a_job("markov", "text", secure_aggregation=True)
    with pytest.raises(GuardrailError, match="cannot be hidden in a sum"):
        federate(job, shares(all_records(job, "text"), 3))


def test_a_client_whose_numbers_do_not_fit_says_so(monkeypatch: pytest.MonkeyPatch):
    job = a_job(learning={"epochs": 1}, secure_aggregation=True)
    monkeypatch.setattr("guardrail.training.federation.server.LARGEST_CHANGE", 2.0**-30)
    with pytest.raises(GuardrailError, match="a range of"):
        federate(job, shares(all_records(job), 3))


def test_secrets_of_a_session_do_not_travel():
    maskers, boxes = three()
    text = written(maskers[0])
    again = masker_of(text)
    assert vars(again) == vars(maskers[0])
    for box in boxes[1].values():
        assert maskers[0].own not in box and maskers[0].mask not in box
    assert masks.KEY == 32
