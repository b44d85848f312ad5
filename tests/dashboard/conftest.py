"""Saved runs as the dashboard meets them: folders with spec, receipt, report and card, and their rows in the registry."""

import importlib.util

import pytest

from guardrail.cards import build_card
from guardrail.registry.runs import Registry, read_folder
from guardrail.vocabulary.card import Words
from guardrail.vocabulary.documents import read_json, sha256_of_file, write_json
from guardrail.vocabulary.frozen import parse
from guardrail.vocabulary.receipt import Receipt
from guardrail.vocabulary.report import Report
from guardrail.vocabulary.schema import Schema


@pytest.fixture
def app() -> str:
    (folder,) = importlib.util.find_spec("guardrail.dashboard").submodule_search_locations
    return f"{folder}/app.py"


@pytest.fixture
def make_card():
    """Writes the card of a run folder, with the words given."""

    def build(folder, **words):
        report = parse(Report, read_json(folder / "report" / "report.json"), where="report")
        receipt = parse(Receipt, read_json(folder / "receipt.json"), where="receipt")
        schema = Schema.model_validate({"declared_by": "data dictionary", "columns": {"age": {"kind": "integer", "low": 0, "high": 110}}})
        card = build_card(
            name=report.subject.name,
            created=report.created,
            words=Words(**words),
            report=report,
            verdicts=(report.verdict,),
            receipt=receipt,
            schema=schema,
            spec=None,
            artifacts={role: sha256_of_file(folder / file) for role, file in (("spec", "spec.yaml"), ("receipt", "receipt.json"))},
        )
        write_json(folder / "card.json", card.model_dump(mode="json"))

    return build


@pytest.fixture
def saved(own_home, make_run, make_card):
    """The id of a run that is in the registry and has everything."""
    folder = make_run()
    make_card(folder, title="Clinic visits", intended_use="Teaching.", owner="A. Person, a.person@example.org")
    record = read_folder(folder)
    Registry(own_home).add_run(record)
    return record.id
