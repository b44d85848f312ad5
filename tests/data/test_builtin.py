"""The built-in data set: the raw files, untouched, and a schema that knows nothing but what was published."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from guardrail.data import builtin
from guardrail.data.cast import cast, cast_leniently
from guardrail.data.schema_file import parse_schema, require_public
from guardrail.data.sources import open_source
from guardrail.data.tables import write_table
from guardrail.data.tabular.codec import TabularCodec
from guardrail.vocabulary.documents import read_yaml
from guardrail.vocabulary.errors import DataError, UnknownName
from guardrail.vocabulary.schema import Numeric

FOLDER = Path(builtin.__file__).parent


def test_the_raw_records_are_all_there_and_obey_the_public_schema() -> None:
    frame, schema = builtin.load("adult")
    assert frame.shape == (48_842, 15) and list(frame.columns) == list(schema.columns)
    assert int(frame.isna().sum().sum()) == 6_465  # as the repository's page of the data set has it
    assert set(frame["income"]) == {"<=50K", ">50K"}
    assert cast_leniently(frame, schema)[1].all()
    require_public(schema)
    assert (schema.target, schema.sensitive, schema.records) == ("income", ("sex", "race"), 48_842)


def test_the_complete_cases_are_those_that_were_published() -> None:
    frame, schema = builtin.load("adult-complete")
    assert len(frame) == schema.records == 45_222
    cast(frame, schema)
    assert not any(column.missing for column in schema.columns.values())


def test_the_bounds_are_wider_than_the_records_or_published() -> None:
    """Bounds that are the records' own extremes would have been read from them; these two columns have published ones."""
    frame, schema = builtin.load("adult")
    for name in ("fnlwgt", "capital-loss"):
        entry = schema.columns[name]
        assert isinstance(entry, Numeric) and entry.high > frame[name].max() and entry.declared_by


def test_the_vendored_files_are_the_repositorys() -> None:
    """Hashes of the compressed files as they were vendored."""
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("adult.*.xz")}
    assert hashes == {
        "adult.data.xz": "1a26c887f4b7b4b4e0f99750aca36e24a777e32b8f3a51118d33048407422670",
        "adult.test.xz": "7b7089b2b40308e71efb4afe0dc2a9b80b761ad4b9b19f2157ff54d952a621e2",
    }
    licences = (FOLDER / "DATA-LICENCES.md").read_text()
    vendored = [path.name for path in FOLDER.iterdir() if path.suffix not in (".py", ".yaml", ".md") and path.is_file()]
    assert all(name in licences for name in [*vendored, "CC BY 4.0", "10.24432/C5XW20", "CC BY-SA 3.0", "Apache License 2.0"])


def test_all_that_is_vendored_leaves_the_wheel_below_twelve_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 11_000_000


@pytest.mark.parametrize("name", builtin.names())
def test_every_schema_is_public_and_says_who_declared_it(name: str) -> None:
    facts = read_yaml(FOLDER / f"{name.removesuffix('-complete')}.yaml")
    schema = parse_schema(facts["schema"], where=name)
    require_public(schema)
    assert schema.records and all(source.startswith("public (") for source in schema.sources().values())


def test_nothing_outside_its_file_knows_the_data_set() -> None:
    root = FOLDER.parents[2]
    told = re.compile(rb"capital.gain|marital|>50K", re.IGNORECASE)
    text = (
        path
        for part in ("guardrail", "generators", "audits", "dashboard", "policies")
        for path in (root / part).rglob("*")
        if path.suffix in (".py", ".yaml", ".j2", ".css", ".md")
    )
    assert {path.name for path in text if told.search(path.read_bytes())} == {"adult.yaml"}


def test_every_token_of_the_raw_table_goes_round() -> None:
    frame, schema = builtin.load("adult")
    codec = TabularCodec(schema)
    table = cast(frame, schema)
    tokens = codec.encode(table, "tokens")
    back = codec.decode(tokens, "tokens", np.random.default_rng(0))
    assert np.array_equal(codec.encode(back, "tokens"), tokens)
    exact = [name for name in table if name not in ("fnlwgt", "capital-gain", "capital-loss")]
    assert back[exact].equals(table[exact])
    for name, points in (("capital-gain", (0, 99_999)), ("capital-loss", (0,))):
        for point in points:
            assert ((back[name] == point) == (table[name] == point)).all()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'adult'"):
        builtin.load("adlt")


def test_sources_are_built_in_or_files_beside_the_spec(tmp_path: Path) -> None:
    source = open_source("builtin:adult-complete", tmp_path)
    assert source.name == "adult-complete" and source.schema is not None
    write_table(source.frame.head(3), tmp_path / "few.csv")
    few = open_source("few.csv", tmp_path)
    assert (few.name, few.schema, len(few.frame)) == ("few", None, 3)
    assert open_source(str(tmp_path / "few.csv"), Path("/nowhere")).frame.equals(few.frame)
    with pytest.raises(DataError, match="no such file"):
        open_source("many.csv", tmp_path)
