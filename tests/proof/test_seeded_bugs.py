"""Bugs that have made privacy claims false elsewhere, planted here one at a time: each has a check that it cannot pass.

A check is one of the suite's own tests, or a training that is attacked and whose receipt is read. Every check is seen to hold
without the bug and to fail with it; so whoever weakens a test learns here what it was for.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from guardrail.data import material
from guardrail.generators import cyclegan
from guardrail.privacy_accounting.receipts import read_receipt
from guardrail.registry.books import Books
from guardrail.registry.home import Home
from guardrail.training import accounting, bookkeeping, clipping, layer_rules, noisy_counts, private, private_plan, private_turn, secure
from guardrail.training.contract import Batch
from guardrail.training.private_turn import PrivateTurn
from guardrail.training.secure import SeededStream, Stream
from guardrail.vocabulary.errors import GuardrailError
from guardrail.vocabulary.receipt import Mechanism, SampledGaussian
from tests.contracts import test_generators
from tests.data import test_fingerprint, test_material
from tests.proof.faults import FAULTS, attacked, trained, weakened
from tests.registry import test_ledger
from tests.training import test_layer_rules, test_noisy_counts, test_private

Check = Callable[[], None]


@dataclass(frozen=True)
class Bug:
    plant: Callable[[], AbstractContextManager[Any]]
    caught_by: Check


@contextmanager
def in_doubles() -> Iterator[None]:
    torch.manual_seed(0)
    with test_generators.doubles():
        yield


@contextmanager
def a_home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory() as folder:
        yield Home(Path(folder) / "home")


FIXTURES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "doubles": in_doubles,
    "home": a_home,
    "monkeypatch": pytest.MonkeyPatch.context,
}


def holds(function: Callable[..., None], *arguments: Any) -> Check:
    """One of the suite's own, with what it takes from fixtures; nothing that an earlier run left in a cache."""

    def check() -> None:
        test_private.fitted_once.cache_clear()
        with ExitStack() as stack:
            if function.__module__ == test_layer_rules.__name__:
                stack.enter_context(in_doubles())  # a fixture of all its tests
            given = {name: stack.enter_context(make()) for name, make in FIXTURES.items() if name in inspect.signature(function).parameters}
            function(*arguments, **given)

    return check


def attack() -> None:
    assert attacked("made", "tabular", epsilon=1.0)["privacy.claim"].value == 0


def receipt() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "receipt.json"
        file.write_text(json.dumps(trained("made", "tabular", epsilon=1.0).receipt.model_dump(mode="json")))
        assert read_receipt(file).privacy is not None


def two_readers_cost_what_was_asked() -> None:
    strategy = test_private.strategy(test_private.Bookkeeping())
    plan = strategy.planner.of(2, {"one": test_private.Regression(), "other": test_private.Regression()}, 1.0, 0.1, 100)
    assert accounting.epsilon_prv(plan, strategy._privacy.delta) <= strategy._privacy.epsilon


honest_noise = private_turn._NoisyOptimizer._noisy


class Shuffled:
    """Every record once an epoch, in batches of one size."""

    def __init__(self) -> None:
        self._left = torch.empty(0, dtype=torch.int64)

    def __call__(self, stream: Stream, records: int, rate: float) -> Tensor:
        size = max(1, round(rate * records))
        if len(self._left) < size:
            self._left = torch.randperm(records)
        batch, self._left = self._left[:size], self._left[size:]
        return batch


class Shared:
    """Every second call gets what the first one got."""

    def __init__(self) -> None:
        self._kept: Tensor | None = None

    def __call__(self, stream: Stream, records: int, rate: float) -> Tensor:
        if self._kept is not None:
            batch, self._kept = self._kept, None
            return batch
        self._kept = secure.poisson_batch(stream, records, rate)
        return self._kept


def no_noise_on_empty_batches(self: private_turn._NoisyOptimizer, sums: list[Tensor]) -> list[Tensor]:
    return honest_noise(self, sums) if any(part.any() for part in sums) else sums


def no_noise_on_the_last_parameter(self: private_turn._NoisyOptimizer, sums: list[Tensor]) -> list[Tensor]:
    return [*honest_noise(self, sums[:-1]), sums[-1]]


def noise_that_forgets_the_clip(self: private_turn._NoisyOptimizer, sums: list[Tensor]) -> list[Tensor]:
    with mock.patch.object(self, "max_grad_norm", 0.1):
        return honest_noise(self, sums)


def unrounded(self: private_turn._NoisyOptimizer, sums: list[Tensor]) -> list[Tensor]:
    with mock.patch.object(private_turn, "GRID", 2.0**-60):
        return honest_noise(self, sums)


def not_a_number_counts_as_small(self: PrivateTurn, chunk: Batch) -> list[Tensor]:
    _, norms = self._measured(chunk)
    return self._ways[0].weighted_sum((self._clip / (norms + 1e-6)).clamp(max=1.0).nan_to_num(1.0))


