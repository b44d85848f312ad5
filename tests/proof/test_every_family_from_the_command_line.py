"""`guardrail train` with `privacy: {epsilon: 3}`, of every family on every modality it is for: from files to a model and an entry."""

from __future__ import annotations

import pytest

from guardrail.data.modality import modality as modality_named
from guardrail.data.schema_file import dump_schema
from guardrail.privacy_accounting.receipts import read_receipt
from guardrail.vocabulary.documents import dump_yaml
from guardrail.vocabulary.plugins import table
from tests.conftest import Clinic
from tests.contracts.worlds import WORLDS

FILES = {"tabular": "records.csv", "image": "records.npz", "text": "records.jsonl", "music": "records.npz", "series": "records.npz"}
CASES = [(name, modality) for name, entry in table("generators").items() for modality in entry.modalities]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "modality"), CASES)
def test_epsilon_three(name: str, modality: str, clinic: Clinic):
    world, file = WORLDS[modality], FILES[modality]
    modality_named(modality).write(world.records(300), clinic.folder / file, world.schema)
    (clinic.folder / "schema.yaml").write_text(dump_schema(world.schema))
    spec = {
        "name": "family",
        "data": {"source": file, "schema": "schema.yaml"},
        "generator": {"name": name},
        "training": {"epochs": 1},
        "privacy": {"epsilon": 3},
    }
    (clinic.folder / "spec.yaml").write_text(dump_yaml(spec))
    said = clinic("train", "spec.yaml", "--json")
    assert said.code == 0, said.err
    (folder,) = clinic.runs
    claim = read_receipt(folder / "receipt.json").privacy
    assert claim is not None and 2.9 < claim.epsilon <= 3 and claim.valid
    assert (folder / "weights.safetensors").is_file() and (folder / "canaries.json").is_file()
    (entry,) = clinic.ledger(file)
    assert (entry["epsilon"], entry["state"]) == (3, "spent")
