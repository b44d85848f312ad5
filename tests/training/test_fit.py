"""The training stage and the ledger: which entry stands before the records are read, and what stays when training stops."""

import warnings

import numpy as np
import pandas as pd
import pytest

import guardrail
from guardrail.data.cast import cast
from guardrail.data.fingerprint import fingerprint
from guardrail.data.material import Material
from guardrail.registry.ledger import Ledger
from guardrail.training.contract import Recipe
from guardrail.training.fit import Settings, train
from guardrail.training.plain import Plain
from guardrail.vocabulary.errors import BudgetExceeded
from guardrail.vocabulary.schema import Schema
from guardrail.vocabulary.spec import GeneratorSpec, PrivacySpec, TrainingSpec

DATA = "hmac-sha256:" + "a" * 64
PARENT = "hmac-sha256:" + "b" * 64
SCHEMA = Schema.model_validate(
    {
        "declared_by": "this test",
        "columns": {"age": {"kind": "integer", "low": 0, "high": 9}, "colour": {"kind": "categorical", "categories": ["red", "blue"]}},
    }
)
PRIVACY = {"plain": None, "seeded": PrivacySpec(epsilon=2, noise="seeded"), "secure": PrivacySpec(epsilon=2)}
UNBOUNDED = {"plain": "no privacy", "seeded": "seeded noise"}


def material(n: int = 60, data: str = DATA) -> Material:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(0, 10, n), "colour": rng.choice(["red", "blue"], n)})
    return Material(SCHEMA, cast(frame, SCHEMA), None, data)


def trained(home, privacy: str, *, generator="marginals", report=lambda _: None, tell=lambda _: None, data=DATA, parent=None):
    settings = Settings(
        GeneratorSpec(name=generator), TrainingSpec(epochs=1, device="cpu"), PRIVACY[privacy], 0.0, name="clinic", parent=parent
    )
    return train(material(data=data), settings, home=home, report=report, tell=tell)


@pytest.mark.parametrize("privacy", UNBOUNDED)
def test_a_training_that_no_epsilon_bounds_says_so_in_the_ledger(own_home, privacy):
    receipt = trained(own_home, privacy).receipt
    summary = Ledger(own_home).summary(DATA)
    (entry,) = summary.entries
    assert receipt.ledger == f"{own_home.id}/1"
    assert (entry.epsilon, entry.reason, entry.unit, entry.what) == (None, UNBOUNDED[privacy], "row", "train marginals (clinic)")
    assert summary.groups == () and summary.uncovered
    assert receipt.privacy is None or not receipt.privacy.valid


def test_a_private_training_spends_its_epsilon_and_nothing_of_no_bound(own_home):
    receipt = trained(own_home, "secure").receipt
    summary = Ledger(own_home).summary(DATA)
    assert receipt.ledger == f"{own_home.id}/1" and summary.unbounded == 0
    assert summary.entries[0].epsilon == 2 and summary.entries[0].state == "spent"
    assert receipt.privacy is not None and receipt.privacy.valid


@pytest.mark.parametrize("privacy", UNBOUNDED)
def test_limited_data_refuse_it_before_the_first_step(own_home, privacy):
    Ledger(own_home).limit(DATA, 100)
    steps = []
    for data, parent in ((DATA, None), (PARENT, DATA)):
        with pytest.raises(BudgetExceeded, match="no limit has room"):
            trained(own_home, privacy, generator="made", report=steps.append, data=data, parent=parent)
    assert steps == [] and Ledger(own_home).entries(DATA) == ()
    assert trained(own_home, "secure").receipt.ledger


def test_a_refused_plain_training_leaves_the_records_unread():
    class Refusing:
        def reserve(self, mechanisms):
            assert mechanisms == ()
            raise PermissionError("no budget")

    class Unreadable:
        def __getattribute__(self, name):
            raise AssertionError(f"{name} was read")

    with pytest.raises(PermissionError):
        Plain(Refusing()).fit(
            Unreadable(),
            Unreadable(),
            Recipe(epochs=1, sample_rate=1, learning_rate=0.1, clip=1),
            seed=0,
            device="cpu",
            report=lambda _: None,
        )


STAYS = {
    "plain": "a training without privacy began",
    "seeded": "a training with seeded noise began",
    "secure": "epsilon 2 at delta 1e-05 was reserved",
}


@pytest.mark.parametrize("privacy", PRIVACY)
def test_whoever_interrupts_is_told_what_stays_and_it_does(own_home, privacy):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupted:
        trained(own_home, privacy, generator="made", report=stop)
    message = str(interrupted.value)
    assert "no model was written" in message and STAYS[privacy] in message and "guardrail budget" in message
    assert ("epsilon" in message) == (privacy == "secure")
    (entry,) = Ledger(own_home).entries(DATA)
    assert entry.epsilon == (2 if privacy == "secure" else None)


def test_the_ledgers_words_reach_the_user_before_the_first_step(own_home):
    told = []
    trained(own_home, "plain", tell=told.append)
    assert told == []
    trained(own_home, "secure", generator="made", tell=told.append, report=lambda _: told.append("a step"))
    assert "1 training without privacy: no epsilon covers this data set as a whole" in told[0] and told[-1] == "a step"


def test_in_python_the_ledgers_words_are_warnings(own_home):
    frame = material(200).train
    with warnings.catch_warnings(record=True) as quiet:
        warnings.simplefilter("always")
        guardrail.fit(frame, schema=SCHEMA, generator="marginals")
    assert not [warning for warning in quiet if "epsilon" in str(warning.message)]
    with pytest.warns(UserWarning, match="no epsilon covers this data set"):
        guardrail.fit(frame, schema=SCHEMA, generator="marginals", epsilon=1)


def test_python_refuses_plain_training_on_limited_data(own_home):
    frame = material(200).train
    Ledger(own_home).limit(fingerprint(frame, own_home.key()), 5)
    with pytest.raises(BudgetExceeded, match=r"epsilon=…"):
        guardrail.fit(frame, schema=SCHEMA, generator="marginals")
    assert guardrail.fit(frame, schema=SCHEMA, generator="marginals", epsilon=1).receipt.ledger
