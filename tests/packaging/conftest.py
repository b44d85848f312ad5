"""Copies, environments and wheels: everything here is built from a copy, the working tree stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = ".git .venv __pycache__ *.pyc *.egg-info build dist demo runs report .guardrail .*_cache .hypothesis"
IGNORED = shutil.ignore_patterns(*LEFT_OUT.split())


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """The repository as a clone would have it."""
    copy = tmp_path_factory.mktemp("clone") / "guardrail"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=IGNORED)
    return copy


@pytest.fixture(scope="session")
def shell(tmp_path_factory):
    """Runs a command away from the repository, with a home of its own."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*command: object, cwd: Path = elsewhere, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GUARDRAIL", "PYTEST", "MAKE", "MFLAGS"))}
        clean |= {"OMP_NUM_THREADS": "1", "GUARDRAIL_HOME": str(elsewhere / "home"), "SOURCE_DATE_EPOCH": "1700000000"} | environment
        return subprocess.run([str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture(scope="session")
def python() -> str:
    return sys.executable
