"""From a source to the records of a run: faults by their row in the source, parts that nobody else moves, one row per person."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from guardrail.data.cast import cast
from guardrail.data.material import Material, gather, prepare
from guardrail.data.split import held_out, rows_of_units
from guardrail.registry.home import Home
from guardrail.vocabulary.errors import DataError, PrivacyRefused, SchemaError, SpecError
from guardrail.vocabulary.schema import Schema
from guardrail.vocabulary.spec import DataSpec, PrivacySpec

COLUMNS = {
    "age": {"kind": "integer", "low": 0, "high": 100},
    "ward": {"kind": "categorical", "categories": ["a", "b", "c"]},
    "cost": {"kind": "numeric", "low": 0, "high": 1, "missing": True},
}
SCHEMA = Schema.model_validate({"declared_by": "this test", "columns": COLUMNS})
BY_PERSON = Schema.model_validate({"declared_by": "this test", "unit": "who", "columns": COLUMNS})


def rows(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"age": rng.integers(0, 101, n), "ward": rng.choice(["a", "b", "c"], n), "cost": rng.random(n).round(3)})
    frame["cost"] = frame["cost"].where(rng.random(n) > 0.2)
    return frame


def visits(n: int = 200) -> pd.DataFrame:
    return rows(n).assign(who=[f"p{i // 4}" for i in range(n)])


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


def prepared(frame: pd.DataFrame, schema: Schema | None, home: Home, *, private: bool = False, rows_per_unit: int = 2, **data) -> Material:
    spec = DataSpec.model_validate({"source": "visits.csv", "holdout": 0.3, **data})
    privacy = PrivacySpec(epsilon=1, rows_per_unit=rows_per_unit) if private else None
    return prepare(frame, schema, spec, privacy=privacy, seed=5, home=home)


def contents(frame: pd.DataFrame) -> list[tuple]:
    return sorted(map(str, frame.itertuples(index=False, name=None)))


@pytest.mark.parametrize("row", [1, 2, 57, 113, 199, 200])
def test_a_fault_is_named_by_its_row_in_the_source_whichever_part_it_falls_into(row, home):
    frame = rows()
    frame.loc[row - 1, "ward"] = "x"
    with pytest.raises(DataError, match=rf"visits\.csv, row {row}, column 'ward': 'x'"):
        prepared(frame, SCHEMA, home)


def test_a_fault_in_a_row_that_no_person_is_represented_by_is_still_named_by_its_row(home):
    frame = visits()
    silent = int(np.flatnonzero(~counted(frame))[40])
    frame.loc[silent, "age"] = 101
    assert not counted(frame)[silent]  # the choice depends on the content, and is still another row
    with pytest.raises(DataError, match=rf"row {silent + 1}, column 'age'"):
        prepared(frame, BY_PERSON, home, private=True)


def test_rows_that_contradict_the_schema_are_skipped_and_move_no_other_row(home):
    frame = rows()
    faulty = [3, 57, 113, 190]
    frame.loc[faulty, "age"] = -1
    made = prepared(frame, SCHEMA, home, on_error="skip")
    held = held_out(frame, unit="row", holdout=0.3, seed=5)
    good = np.ones(len(frame), dtype=bool)
    good[faulty] = False
    assert contents(made.train) == contents(cast(frame[good & ~held], SCHEMA))
    assert contents(made.holdout) == contents(cast(frame[good & held], SCHEMA))
    assert len(made.train) + len(made.holdout) == 196


def test_clipping_moves_values_and_no_row(home):
    frame = rows()
    mended, clipped = (
        frame.assign(age=frame["age"].where(frame.index != 7, 100)),
        frame.assign(age=frame["age"].where(frame.index != 7, 400)),
    )
    held = held_out(clipped, unit="row", holdout=0.3, seed=5)
    made = prepared(clipped, SCHEMA, home, on_error="clip")
    assert contents(made.train) == contents(cast(mended[~held], SCHEMA))
    assert contents(made.holdout) == contents(cast(mended[held], SCHEMA))


def test_clipping_what_has_no_nearest_value_names_its_row(home):
    frame = rows()
    frame.loc[111, "ward"] = "x"
    with pytest.raises(DataError, match="row 112, column 'ward'"):
        prepared(frame, SCHEMA, home, on_error="clip")


def test_the_index_of_a_frame_is_nobodys_business(home):
    frame = rows()
    shuffled = frame.set_index(np.random.default_rng(0).permutation(len(frame)))
    assert contents(prepared(frame, SCHEMA, home).train) == contents(prepared(shuffled, SCHEMA, home).train)


def test_the_order_of_the_rows_changes_neither_parts_nor_fingerprint(home):
    frame = rows()
    first, second = prepared(frame, SCHEMA, home), prepared(frame.sample(frac=1, random_state=1), SCHEMA, home)
    assert contents(first.train) == contents(second.train) and first.fingerprint == second.fingerprint


@pytest.mark.parametrize("private", [True, False])
def test_nobody_is_in_both_parts(private, home):
    frame = visits()
    made = prepared(frame, BY_PERSON, home, private=private)
    held = held_out(frame, unit="who", holdout=0.3, seed=5)
    assert not set(frame["who"][held]) & set(frame["who"][~held])
    there = counted(frame) if private else np.ones(len(frame), dtype=bool)
    assert contents(made.train) == contents(cast(frame[~held & there], BY_PERSON))
    assert "who" not in made.train


def counted(frame: pd.DataFrame, most: int = 2) -> np.ndarray:
    return rows_of_units(frame, unit="who", most=most, seed=5)[0]


@pytest.mark.parametrize("most", [1, 2, 4])
def test_under_privacy_a_person_counts_with_few_rows_and_without_it_with_all_of_them(most, home):
    private = prepared(visits(), BY_PERSON, home, private=True, rows_per_unit=most)
    plain = prepared(visits(), BY_PERSON, home)
    assert len(private.train) + len(private.holdout) == 50 * most
    assert len(plain.train) + len(plain.holdout) == 200 and plain.units is None
    if most == 1:
        assert private.units is None
    else:
        assert np.unique(private.units, return_counts=True)[1].tolist() == [most] * (len(private.train) // most)


def test_pieces_of_one_document_are_one_unit(home):
    schema = Schema.model_validate(
        {"declared_by": "this test", "modality": "text", "text": {"vocabulary": "bytes", "length": 9, "source": "public"}}
    )
    frame = pd.DataFrame({"text": ["one two three four five six", "short", "again a longer text than the length"]})
    made = prepared(frame, schema, home, private=True, rows_per_unit=3, holdout=0.0)
    assert [int(n) for n in np.unique(made.units, return_counts=True)[1]] == [3, 1, 3]
    assert made.train["text"].tolist()[0] == "one two " and made.train["text"].tolist()[3] == "short"


def test_one_person_more_or_less_moves_nobody_else(home):
    frame = visits()
    whole = prepared(frame, BY_PERSON, home, private=True)
    for who in ("p0", "p17", "p49"):
        without = prepared(frame[frame["who"] != who], BY_PERSON, home, private=True)
        theirs = set(contents(cast(frame[frame["who"] == who], BY_PERSON)))
        gone = set(contents(whole.train)) - set(contents(without.train))
        assert gone <= theirs and not set(contents(without.train)) - set(contents(whole.train))


def test_the_fingerprint_is_that_of_the_source_and_not_of_a_part(home):
    frame = visits()
    fingerprints = {
        prepared(frame, schema, home, private=private, holdout=holdout).fingerprint
        for schema, private, holdout in [(BY_PERSON, True, 0.3), (BY_PERSON, False, 0.0), (None, False, 0.5)]
    }
    assert len(fingerprints) == 1


def test_under_privacy_the_schema_stays_as_declared_and_without_it_edges_are_read_from_the_training_part(home):
    assert prepared(rows(), SCHEMA, home, private=True).schema == SCHEMA
    refined = prepared(rows(), SCHEMA, home).schema
    assert refined.columns["cost"].edges and refined.columns["cost"].source == "data"


def test_under_privacy_no_schema_and_no_column_read_from_the_records_is_accepted(home):
    with pytest.raises(PrivacyRefused, match="source: public"):
        prepared(rows(), None, home, private=True)
    read = SCHEMA.model_copy(update={"columns": {**SCHEMA.columns, "age": SCHEMA.columns["age"].model_copy(update={"source": "data"})}})
    with pytest.raises(PrivacyRefused, match=r"age: .*low: \?"):
        prepared(rows(), read, home, private=True)


def test_what_the_spec_says_about_roles_overrides_the_schema(home):
    made = prepared(visits(), SCHEMA, home, unit="who", target="ward", sensitive=["age"])
    assert (made.schema.unit, made.schema.target, made.schema.sensitive) == ("who", "ward", ("age",))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"target": "wrad"}, SpecError),
        ({"sensitive": ["sex"]}, SpecError),
        ({"unit": "person"}, DataError),
        ({"unit": "age"}, SpecError),
    ],
)
def test_a_role_for_a_column_that_is_not_there_is_refused(data, error, home):
    with pytest.raises(error, match=next(iter(str(value).strip("[]'") for value in data.values()))):
        prepared(rows(), SCHEMA, home, **data)


@pytest.mark.parametrize("schema", [SCHEMA, None])
def test_no_rows_are_an_error_that_says_so(schema, home):
    with pytest.raises(DataError, match="no rows to train on"):
        prepared(rows().iloc[:0], schema, home)


def test_rows_that_are_all_skipped_are_no_rows(home):
    with pytest.raises(DataError, match="no rows to train on"):
        prepared(rows().assign(age=-1), SCHEMA, home, on_error="skip")


def test_no_holdout_is_none(home):
    assert prepared(rows(), SCHEMA, home, holdout=0).holdout is None


def test_files_are_found_beside_the_spec_and_a_schema_that_is_not_there_is_named(tmp_path, home):
    rows().to_csv(tmp_path / "visits.csv", index=False)
    data = DataSpec.model_validate({"source": "visits.csv", "schema": "none.yaml"})
    assert len(gather(data.model_copy(update={"schema_": None}), base=tmp_path, privacy=None, seed=0, home=home).train) > 100
    with pytest.raises(SchemaError, match=r"none\.yaml"):
        gather(data, base=tmp_path, privacy=None, seed=0, home=home)
