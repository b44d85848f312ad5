"""What holds for the package as a whole: names, help, and what is not imported before it is needed."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "opacus", "pandas", "numpy", "sklearn", "scipy", "sqlalchemy", "streamlit", "fairlearn", "pydantic")


def _python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("name", ["audits", "dashboard", "generators", "policies"])
def test_a_folder_refuses_its_bare_name(name: str):
    """A user's own `generators.py` must never be met by ours, nor ours imported twice under two names."""
    done = _python(f"import {name}")
    assert done.returncode == 1
    assert f"ImportError: import guardrail.{name}, not {name}" in done.stderr
    assert _python(f"import guardrail.{name}").returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list", "generators"], ["list", "audits", "--json"]], ids=" ".join)
def test_nothing_heavy_is_imported_to_show_what_there_is(arguments: list[str]):
    script = f"""
import sys
from guardrail.__main__ import run
code = run(sys.argv[1:])
print("HEAVY", code, sorted(set({HEAVY}) & set(sys.modules)))
"""
    done = _python(script, *arguments)
    assert done.stdout.splitlines()[-1] == "HEAVY 0 []", done.stdout + done.stderr


def _modules_with_public_names() -> list[str]:
    found = []
    for path in ROOT.joinpath("guardrail").rglob("*.py"):
        linked = path.relative_to(ROOT).with_suffix("").parts
        if "\n__all__" in path.read_text():
            found.append(".".join(linked[:-1] if linked[-1] == "__init__" else linked))
    for folder in ("audits", "dashboard", "generators", "policies"):
        for path in ROOT.joinpath(folder).rglob("*.py"):
            inside = path.relative_to(ROOT).with_suffix("").parts
            if "\n__all__" in path.read_text():
                found.append(".".join(["guardrail", *(inside[:-1] if inside[-1] == "__init__" else inside)]))
    return sorted(set(found))


@pytest.mark.parametrize("name", _modules_with_public_names())
def test_every_public_name_is_there(name: str):
    module = importlib.import_module(name)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []
    assert len(set(module.__all__)) == len(module.__all__)


def test_the_package_itself_is_among_the_modules_looked_at():
    assert "guardrail" in _modules_with_public_names()
