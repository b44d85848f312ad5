"""Conditions, balance and beginnings: what is asked for holds in what comes, and what cannot be asked for is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from guardrail.data.material import Material
from guardrail.registry.home import Home
from guardrail.run.ask import parse_where, sample_balanced, sample_where
from guardrail.training.fit import Settings, train
from guardrail.training.model import Model
from guardrail.vocabulary.errors import InputError, SpecError, UnknownName, Unsupported
from guardrail.vocabulary.spec import GeneratorSpec, TrainingSpec
from tests.contracts.worlds import WORLDS


def fitted(home: Home, name: str, modality: str, epochs: int) -> Model:
    material = Material(WORLDS[modality].schema, WORLDS[modality].records(400), None, "hmac-sha256:test")
    settings = Settings(GeneratorSpec(name=name), TrainingSpec(epochs=epochs, device="cpu"), None, holdout=0.0)
    return train(material, settings, home=home, report=lambda _: None)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return fitted(Home(tmp_path_factory.mktemp("home")), "made", "tabular", 10)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return fitted(Home(tmp_path_factory.mktemp("home")), "lstm", "text", 10)


def test_every_row_meets_every_condition(table: Model):
    rows = sample_where(table, 60, {"colour": "red", "number": "-1..2", "label": "true"}, seed=1)
    assert len(rows) == 60 and (rows["colour"] == "red").all() and rows["number"].between(-1, 2).all() and rows["label"].all()


def test_conditioning_by_drawing_keeps_the_model_s_own_shares(table: Model):
    """Rejection is exact: within the condition the other columns fall as they do in plain samples."""
    plain = table.sample(20_000, seed=3)
    asked = sample_where(table, 4000, {"label": "true"}, seed=4)
    expected = (plain.loc[plain["label"].astype(bool), "colour"] == "red").mean()
    assert abs((asked["colour"] == "red").mean() - expected) < 0.03


def test_balance_gives_every_combination_the_same_number_of_rows(table: Model):
    rows = sample_balanced(table, 63, ["label", "size"], seed=2)
    counts = rows.groupby(["label", "size"], observed=True).size()
    assert len(rows) == 63 and len(counts) == 6 and counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("where", "said", "error"),
    [
        ({"number": "7"}, "a number in", SpecError),
        ({"number": "low..2"}, "two numbers", SpecError),
        ({"color": "red"}, "did you mean 'colour'", UnknownName),
        ({"colour": "purple"}, "expected", SpecError),
        ({"day": "2020-01-01", "number": "4.9..5", "whole": "3", "label": "false"}, "too rare", InputError),
    ],
)
def test_what_cannot_be_meant_is_refused(table: Model, where: dict[str, str], said: str, error: type[Exception]):
    with pytest.raises(error, match=said):
        sample_where(table, 50, where, seed=0)


def test_only_columns_with_categories_are_balanced(table: Model):
    with pytest.raises(SpecError, match="only columns with categories"):
        sample_balanced(table, 10, ["number"], seed=0)


@pytest.mark.parametrize(("items", "said"), [(("label",), "COLUMN=VALUE"), (("a=1", "a=2"), "twice"), (("=3",), "COLUMN=VALUE")])
def test_conditions_are_written_as_column_equals_value(items: tuple[str, ...], said: str):
    with pytest.raises(SpecError, match=said):
        parse_where(items)


def test_a_value_may_hold_an_equals_sign():
    assert parse_where(("text=a=b", "label=x")) == {"text": "a=b", "label": "x"}


def test_a_text_goes_on_from_its_beginning(texts: Model):
    rows = sample_where(texts, 12, {"text": "ab", "label": "b"}, seed=5)
    assert rows["text"].str.startswith("ab").all() and rows["text"].nunique() > 1


def test_a_class_asked_for_is_in_every_record(texts: Model):
    rows = sample_where(texts, 12, {"label": "b"}, seed=5)
    assert (rows["label"] == "b").all() and (rows["text"].str[:1] == "b").mean() > 0.7  # the class says the first letter


def test_classes_come_in_the_training_data_s_shares_where_none_is_asked_for(texts: Model):
    shares = texts.sample(2000, seed=1)["label"].value_counts(normalize=True)
    real = WORLDS["text"].records(400)["label"].value_counts(normalize=True)
    assert np.abs(shares - real).max() < 0.05


def test_a_family_without_classes_says_who_has_them(tmp_path):
    model = fitted(Home(tmp_path), "markov", "text", 1)
    with pytest.raises(Unsupported, match=r"families that can: .*lstm"):
        sample_where(model, 3, {"label": "a"}, seed=0)


def test_what_a_model_of_texts_cannot_be_asked_for_is_named(texts: Model):
    with pytest.raises(SpecError, match="can be asked for text, label"):
        sample_where(texts, 3, {"author": "x"}, seed=0)
