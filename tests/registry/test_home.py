import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from guardrail.registry.home import Home
from guardrail.vocabulary.errors import ArtifactError, InputError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_environment_wins_then_the_nearest_folder_upward_then_the_user_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("GUARDRAIL_HOME", raising=False)
    deep = tmp_path / "project" / "src" / "deep"
    deep.mkdir(parents=True)
    assert Home.find(deep).path == tmp_path / "data" / "guardrail"
    (tmp_path / "project" / ".guardrail").mkdir()
    assert Home.find(deep).path == tmp_path / "project" / ".guardrail"
    monkeypatch.chdir(deep)
    assert Home.find().path == tmp_path / "project" / ".guardrail"
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "named"))
    assert Home.find(deep).path == tmp_path / "named"


def test_finding_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "home"))
    Home.find()
    assert not (tmp_path / "home").exists()


def test_a_home_is_private_and_ignored_by_git(tmp_path):
    home = Home(tmp_path / "a" / "home")
    assert len(home.key()) == 32
    assert home.key() == Home(home.path).key() and home.id == Home(home.path).id
    assert mode(home.path) == 0o700
    assert all(mode(entry) == 0o600 for entry in home.path.iterdir())
    assert (home.path / ".gitignore").read_text() == "*\n"


def test_two_homes_have_two_keys_and_two_ids(tmp_path):
    one, two = Home(tmp_path / "one"), Home(tmp_path / "two")
    assert one.key() != two.key() and one.id != two.id


def _key_of(path: str) -> bytes:
    return Home(Path(path)).key()


def test_processes_that_start_together_get_the_same_key(tmp_path):
    with multiprocessing.get_context("fork").Pool(6) as pool:
        keys = pool.map(_key_of, [str(tmp_path / "home")] * 24, chunksize=1)
    assert len(set(keys)) == 1


def test_a_home_whose_making_was_killed_is_completed_with_its_key(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "fingerprint.key").write_bytes(b"k" * 32)
    (tmp_path / "home" / ".fingerprint.key.x7").write_bytes(b"half")
    assert Home(tmp_path / "home").key() == b"k" * 32


def test_a_lost_key_is_not_replaced(tmp_path):
    home = Home(tmp_path / "home")
    home.key()
    (home.path / "fingerprint.key").unlink()
    with pytest.raises(ArtifactError, match="backup"):
        home.key()
    assert not (home.path / "fingerprint.key").exists()


def test_a_folder_with_other_files_does_not_become_a_home(tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    before = mode(tmp_path)
    with pytest.raises(InputError, match=r"letters\.txt"):
        Home(tmp_path).key()
    assert [entry.name for entry in tmp_path.iterdir()] == ["letters.txt"] and mode(tmp_path) == before


def test_a_file_in_the_place_of_the_home_is_one_clear_error(tmp_path):
    (tmp_path / "home").write_text("x")
    with pytest.raises(InputError, match="GUARDRAIL_HOME"):
        Home(tmp_path / "home").key()


@pytest.mark.parametrize("content", ["", "[]", '{"id": 7}', "{", '{"other": "project"}'])
def test_a_damaged_marker_is_one_clear_error(tmp_path, content):
    home = Home(tmp_path / "home")
    home.key()
    (home.path / "home.json").write_text(content)
    with pytest.raises(ArtifactError):
        _ = home.id


def test_a_demo_home_is_emptied_and_gets_a_new_key(tmp_path):
    first = Home.empty(tmp_path / "demo")
    key, name = first.key(), first.id
    (first.path / "registry.sqlite").write_text("x")
    (first.path / "keys").mkdir()
    (first.path / "keys" / "ca.pem").write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (first.path / "link").symlink_to(outside)
    second = Home.empty(tmp_path / "demo")
    assert second.key() != key and second.id != name
    assert sorted(entry.name for entry in second.path.iterdir()) == [".gitignore", "fingerprint.key", "home.json"]
    assert (outside / "kept").exists()


def test_emptying_never_touches_a_foreign_folder_or_a_real_home(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("x")
    real = Home(tmp_path / "real")
    key = real.key()
    for path in (foreign, real.path):
        with pytest.raises(InputError):
            Home.empty(path)
    assert (foreign / "thesis.tex").exists() and real.key() == key


def test_a_foreign_home_json_is_no_licence_to_delete(tmp_path):
    (tmp_path / "home.json").write_text(json.dumps({"id": "x"}))
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError):
        Home.empty(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can hand a folder to another user")
def test_a_home_planted_by_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("GUARDRAIL_HOME", raising=False)
    planted = tmp_path / ".guardrail"
    planted.mkdir()
    os.chown(planted, 12345, 12345)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(InputError, match="another user"):
        Home.find(tmp_path)
    os.chown(planted, 1000, 1000)
    assert Home.find(tmp_path).path == planted


def test_urls_follow_the_environment(tmp_path, monkeypatch):
    home = Home(tmp_path / "home")
    monkeypatch.delenv("GUARDRAIL_DATABASE_URL", raising=False)
    monkeypatch.delenv("GUARDRAIL_ARTIFACTS_URL", raising=False)
    assert home.database_url == f"sqlite:///{home.path / 'registry.sqlite'}" and home.artifacts_url == str(home.path / "artifacts")
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", "sqlite:////elsewhere.db")
    monkeypatch.setenv("GUARDRAIL_ARTIFACTS_URL", "memory://bucket")
    assert (home.database_url, home.artifacts_url) == ("sqlite:////elsewhere.db", "memory://bucket")
