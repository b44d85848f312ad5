"""pyproject.toml and constraints.txt say what the folders and the imports say."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = PROJECT["tool"]["setuptools"]["package-dir"]


def _sources() -> list[Path]:
    """Every module once: by its real folder, not by the link to it."""
    linked = {ROOT / folder for folder in FOLDERS.values()}
    files = {path for folder in linked for path in folder.rglob("*.py") if not any(part.is_symlink() for part in path.parents)}
    return sorted(files)


def _requirements() -> dict[str, Requirement]:
    project = PROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one for one in found if one.name != project["name"]}


def test_the_package_list_is_the_folders():
    packages = set()
    for name, folder in FOLDERS.items():
        for module in (ROOT / folder).rglob("*.py"):
            inside = module.parent.relative_to(ROOT / folder)
            if not any(part.is_symlink() for part in module.parents):
                packages.add(".".join([name, *inside.parts]))
    assert packages == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_folder_of_modules_is_a_package():
    assert [folder for folder in {path.parent for path in _sources()} if not (folder / "__init__.py").exists()] == []


def test_the_links_for_editors_lead_to_the_folders_that_are_installed():
    linked = {name: folder for name, folder in FOLDERS.items() if name != "guardrail"}
    for name, folder in linked.items():
        link = ROOT / name.replace(".", "/")
        assert link.is_symlink()
        assert link.resolve() == (ROOT / folder).resolve()


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_every_import_is_a_declared_dependency():
    """What arrives only because something else happens to need it is gone with that something's next version."""
    declared = set(_requirements())
    providers = packages_distributions()
    strangers = {
        (path.relative_to(ROOT).as_posix(), module)
        for path in _sources()
        for module in _imports(path) - sys.stdlib_module_names - {"guardrail"}
        if not {canonicalize_name(provider) for provider in providers.get(module, [])} & declared
    }
    assert strangers == set()


def test_every_declared_dependency_is_pinned_within_its_bounds():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    outside = {name: pins.get(name) for name, one in _requirements().items() if not one.specifier.contains(pins.get(name, "0"))}
    assert outside == {}


@pytest.mark.parametrize("name", ["constraints.txt", "Makefile", ".ci/run", "pyproject.toml"])
def test_nothing_that_installs_names_a_host_or_an_index(name: str):
    text = (ROOT / name).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|@ *(file|git)", text)


def test_constraints_are_exact_versions_without_local_labels():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.]+", line)] == []
    assert lines == sorted(lines, key=str.lower)
