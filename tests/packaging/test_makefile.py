"""The make targets of the README, and what a machine without a fitting Python is told."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

TARGETS = ("setup", "demo", "test", "test-slow", "lint", "bench", "dashboard", "clean")


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_made_from_a_fresh_clone(tree, shell, target: str):
    done = shell("make", "--dry-run", target, cwd=tree)
    assert done.returncode == 0, done.stderr
    assert ("-m venv" in done.stdout) == (target != "clean")


@pytest.fixture
def clone(root, tmp_path) -> Path:
    """What `make setup` reads, and nothing it could install."""
    place = tmp_path / "clone"
    place.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, place)
    return place


@pytest.fixture
def make_without_python(shell, clone, tmp_path):
    """`make setup` where no interpreter fits, and pip could fetch nothing if it were called all the same."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "cat", "rm", "mv", "mkdir", "touch"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    return lambda: shell(str(shutil.which("make")), "setup", cwd=clone, PATH=str(tools), PY="python3", **offline)


def test_without_a_fitting_python_one_line_says_what_to_install_and_nothing_is_made(make_without_python, clone):
    done = make_without_python()
    assert done.returncode == 2
    assert "needs Python 3.11 or 3.12" in done.stderr
    assert not Path(clone, ".venv").exists()


@pytest.mark.parametrize("left", ["half deleted", "interrupted", "moved here"])
def test_an_environment_that_cannot_be_trusted_is_made_again_and_never_installed_into(make_without_python, clone, left: str):
    """A `.venv/bin/python` without its pyvenv.cfg is the system's interpreter: installing there would change the machine."""
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    if left != "half deleted":
        (clone / ".venv" / "pyvenv.cfg").write_text(f"home = {sys.base_prefix}/bin\ninclude-system-site-packages = true\n")
        (clone / ".venv" / {"interrupted": ".installing", "moved here": ".ok"}[left]).write_text("/elsewhere\n")
    done = make_without_python()
    assert done.returncode == 2
    assert "needs Python 3.11 or 3.12" in done.stderr, "it went on with what is there"
    assert "Installing" not in done.stdout


def test_pip_is_told_to_refuse_an_interpreter_that_is_no_virtual_environment(shell, clone):
    (clone / "probe.mk").write_text("include Makefile\nprobe:\n\t@echo require=$$PIP_REQUIRE_VIRTUALENV\n")
    assert shell("make", "-f", "probe.mk", "probe", cwd=clone).stdout.strip() == "require=1"
