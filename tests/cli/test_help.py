"""Every command says what it does and ends with an example."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from guardrail.cli import COMMANDS, cli


def _commands() -> list[tuple[str, ...]]:
    """Every command by its words, sub-commands included: `("keys", "init")`."""
    context = click.Context(cli)
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, below) for below in command.list_commands(context)]
    return found


def _help(*words: str) -> str:
    done = CliRunner().invoke(cli, [*words, "--help"], terminal_width=120)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_first_page_names_every_command_and_the_exit_codes():
    page = _help()
    assert [name for name in COMMANDS if not re.search(rf"^  {name}  ", page, re.MULTILINE)] == []
    assert "Exit codes" in page


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str):
    page = _help(name)
    assert re.search(rf"Examples?:\s+guardrail {name}\b", page), page


def test_every_option_and_sub_command_says_what_it_is():
    context = click.Context(cli)
    silent = []
    for words in _commands():
        command = cli.get_command(context, words[0])
        for word in words[1:]:
            assert isinstance(command, click.Group)
            command = command.get_command(context, word)
        assert command is not None
        silent += [" ".join(words)] * (not command.help)
        silent += [f"{' '.join(words)} {one.name}" for one in command.params if isinstance(one, click.Option) and not one.help]
    assert silent == []


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trian"], "no command 'trian'; did you mean 'train'?"),
        (["policy", "expalin"], "no policy command 'expalin'; did you mean 'explain'?"),
        (["keys", "shwo"], "no keys command 'shwo'; did you mean 'show'?"),
        (["keys", "zzzzz"], "no keys command 'zzzzz'; there are init, show"),
    ],
)
def test_an_unknown_command_of_any_group_names_the_nearest(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]):
    from guardrail.__main__ import run

    assert run(words) == 2
    assert capsys.readouterr().err.strip() == f"guardrail: {hint}"


@pytest.mark.parametrize("words", [["trian"], ["run", "--polcy", "x"], ["list", "generator"]])
def test_a_slip_of_the_pen_exits_2_with_a_hint(words: list[str], capsys: pytest.CaptureFixture[str]):
    from guardrail.__main__ import run

    assert run(words) == 2
    assert re.search(r"[Dd]id you mean|is not one of|No such option", capsys.readouterr().err)
