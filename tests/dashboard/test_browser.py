"""One walk through the dashboard in a real browser: nothing runs that a run brought along, and nothing is fetched from outside."""

import io
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from PIL import Image

from guardrail.cards import write_card
from guardrail.cli.dashboard import command
from guardrail.registry.runs import Registry, read_folder
from guardrail.vocabulary.card import Card
from guardrail.vocabulary.documents import read_json
from guardrail.vocabulary.frozen import parse

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
HOSTILE = (
    '"><img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script> '
    "[a](javascript:alert(1)) http://evil.example :red[x] $x$ {{7*7}}"
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine: apt-get install chromium")


@pytest.fixture
def server(own_home):
    pytest.importorskip("streamlit")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(command("127.0.0.1", port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield _ready(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()


def _ready(url: str, process: subprocess.Popen) -> str:
    for _ in range(600):
        assert process.poll() is None, "the server ended before it answered"
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5) as answer:  # noqa: S310
                if answer.read() == b"ok":
                    return url
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError("the server did not answer within a minute")


@pytest.fixture
def page():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=FLAGS.split())
        opened = browser.new_page(viewport={"width": 1280, "height": 1600})
        opened.set_default_timeout(30_000)
        yield opened
        browser.close()


def test_a_walk_from_the_list_to_the_evidence(server, page, own_home, saved, make_run, make_card, tmp_path):
    folder = make_run("20261122-000000-000000-hostile", name=HOSTILE, group=f"sex={HOSTILE}", column=HOSTILE)
    make_card(folder, title=HOSTILE, intended_use=HOSTILE)
    hostile = read_folder(folder).model_copy(update={"name": HOSTILE[:64], "family": HOSTILE})
    Registry(own_home).add_run(hostile)
    hosts, faults = set(), []
    page.on("request", lambda request: hosts.add(request.url.split("/")[2] if "://" in request.url else "inline"))
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))

    page.goto(server)
    page.get_by_role("heading", name="Runs").wait_for()
    page.get_by_role("button", name="Open").nth(1).wait_for()
    page.screenshot(path=tmp_path / "list.png", full_page=True)
    page.get_by_role("button", name="Open").first.click()
    page.get_by_role("heading", name="Clinic visits").wait_for()
    page.get_by_text("What epsilon means here").wait_for()
    page.screenshot(path=tmp_path / "plain.png", full_page=True)
    page.get_by_role("tab", name="Findings").click()
    page.get_by_text("0.948 to 0.954").wait_for()
    for expander in page.get_by_role("tabpanel").locator("summary:visible").all():
        expander.click()
    page.locator("details img:visible").nth(3).wait_for()
    page.wait_for_function("[...document.images].filter(i => i.offsetParent).every(i => i.complete && i.naturalWidth > 0)")
    page.screenshot(path=tmp_path / "findings.png", full_page=True)
    page.get_by_role("tab", name="Evidence").click()
    page.get_by_text("unchanged").first.wait_for()
    page.screenshot(path=tmp_path / "evidence.png", full_page=True)

    page.goto(f"{server}/?run={hostile.id}")
    page.get_by_role("heading", name="img src=x").first.wait_for()
    for tab in ("Findings", "Evidence", "In plain words"):
        page.get_by_role("tab", name=tab).click()
    page.screenshot(path=tmp_path / "hostile.png", full_page=True)
    assert HOSTILE in page.get_by_role("heading", level=1).inner_text()
    links = {link.get_attribute("href") or "#" for link in page.locator("a").all()}
    assert page.title() != "owned" and page.locator("img[src=x]").count() == 0 and all(link.startswith("#") for link in links)
    assert faults == [] and hosts <= {server.split("/")[2], "inline", ""}


def test_a_card_as_a_file_shows_its_picture_and_fetches_nothing(page, make_run, make_card, tmp_path):
    folder = make_run("20261122-000000-000000-pictured")
    make_card(folder)
    drawn = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(drawn, "PNG")
    write_card(parse(Card, read_json(folder / "card.json"), where="card"), tmp_path, preview=drawn.getvalue())
    hosts = []
    page.on("request", lambda request: hosts.append(request.url.split(":")[0]))
    page.goto((tmp_path / "card.html").as_uri())
    assert page.evaluate("[...document.images].map(i => [i.naturalWidth, i.naturalHeight])") == [[40, 30]]
    assert set(hosts) <= {"file", "data"}
