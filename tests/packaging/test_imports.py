"""The import contracts hold, and fire on what they forbid, in the linked folders too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

PLANTED = {
    "vocabulary/seeds.py": ("from guardrail.run import *", "guardrail.vocabulary is not allowed to import guardrail.run"),
    "audits/__init__.py": ("import torch", "guardrail.audits is not allowed to import torch"),
    "generators/__init__.py": ("import opacus", "guardrail.generators is not allowed to import opacus"),
    "run/__init__.py": ("import guardrail.audits.privacy", "Illegal imports of protected package guardrail.audits"),
    "cli/__init__.py": ("def f():\n    import guardrail.generators", "Illegal imports of protected package guardrail.generators"),
}


@pytest.fixture
def linted(tree, shell, python, tmp_path):
    """Runs the import linter on a copy of the package."""
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, symlinks=True, ignore=shutil.ignore_patterns("tests"))

    def run(**planted: str) -> tuple[int, str]:
        for name, line in planted.items():
            with Path(copy, "guardrail", name).open("a") as module:
                module.write(f"\n{line}\n")
        script = "from importlinter.cli import lint_imports_command as c; c()"
        done = shell(python, "-c", script, "--no-cache", "--no-logo", cwd=copy, PYTHONPATH=str(copy), COLUMNS="400")
        return done.returncode, done.stdout + done.stderr

    return run


def test_imports_point_down_only(linted):
    code, said = linted()
    assert code == 0, said
    assert "0 broken" in said


def test_every_contract_fires_on_what_it_forbids(linted):
    code, said = linted(**{name: line for name, (line, _) in PLANTED.items()})
    assert code == 1
    assert [message for _, message in PLANTED.values() if message not in said] == []