def backwards(self: clipping.OnePass, factors: Tensor) -> list[Tensor]:
    return [-total for total in self._notes.weighted_sum(factors, self._parameters)]


def ownerless(rule: layer_rules.Rule) -> layer_rules.Rule:
    """A layer whose weights have no part in the norm."""

    def owed(layer: Any, uses: Any) -> layer_rules.Owed:
        found = rule(layer, uses)
        return found._replace(squares=torch.zeros_like(found.squares))

    return owed


def by_position(inputs: Tensor, gradients: Tensor) -> Tensor:
    """As if the parts of a sequence's gradient stood at right angles."""
    return (inputs.square().sum(2) * gradients.square().sum(2)).sum(1)


def first_reader_only(at: Callable[[float], list[Mechanism]], *, epsilon: float, delta: float) -> float:
    def fewer(noise: float) -> list[Mechanism]:
        plan = at(noise)
        gradients = [mechanism for mechanism in plan if isinstance(mechanism, SampledGaussian)]
        return [mechanism for mechanism in plan if mechanism not in gradients[1:]]

    return accounting.calibrate(fewer, epsilon=epsilon, delta=delta)


def half_the_steps(plan: list[Mechanism], normaliser: float) -> tuple[Mechanism, ...]:
    return tuple(m.model_copy(update={"steps": m.steps // 2}) if isinstance(m, SampledGaussian) else m for m in plan)


def settled_only(self: Books, names: set[str]) -> tuple[Any, ...]:
    return tuple(self._entry(number, entry) for number, entry in self.reserved.items() if entry.data in names and number in self.settled)


@contextmanager
def ledger_asked_last() -> Iterator[None]:
    honest = private.Private.fit

    def fit(self: private.Private, *arguments: Any, **settings: Any) -> Any:
        spending, self._spending = self._spending, mock.Mock()
        outcome = honest(self, *arguments, **settings)
        spending.reserve(outcome.privacy.mechanisms if outcome.privacy else ())
        return outcome

    with mock.patch.object(private.Private, "fit", fit):
        yield


@contextmanager
def unkeyed() -> Iterator[None]:
    """Hashes that whoever guesses the records can compute."""
    with mock.patch("hmac.digest", lambda key, message, name: hashlib.sha256(message).digest()):
        yield


def replaced(where: Any, name: str, by: Any) -> Callable[[], AbstractContextManager[Any]]:
    """`by` may be a class, of which every planting gets its own."""
    return lambda: mock.patch.object(where, name, by() if isinstance(by, type) else by)


BUGS: dict[str, Bug] = {
    "no noise": Bug(FAULTS["noise off"], attack),
    "half the noise": Bug(FAULTS["noise halved"], attack),
    "one layer is not clipped": Bug(FAULTS["clip skipped on one layer"], attack),
    "the gradient's sign": Bug(
        replaced(clipping.OnePass, "weighted_sum", backwards),
        holds(test_generators.test_without_clip_and_noise_the_private_step_is_the_plain_one, "dcgan", "image"),
    ),
    "batch normalisation": Bug(
        replaced(cyclegan, "group_norm", lambda channels: nn.BatchNorm2d(channels)),
        holds(test_generators.test_changing_record_0_moves_no_other_loss, "cyclegan", "image"),
    ),
    "batches are shuffled, not sampled": Bug(
        replaced(private, "poisson_batch", Shuffled), holds(test_private.test_batches_are_poisson_and_not_shuffled_or_cut_to_size)
    ),
    "large batches are cut": Bug(
        replaced(private, "poisson_batch", lambda *asked: secure.poisson_batch(*asked)[:3]),
        holds(test_private.test_batches_are_poisson_and_not_shuffled_or_cut_to_size),
    ),
    "two players share a batch": Bug(replaced(private, "poisson_batch", Shared), holds(test_private.test_two_players_never_share_a_batch)),
    "losses of shape (records, 1)": Bug(
        replaced(PrivateTurn, "_losses", lambda self, chunk: self.player.losses(chunk)),
        holds(test_private.test_a_loss_of_the_wrong_shape_is_refused_before_it_can_broadcast),
    ),
    "no noise on empty batches": Bug(
        replaced(private_turn._NoisyOptimizer, "_noisy", no_noise_on_empty_batches),
        holds(test_private.test_an_empty_batch_still_takes_a_noisy_step),
    ),
    "no noise on one parameter": Bug(
        replaced(private_turn._NoisyOptimizer, "_noisy", no_noise_on_the_last_parameter),
        holds(test_private.test_noise_has_the_promised_deviation_and_the_public_normaliser),
    ),
    "noise that forgets the clip": Bug(
        replaced(private_turn._NoisyOptimizer, "_noisy", noise_that_forgets_the_clip),
        holds(test_private.test_noise_has_the_promised_deviation_and_the_public_normaliser),
    ),
    "low-order bits that tell": Bug(
        replaced(private_turn._NoisyOptimizer, "_noisy", unrounded),
        holds(test_private.test_noisy_sums_lie_on_a_grid_that_no_record_had_a_say_in),
    ),
    "a norm that is no number counts as small": Bug(
        replaced(PrivateTurn, "_clipped_chunk", not_a_number_counts_as_small),
        holds(test_private.test_a_record_without_a_finite_gradient_contributes_nothing_and_poisons_nobody),
    ),
    "an embedding has no part in the norm": Bug(
        lambda: mock.patch.dict(layer_rules.RULES, {nn.Embedding: ownerless(layer_rules.RULES[nn.Embedding])}),
        holds(test_generators.test_clipped_sum_equals_the_loop_of_one, "lstm", "text", False),
    ),
    "a person's records are clipped one by one": Bug(
        replaced(bookkeeping, "_apart", lambda use, each: [type(use)(*(t[::each] if isinstance(t, Tensor) else t for t in use))]),
        holds(test_generators.test_clipped_sum_equals_the_loop_of_one, "made", "tabular", True),
    ),
    "a sequence's norm by position": Bug(
        replaced(layer_rules, "_gram_squares", by_position),
        holds(test_layer_rules.test_a_rule_equals_the_loop_of_one, "linear on a short sequence of wide vectors"),
    ),
    "a bias's norm by the last position": Bug(
        replaced(layer_rules, "_over_positions", lambda values: values[:, -1]),
        holds(test_layer_rules.test_a_rule_equals_the_loop_of_one, "linear on a plane"),
    ),
    "epsilon at another delta": Bug(
        replaced(private, "epsilon_prv", lambda mechanisms, delta: accounting.epsilon_prv(mechanisms, 100 * delta)), receipt
    ),
    "two players are charged as one": Bug(replaced(private_plan, "calibrate", first_reader_only), two_readers_cost_what_was_asked),
    "the receipt counts half the steps": Bug(
        replaced(private.Private, "_normalised", staticmethod(half_the_steps)),
        holds(test_private.test_the_claim_is_what_was_reserved_and_at_most_what_was_asked),
    ),
    "noise from a seed": Bug(
        replaced(private, "SecureStream", lambda: SeededStream(np.random.default_rng(0))),
        holds(test_private.test_two_secure_runs_of_one_seed_differ_and_two_seeded_runs_do_not),
    ),
    "counts without noise": Bug(
        replaced(noisy_counts, "gaussian", weakened(1e-9)), holds(test_private.test_noisy_counts_have_the_noise_of_their_sensitivity)
    ),
    "counts of all columns at the price of one": Bug(
        replaced(private_plan, "one_way_sensitivity", lambda columns: 1.0),
        holds(test_private.test_the_classes_counts_are_paid_from_the_same_total),
    ),
    "only occurring runs get noise": Bug(
        replaced(noisy_counts, "gaussian", lambda stream, n: torch.zeros(n, dtype=torch.float64)),
        holds(test_noisy_counts.test_runs_that_no_record_has_get_noise_too),
    ),
    "the secret record count as normaliser": Bug(
        replaced(noisy_counts.NoisyCounts, "records", lambda self: 400.0),
        holds(test_private.test_without_a_public_count_the_normaliser_rests_on_a_noisy_one),
    ),
    "a schema read from the records": Bug(
        replaced(material, "require_public", lambda schema, **paid: None),
        holds(test_material.test_under_privacy_no_schema_and_no_column_read_from_the_records_is_accepted),
    ),
    "the ledger is asked last": Bug(ledger_asked_last, holds(test_private.test_a_refused_reservation_leaves_the_records_unread)),
    "a killed training costs nothing": Bug(
        replaced(Books, "entries_of", settled_only), holds(test_ledger.test_epsilon_reserved_by_a_killed_process_stays_spent)
    ),
    "a fingerprint without a key": Bug(
        unkeyed,
        holds(test_fingerprint.test_a_changed_cell_a_dropped_row_a_doubled_row_a_renamed_column_and_another_key_all_show),
    ),
}


CAUGHT = (AssertionError, pytest.fail.Exception, GuardrailError, RuntimeError, LookupError, ValueError)
"""What a check does about a bug. Mistakes in the planting itself (TypeError, AttributeError, NameError) are none of these."""


@pytest.mark.filterwarnings("ignore:a record's gradient was not finite")
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_caught_and_its_check_holds_without_it(bug: str):
    planted = BUGS[bug]
    planted.caught_by()
    with planted.plant(), pytest.raises(CAUGHT):
        planted.caught_by()


def test_there_are_at_least_twenty():
    assert len(BUGS) >= 20
