"""sdist and wheel as they would be published, and the base install that the wheel alone gives."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def built(tree, shell, python, tmp_path_factory) -> SimpleNamespace:
    """The sdist, and the wheel made from that sdist: what the sdist lacks, the wheel lacks too."""
    out = tmp_path_factory.mktemp("dist")
    done = shell(python, "-m", "build", "--no-isolation", "--outdir", out, tree)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return SimpleNamespace(wheel=wheel, sdist=sdist)


def _expected(tree: Path) -> set[str]:
    """Every file of the five folders, at its place in the package."""
    folders = tomllib.loads((tree / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    found = set()
    for name, folder in folders.items():
        for path in (tree / folder).rglob("*"):
            if path.is_file() and not any(part.is_symlink() for part in path.parents):
                found.add(f"{name.replace('.', '/')}/{path.relative_to(tree / folder).as_posix()}")
    return found


def test_the_wheel_holds_exactly_the_files_of_the_folders(built, tree):
    names = zipfile.ZipFile(built.wheel).namelist()
    inside = [name for name in names if ".dist-info/" not in name]
    assert len(inside) == len(set(inside))
    assert set(inside) == _expected(tree)


def test_the_wheel_is_small_pure_and_has_its_data(built):
    names = zipfile.ZipFile(built.wheel).namelist()
    assert built.wheel.stat().st_size < 12 * MEGABYTE
    assert built.wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in names if "test" in name.split("/")[0] or name.endswith((".so", ".pyc"))]
    for part in ("guardrail/py.typed", "guardrail/policies/", "guardrail/run/templates/spec.yaml", "guardrail/data/builtin/", "/LICENSE"):
        assert [name for name in names if part in name], part
    assert [name for name in names if name.startswith("guardrail/policies/") and name.endswith(".yaml")]


def test_the_sdist_holds_every_source_once(built, tree):
    with tarfile.open(built.sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE"} <= inside
    for link in ("audits", "dashboard", "generators", "policies"):
        assert f"{link}/__init__.py" in inside
        assert not [name for name in inside if name.startswith(f"guardrail/{link}/")]


def _base_distributions(project: dict) -> set[str]:
    """What `pip install guardrail-generators` brings: the closure of the dependencies without extras."""
    waiting, found = [Requirement(line) for line in project["dependencies"]], set()
    while waiting:
        one = waiting.pop()
        if one.name.lower() in found or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(one.name.lower())
        waiting += [Requirement(line) for line in distribution(one.name).requires or []]
    return found


@pytest.fixture(scope="module")
def base(built, tree, shell, python, tmp_path_factory) -> SimpleNamespace:
    """A fresh environment with the wheel and its dependencies, linked from this one, and nothing else."""
    home = tmp_path_factory.mktemp("base") / "venv"
    venv.create(home, with_pip=False)
    site = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for name in _base_distributions(tomllib.loads((tree / "pyproject.toml").read_text())["project"]):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    done = shell(python, "-m", "pip", "--python", home / "bin" / "python", "install", "--no-deps", "--no-index", built.wheel)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(python=home / "bin" / "python", guardrail=home / "bin" / "guardrail", site=site)


@pytest.mark.parametrize("module", ["torch", "opacus", "streamlit", "c2pa", "flwr", "safetensors", "pytest"])
def test_the_base_install_has_no_optional_part(base, shell, module: str):
    assert "ModuleNotFoundError" in shell(base.python, "-c", f"import {module}").stderr


def test_the_base_install_runs_from_the_wheel_and_not_from_here(base, shell):
    done = shell(base.python, "-c", "import guardrail, guardrail.audits as a; print(guardrail.__file__, a.__file__)")
    assert [Path(name).is_relative_to(base.site) for name in done.stdout.split()] == [True, True], done.stderr


def test_every_command_has_help_in_the_base_install(base, shell):
    loop = "from guardrail.cli import COMMANDS; from guardrail.__main__ import run; print({n: run([n, '--help']) for n in COMMANDS})"
    done = shell(base.python, "-c", loop)
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1].replace("'", '"'))
    assert codes
    assert {name: code for name, code in codes.items() if code} == {}


@pytest.mark.parametrize("kind", ["generators", "audits", "policies"])
def test_the_base_install_lists_what_there_is(base, shell, kind: str):
    done = shell(base.guardrail, "list", kind, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[kind]


def test_the_base_install_audits_and_judges_tables(base, shell, tmp_path):
    """What a CI job does: files in, report and verdict out, without torch."""
    for name, seed in (("train", 1), ("holdout", 2), ("synthetic", 3)):
        rows = [f"{(k * 7 + seed) % 41},{'ab'[(k * seed) % 2]},{'xyz'[(k + seed) % 3]}" for k in range(240)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["size,side,colour", *rows]) + "\n")
    files = [part for name in ("train", "holdout", "synthetic") for part in (f"--{name}", tmp_path / f"{name}.csv")]
    done = shell(base.guardrail, "audit", *files, "--sensitive", "side", "--policy", "samples", "--out", tmp_path / "report")
    assert done.returncode in (0, 1), done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {"quality.marginals", "privacy.exact_copies"} <= {one["metric"] for one in report["findings"] if one["status"] == "measured"}
    again = shell(base.guardrail, "judge", tmp_path / "report", "--policy", "research", "--out", tmp_path / "again")
    assert again.returncode in (0, 1), again.stderr
    assert json.loads((tmp_path / "again" / "report.json").read_text())["verdict"]["policy"] == "research"


def test_training_in_the_base_install_says_which_extra_it_needs(base, shell, tmp_path):
    spec = "name: small\ndata: {source: 'builtin:adult'}\n"
    (tmp_path / "spec.yaml").write_text(spec)
    done = shell(base.guardrail, "train", tmp_path / "spec.yaml", cwd=tmp_path, GUARDRAIL_HOME=str(tmp_path / "home"))
    assert done.returncode == 2, done.stderr
    assert "guardrail-generators[train]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_moved_tree_without_the_links_builds_too(tree, shell, python, tmp_path):
    """Archives of a repository, and Windows, may drop symbolic links: they are for editors, not for the build."""
    copy = tmp_path / "bare"
    shutil.copytree(tree, copy, symlinks=True)
    for link in ("audits", "dashboard", "generators", "policies"):
        (copy / "guardrail" / link).unlink()
    done = shell(python, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path / "dist", copy)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name} == _expected(tree)
