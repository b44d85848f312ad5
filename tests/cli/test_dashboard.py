import sys
from pathlib import Path

import pytest

from guardrail.__main__ import run
from guardrail.cli import dashboard


@pytest.fixture
def served(monkeypatch):
    """What would have been started."""
    started: list[list[str]] = []
    monkeypatch.setattr(dashboard, "_serve", lambda arguments: started.append(arguments) or 0)
    return started


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_dashboard_listens_on_this_machine_and_reports_to_nobody(served, host):
    assert run(["dashboard", "--host", host, "--port", "8599"]) == 0
    (arguments,) = served
    assert arguments[:4] == [sys.executable, "-m", "streamlit", "run"] and Path(arguments[4]).name == "app.py"
    for setting in (f"--server.address={host}", "--server.port=8599", "--browser.gatherUsageStats=false", "--server.fileWatcherType=none"):
        assert setting in arguments


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.0.0.1.example.org", ""])  # noqa: S104
def test_an_address_others_can_reach_is_refused_unless_exposed_on_purpose(served, host, capsys):
    assert run(["dashboard", "--host", host]) == 2
    assert "--expose" in capsys.readouterr().err and served == []
    assert run(["dashboard", "--host", host, "--expose"]) == 0
    assert "warning" in capsys.readouterr().err and len(served) == 1


def test_without_streamlit_the_message_names_the_extra(served, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(["dashboard"]) == 2
    assert "guardrail-generators[dashboard]" in capsys.readouterr().err and served == []


def test_the_exit_code_is_the_servers(monkeypatch):
    monkeypatch.setattr(dashboard, "command", lambda host, port: [sys.executable, "-c", "raise SystemExit(3)"])
    assert run(["dashboard"]) == 3
