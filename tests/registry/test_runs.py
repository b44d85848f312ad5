import datetime as dt
import sqlite3

import pytest

from guardrail.registry.runs import Registry, RunRecord, read_folder
from guardrail.vocabulary.errors import ArtifactError, PrivacyRefused, UnknownName

MOMENT = dt.datetime(2026, 11, 23, 10, 15, tzinfo=dt.UTC)
HOSTILE = [
    "../",
    "../../etc",
    "..\\..\\etc",
    "%2e%2e%2f",
    "%252e%252e%252f",
    "/etc",
    "/etc/passwd",
    "x\0y",
    "\u202egnp.exe",
    "CON",
    "a" * 300,
    "a/" * 3000,
    "\u0441linic-visits",
    "",
    ".",
    "'; DROP TABLE runs; --",
    "%",
    "_",
    "\x1b[31mred",
]


def record(run_id="20261123-101500-ab12cd-clinic", **changes) -> RunRecord:
    values = {"id": run_id, "name": "clinic", "created": MOMENT, "path": "/runs/" + run_id, "family": "made"} | changes
    return RunRecord(**values)


def test_runs_come_back_whole_and_newest_first(own_home):
    registry = Registry(own_home)
    old = record("20261122-a", created=MOMENT - dt.timedelta(days=1), epsilon=3.0, delta=1e-5, verdicts={"release": "fail"})
    new = record("20261123-b", created=MOMENT.astimezone(dt.timezone(dt.timedelta(hours=9))))
    registry.add_run(old)
    registry.add_run(new)
    assert Registry(own_home).runs() == (new, old)


def test_adding_a_run_again_brings_it_up_to_date(own_home):
    registry = Registry(own_home)
    registry.add_run(record())
    registry.add_run(record(verdicts={"release": "fail", "research": "pass"}))
    (found,) = registry.runs()
    assert found.verdicts == {"release": "fail", "research": "pass"}


def test_a_run_is_found_by_id_unique_beginning_or_path(own_home, make_run):
    registry = Registry(own_home)
    folder = make_run()
    known = read_folder(folder)
    registry.add_run(known)
    registry.add_run(record("20261124-000000-ffffff-other"))
    assert registry.find(known.id) == registry.find("20261123") == registry.find(str(folder)) == registry.get(known.id) == known


def test_an_id_that_begins_another_is_found(own_home):
    registry = Registry(own_home)
    registry.add_run(record("20261123-a"))
    registry.add_run(record("20261123-ab"))
    assert registry.find("20261123-a").id == "20261123-a"


def test_an_ambiguous_beginning_names_its_runs(own_home):
    registry = Registry(own_home)
    registry.add_run(record("20261123-a"))
    registry.add_run(record("20261123-b"))
    with pytest.raises(UnknownName, match="begins 2 runs: 20261123-a, 20261123-b"):
        registry.find("2026")


def test_an_unknown_name_gets_the_nearest(own_home):
    registry = Registry(own_home)
    with pytest.raises(UnknownName, match="guardrail run SPEC"):
        registry.find("clinic")
    registry.add_run(record("20261123-clinic"))
    with pytest.raises(UnknownName, match="did you mean '20261123-clinic'"):
        registry.find("20261123-clinik")


def test_a_run_folder_from_elsewhere_is_read_by_its_path(own_home, make_run, tmp_path, monkeypatch):
    folder = make_run("from elsewhere!", folder=tmp_path / "other")
    found = Registry(own_home).find(str(folder))
    assert found.path == str(folder) and found.id == "from-elsewhere-" and found.epsilon == 2.97
    assert found.verdicts == {"release": "fail"} and found.receipt_sha.startswith("sha256:")
    monkeypatch.chdir(folder.parent)
    assert Registry(own_home).find("from elsewhere!") == found


def test_a_run_without_a_claim_shows_no_epsilon(make_run):
    assert read_folder(make_run("plain", private=False)).epsilon is None
    assert read_folder(make_run("seeded", noise="seeded")).epsilon is None


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_find_nothing_and_break_nothing(own_home, make_run, monkeypatch, name):
    registry = Registry(own_home)
    registry.add_run(read_folder(make_run()))
    monkeypatch.chdir(own_home.path)
    with pytest.raises((UnknownName, ArtifactError)) as refused:
        registry.find(name)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 500
    with pytest.raises(UnknownName):
        registry.get(name)
    assert len(registry.runs()) == 1


def test_a_path_is_no_id(own_home, make_run):
    folder = make_run()
    with pytest.raises(UnknownName):
        Registry(own_home).get(str(folder))


def test_links_in_a_run_folder_are_refused(own_home, make_run, tmp_path):
    folder = make_run()
    (tmp_path / "elsewhere.json").write_text((folder / "receipt.json").read_text())
    (folder / "receipt.json").unlink()
    (folder / "receipt.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(ArtifactError, match="link"):
        Registry(own_home).find(str(folder))


@pytest.mark.parametrize(
    "file, content", [("receipt.json", "{"), ("receipt.json", "[" * 100_000), ("spec.yaml", "a: &x [*x]"), ("report/report.json", "{}")]
)
def test_a_broken_run_folder_is_one_clear_error(own_home, make_run, file, content):
    folder = make_run()
    (folder / file).write_text(content)
    with pytest.raises(ArtifactError):
        Registry(own_home).find(str(folder))


def test_a_row_edited_by_hand_is_one_clear_error(own_home):
    Registry(own_home).add_run(record())
    with sqlite3.connect(own_home.path / "registry.sqlite") as connection:
        connection.execute('UPDATE runs SET verdicts = \'{"release": "splendid"}\'')
    with pytest.raises(ArtifactError, match="in the registry"):
        Registry(own_home).runs()


def test_artifacts_are_listed_by_run_and_records_are_refused(own_home):
    registry = Registry(own_home)
    registry.add_run(record())
    name = registry.store(b'{"steps": 1}', "receipt", run=record().id)
    registry.store(b'{"steps": 1}', "receipt", run=record().id)
    assert registry.artifacts(record().id) == {name: "receipt"} and registry.load(name) == b'{"steps": 1}'
    with pytest.raises(PrivacyRefused):
        registry.store(b"x", "samples", run=record().id)
    with pytest.raises(UnknownName):
        registry.store(b"spec", "spec", run="20261123-unheard-of")
    assert registry.artifacts(record().id) == {name: "receipt"}


def test_the_registry_may_live_in_any_database(own_home, monkeypatch, tmp_path):
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", f"sqlite:///{tmp_path / 'second.sqlite'}")
    Registry(own_home).add_run(record())
    monkeypatch.delenv("GUARDRAIL_DATABASE_URL")
    assert Registry(own_home).runs() == ()
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", f"sqlite:///{tmp_path / 'second.sqlite'}")
    assert len(Registry(own_home).runs()) == 1
