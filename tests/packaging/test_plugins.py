"""A third party's wheel, built and installed as anyone would, brings an audit and a generator; broken ones are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def installed(root, shell, python, tmp_path_factory) -> Path:
    """The folder the plugin's wheel was installed into."""
    place = tmp_path_factory.mktemp("plugin")
    shutil.copytree(root / "tests" / "fixtures" / "third_party_plugin", place / "source", ignore=shutil.ignore_patterns("__pycache__"))
    offline = ("--no-deps", "--no-index", "-q")
    built = shell(python, "-m", "pip", "wheel", *offline, "--no-build-isolation", "-w", place, place / "source")
    assert built.returncode == 0, built.stderr
    (wheel,) = place.glob("*.whl")
    done = shell(python, "-m", "pip", "install", *offline, "--target", place / "site", wheel)
    assert done.returncode == 0, done.stderr
    return place / "site"


def _edited(installed: Path, tmp_path: Path, old: str, new: str) -> Path:
    copy = tmp_path / "site"
    shutil.copytree(installed, copy, ignore=shutil.ignore_patterns("__pycache__"))
    tables = copy / "house_plugin" / "tables.py"
    assert old in tables.read_text()
    tables.write_text(tables.read_text().replace(old, new))
    return copy


@pytest.mark.parametrize(("kind", "name"), [("audits", "house_size"), ("generators", "house_copy")])
def test_an_installed_plugin_is_listed_beside_our_own(installed, shell, python, kind: str, name: str):
    done = shell(python, "-m", "guardrail", "list", kind, "--json", PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)[kind]}
    assert rows[name]["provider"] == "house"
    assert rows["marginals"]["provider"] == "guardrail"


def test_without_the_wheel_nothing_of_it_is_known(shell, python):
    assert "house" not in shell(python, "-m", "guardrail", "list", "audits", "--json").stdout


def test_a_plugins_audit_takes_part_in_an_audit(installed, shell, python, tmp_path):
    for name, rows in (("train", 60), ("synthetic", 90)):
        (tmp_path / f"{name}.csv").write_text("\n".join(["size,side", *(f"{k % 7},{'ab'[k % 2]}" for k in range(rows))]) + "\n")
    files = ("--train", tmp_path / "train.csv", "--synthetic", tmp_path / "synthetic.csv", "--out", tmp_path / "report")
    done = shell(python, "-m", "guardrail", "audit", *files, PYTHONPATH=str(installed))
    assert done.returncode in (0, 1), done.stderr
    findings = {one["metric"]: one for one in json.loads((tmp_path / "report" / "report.json").read_text())["findings"]}
    assert findings["house.size"]["value"] == 1.5


def test_a_plugin_that_takes_a_name_of_ours_is_refused_by_its_own_name(installed, shell, python, tmp_path):
    site = _edited(installed, tmp_path, '"house_size"', '"marginals"')
    done = shell(python, "-m", "guardrail", "list", "audits", PYTHONPATH=str(site))
    assert done.returncode == 2
    assert "'house'" in done.stderr
    assert "'marginals'" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("fault", ["import nowhere_to_be_found\n", "this is no Python\n", "raise ImportError('too old')\n"])
def test_a_plugin_that_cannot_be_imported_is_named_and_not_skipped(installed, shell, python, tmp_path, fault: str):
    site = _edited(installed, tmp_path, '"""What the entry point names', fault + '"""What the entry point names')
    done = shell(python, "-m", "guardrail", "list", "generators", PYTHONPATH=str(site))
    assert done.returncode == 2
    assert "'house'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("target", [".absent:Size", ".size:Absent"])
def test_a_plugin_whose_class_is_not_there_is_named_when_it_is_asked_for(installed, shell, python, tmp_path, target: str):
    site = _edited(installed, tmp_path, '".size:Size"', f'"{target}"')
    script = "from guardrail.vocabulary.plugins import resolve; resolve('audits', 'house_size')"
    done = shell(python, "-c", script, PYTHONPATH=str(site))
    assert "PluginError: plugin 'house': audit 'house_size'" in done.stderr
