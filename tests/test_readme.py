"""The README does what it says: its Python runs as it stands, and every command in it exists with the options it shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from guardrail.cli import COMMANDS, cli

README = (Path(__file__).parent.parent / "README.md").read_text()


def commands() -> list[list[str]]:
    """Every `guardrail …` line of the README's blocks, continuation lines joined, comments dropped."""
    blocks = "\n".join(re.findall(r"```\n(.*?)```", README, flags=re.S)).replace("\\\n", " ")
    lines = [line.split("|")[0] for line in blocks.splitlines() if re.match(r"^(\.venv/bin/)?guardrail [a-z]", line)]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_of_the_readme_parses(words: list[str]):
    assert words[0] in COMMANDS
    command = cli.get_command(None, words[0])  # type: ignore[arg-type]
    if isinstance(command, click.Group) and words[1] in command.commands:
        command = command.commands[words[1]]
    assert command is not None
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known


def test_the_readme_shows_every_command_a_newcomer_needs():
    assert {"demo", "init", "run", "audit", "verify", "budget", "sample", "runs", "dashboard"} <= {words[0] for words in commands()}


@pytest.mark.slow
def test_the_python_of_the_readme_runs_and_prints_a_verdict(tmp_path: Path):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    environment = {**os.environ, "GUARDRAIL_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
    pairs, verdict, epsilon = done.stdout.split()
    assert 0.85 < float(pairs) < 1 and verdict == "pass" and 2.9 < float(epsilon) <= 3
