"""Who has which record: every record somewhere, a unit in one place, and nobody moved by anybody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from guardrail.data.material import gather, prepare
from guardrail.data.partition import dealt
from guardrail.registry.home import Home
from guardrail.vocabulary.errors import DataError, PrivacyRefused, SpecError
from guardrail.vocabulary.schema import Schema
from guardrail.vocabulary.spec import DataSpec, FederationSpec

SCHEMA = Schema.model_validate(
    {
        "declared_by": "this suite",
        "columns": {
            "hospital": {"kind": "categorical", "categories": ["north", "south", "east"]},
            "age": {"kind": "numeric", "low": 0, "high": 100},
            "person": {"kind": "integer", "low": 0, "high": 1000},
        },
    }
)


def frame(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"hospital": rng.choice(["north", "south", "east"], n), "age": rng.integers(0, 100, n), "person": rng.integers(0, 150, n)}
    )


def spec(clients: int, kind: str, **more: object) -> FederationSpec:
    return FederationSpec.model_validate({"clients": clients, "partition": {"kind": kind, **more}})


def deal(federation: FederationSpec, records: pd.DataFrame | None = None, *, unit: str = "row", private: bool = False) -> np.ndarray:
    schema = SCHEMA.model_copy(update={"unit": unit})
    return dealt(frame() if records is None else records, schema, federation, seed=5, private=private)


@pytest.mark.parametrize("federation", [spec(7, "iid"), spec(7, "dirichlet", by="hospital"), spec(3, "by_column", by="hospital")])
@pytest.mark.parametrize("unit", ["row", "person"])
def test_a_record_that_is_not_there_moves_nobody(federation: FederationSpec, unit: str):
    records = frame()
    everybody = deal(federation, records, unit=unit)
    assert everybody.min() >= 0 and everybody.max() < federation.clients
    without = records.drop(index=[17, 301])
    assert (deal(federation, without, unit=unit) == np.delete(everybody, [17, 301])).all()


@pytest.mark.parametrize("federation", [spec(7, "iid"), spec(5, "dirichlet", by="hospital", alpha=100)])
def test_all_records_of_a_person_lie_with_one_client_where_the_person_is_the_unit(federation: FederationSpec):
    records = frame().assign(hospital="north")
    clients = pd.Series(deal(federation, records, unit="person")).groupby(records["person"]).nunique()
    assert (clients == 1).all()


def test_iid_is_even_and_dirichlet_is_not():
    even = np.bincount(deal(spec(6, "iid")), minlength=6)
    assert even.min() > 60
    north = frame()["hospital"] == "north"
    skewed = np.bincount(deal(spec(6, "dirichlet", by="hospital", alpha=0.1))[north], minlength=6)
    assert skewed.max() > 0.5 * skewed.sum()


@pytest.mark.parametrize("federation", [spec(5, "dirichlet", by="hospital"), spec(3, "by_column", by="hospital"), spec(3, "files")])
def test_a_person_whose_rows_could_lie_with_several_clients_is_charged_by_none(federation: FederationSpec):
    """Each client spends epsilon on its own; a claim that counts one of them would be false for who is with two."""
    with pytest.raises(PrivacyRefused, match="several clients"):
        deal(federation, unit="person", private=True)


def test_by_column_gives_every_value_to_one_client():
    clients = pd.Series(deal(spec(3, "by_column", by="hospital")))
    assert clients.groupby(frame()["hospital"]).agg(["min", "max"]).to_numpy().T.tolist() == [[2, 0, 1], [2, 0, 1]]


def test_what_cannot_be_dealt_is_refused():
    with pytest.raises(SpecError, match="did you mean 'hospital'"):
        deal(spec(3, "by_column", by="hospitals"))
    with pytest.raises(SpecError, match="40 clients"):
        deal(spec(40, "by_column", by="hospital"))
    with pytest.raises(PrivacyRefused, match="must be public"):
        deal(spec(3, "by_column", by="age"), private=True)
    with pytest.raises(SpecError, match="one file for each client"):
        deal(spec(3, "files"))
    with pytest.raises(ValueError, match="needs a column"):
        spec(3, "dirichlet")


def files(folder: Path, **changes: pd.DataFrame) -> Path:
    (folder / "clinics").mkdir()
    for i, name in enumerate(("a", "b", "c")):
        changes.get(name, frame(60 + i)).to_csv(folder / "clinics" / f"{name}.csv", index=False)
    return folder


def test_one_file_for_each_client(tmp_path: Path):
    federation = spec(3, "files")
    material = gather(
        DataSpec(source="clinics", holdout=0.0), base=files(tmp_path), privacy=None, seed=0, home=Home.find(), federation=federation
    )
    assert material.clients is not None
    assert np.bincount(material.clients).tolist() == [60, 61, 62]
    with pytest.raises(SpecError, match="holds 3 files; set clients: 3"):
        gather(DataSpec(source="clinics"), base=tmp_path, privacy=None, seed=0, home=Home.find(), federation=spec(4, "files"))
    with pytest.raises(DataError, match="one file for each client"):
        gather(DataSpec(source="builtin:adult"), base=tmp_path, privacy=None, seed=0, home=Home.find(), federation=federation)


def test_files_of_other_columns_are_refused(tmp_path: Path):
    base = files(tmp_path, b=frame(10).drop(columns="age"))
    with pytest.raises(DataError, match=r"b\.csv has other columns than a\.csv"):
        gather(DataSpec(source="clinics"), base=base, privacy=None, seed=0, home=Home.find(), federation=spec(3, "files"))


def test_clients_are_told_for_the_training_rows_only():
    material = prepare(
        frame(), SCHEMA, DataSpec(source="x", holdout=0.3), privacy=None, seed=0, home=Home.find(), federation=spec(4, "iid")
    )
    assert material.clients is not None and len(material.clients) == len(material.train) < 600
