"""The make targets of the README, and what a machine without a fitting Python is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

TARGETS = ("setup", "demo", "test", "test-slow", "lint", "bench", "dashboard", "clean")


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_made_from_a_fresh_clone(tree, shell, target: str):
    done = shell("make", "--dry-run", target, cwd=tree)
    assert done.returncode == 0, done.stderr
    assert ("-m venv" in done.stdout) == (target != "clean")


def test_without_a_fitting_python_one_line_says_what_to_install_and_nothing_is_made(root, shell, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "cat", "rm", "touch"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, clone)
    done = shell(str(shutil.which("make")), "setup", cwd=clone, PATH=str(tools), PY="python3")
    assert done.returncode == 2
    assert "needs Python 3.11 or 3.12" in done.stderr
    assert not Path(clone, ".venv").exists()
