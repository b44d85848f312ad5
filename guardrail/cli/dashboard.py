"""`guardrail dashboard`: serves the pages of guardrail.dashboard with Streamlit, on this machine only unless exposed."""

from __future__ import annotations

import importlib.util
import ipaddress
import subprocess
import sys
from pathlib import Path

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--expose", is_flag=True, help="Allow an address that other machines can reach. There is no login.")
@click.pass_context
def dashboard(ctx: click.Context, host: str, port: int, expose: bool) -> None:
    """Show runs, findings and cards in the browser.

    \b
    Example: guardrail dashboard
    """
    from ..vocabulary.errors import MissingExtra, SpecError

    if not _loopback(host):
        if not expose:
            raise SpecError(
                f"--host {host}: other machines could read reports made from private records, and there is no login; add --expose"
            )
        click.echo(f"warning: everyone who reaches {host}:{port} can read every report of this home", err=True)
    if importlib.util.find_spec("streamlit") is None:
        raise MissingExtra.named("dashboard", "the dashboard")
    click.echo(f"http://{'localhost' if _loopback(host) else host}:{port}  (Ctrl-C stops it)", err=True)
    ctx.exit(_serve(command(host, port)))


def command(host: str, port: int) -> list[str]:
    """Headless, no file watching, and nothing reported to anyone."""
    settings = {
        "server.headless": "true",
        "server.address": host,
        "server.port": str(port),
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "theme.base": "light",
    }
    return [sys.executable, "-m", "streamlit", "run", str(_page()), *(f"--{name}={value}" for name, value in settings.items())]


def _page() -> Path:
    found = importlib.util.find_spec("guardrail.dashboard")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("guardrail.dashboard is not part of this installation")
    return Path(found.submodule_search_locations[0]).resolve() / "app.py"


def _serve(arguments: list[str]) -> int:
    """Until it ends; an interrupt is the usual way to end it."""
    with subprocess.Popen(arguments) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            server.wait()
            return 0


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
