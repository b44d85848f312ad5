import base64
import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("streamlit")
from markupsafe import escape
from streamlit.testing.v1 import AppTest

from guardrail.registry.runs import Registry, RunRecord, read_folder
from guardrail.reports.text import inert

HOSTILE_IDS = [
    "../",
    "..\\..\\etc",
    "%2e%2e%2f",
    "/etc/passwd",
    "x\0y",
    "\u202egnp",
    "CON",
    "a" * 300,
    "<script>alert(1)</script>",
    "2026",
    "{path}",
]
SCRIPT = "<script>alert(1)</script>"
HOSTILE = [
    '"><img src=x onerror=alert(1)>',
    "[x](javascript:alert(1)) http://example.org",
    "{{7*7}}",
    "$\\href{javascript:1}{x}$",
    ":red[x]",
    "=cmd()",
    SCRIPT,
]


def opened(app, run=None) -> AppTest:
    test = AppTest.from_file(app, default_timeout=60)
    if run is not None:
        test.query_params["run"] = run
    return test.run()


def words(test: AppTest) -> str:
    """Everything the page says."""
    assert not test.exception
    return "\n".join([element.value for element in test.code] + [element.proto.body for element in test.get("html")])


def test_an_empty_registry_says_how_to_make_a_first_run(app, own_home):
    test = opened(app)
    assert not test.exception and "no runs yet" in words(test) and "guardrail demo" in words(test)


def test_runs_are_listed_with_cost_and_verdict_and_open_on_a_click(app, own_home, saved):
    test = opened(app)
    listed = words(test)
    assert "clinic-visits" in listed and "epsilon 2.97" in listed and "release: fail" in listed and saved in listed
    test.button(key=f"open {saved}").click().run()
    assert "<h1>Clinic visits</h1>" in words(test)
    test.button[0].click().run()
    assert "<h1>Runs</h1>" in words(test)


def test_the_page_of_a_run_begins_with_what_fails_and_what_epsilon_means(app, saved):
    test = opened(app, saved)
    assert not test.exception
    assert [tab.label for tab in test.tabs] == ["In plain words", "Findings", "Evidence"]
    said = words(test)
    assert "Does not pass the policy &#39;release&#39;" in said and "1 of 3 rules pass" in said
    assert '<div class="figure">19.5 %' in said.replace("\u202f", " ").replace("\u00a0", " ") and "No sensitive column was named" in said
    assert "Teaching" in said and "not stated" in said


def test_every_finding_is_shown_with_interval_reference_rule_groups_and_plots(app, saved):
    test = opened(app, saved)
    said = words(test)
    for number in ("0.951", "0.948 to 0.954", "0.976", "floor 0.921", "0.503", "0.489 to 0.517", "8,000"):
        assert number in said
    assert "not assessed: no sensitive column was named" in said
    assert "sex=female" in said and "High similarity says nothing about privacy" in said
    for status in ("passes", "unsure", "unknown"):
        assert f"{status}</span>" in said
    drawings = [base64.b64decode(data) for data in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', said)]
    assert len(drawings) == 3 + 4 and all(drawing.startswith(b'<svg xmlns="http://www.w3.org/2000/svg" ') for drawing in drawings)


def test_changed_evidence_is_seen(app, own_home, saved):
    assert words(opened(app, saved)).count("unchanged") == 4
    folder = Path(Registry(own_home).get(saved).path)
    (folder / "receipt.json").write_text((folder / "receipt.json").read_text() + "\n")
    (folder / "spec.yaml").unlink()
    said = words(opened(app, saved))
    assert "changed since" in said and "file is missing" in said


def test_a_run_without_claim_or_card_says_so(app, own_home, make_run, make_card):
    plain = make_run("plain", private=False)
    Registry(own_home).add_run(read_folder(plain))
    assert "privacy claim" in words(opened(app))
    assert "no model card yet" in words(opened(app, "plain"))
    make_card(plain)
    assert not opened(app, "plain").exception


@pytest.mark.parametrize("run", HOSTILE_IDS)
def test_names_in_the_address_reach_no_file(app, own_home, saved, run):
    path = Registry(own_home).get(saved).path
    test = opened(app, run.format(path=path))
    assert "no run" in words(test) and len(test.tabs) == 0 and SCRIPT not in words(test)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_words_stay_words(app, own_home, make_run, make_card, name):
    folder = make_run("hostile", name=name, group=f"sex={name}", column=name, policy=name)
    make_card(folder, title=name, intended_use=name)
    Registry(own_home).add_run(read_folder(folder).model_copy(update={"name": name, "family": name}))
    for test in (opened(app), opened(app, "hostile")):
        said = words(test)
        assert str(escape(inert(name))) in said
        assert "<script>" not in said and "<img src=x" not in said
        # Markdown would act on some of these, or make a link of an address; only our own words go through it.
        ours = [*test.markdown, *test.title, *test.caption, *test.error, *test.warning, *test.info]
        assert ours == [] and not any(name in element.label for element in (*test.expander, *test.button, *test.tabs))


def test_a_broken_or_linked_document_is_said_and_the_rest_is_shown(app, own_home, saved, tmp_path):
    folder = Path(Registry(own_home).get(saved).path)
    (folder / "card.json").write_text("{")
    test = opened(app, saved)
    assert "card.json" in words(test) and "0.951" in words(test)
    (tmp_path / "secret.json").write_text('{"secret": 1}')
    (folder / "card.json").unlink()
    (folder / "card.json").symlink_to(tmp_path / "secret.json")
    test = opened(app, saved)
    assert "links in a run folder are not followed" in words(test) and "secret" not in words(test)


def test_a_run_folder_that_is_gone_is_said(app, own_home):
    Registry(own_home).add_run(RunRecord(id="gone", name="gone", created=dt.datetime.now(dt.UTC), path="/nowhere/gone", family="made"))
    test = opened(app, "gone")
    assert "is not there" in words(test)


def test_a_broken_registry_is_one_message(app, own_home):
    own_home.key()
    (own_home.path / "registry.sqlite").write_bytes(b"no database " * 200)
    test = opened(app)
    assert "not a database" in words(test)


def test_the_dashboard_imports_no_torch():
    code = "import sys, guardrail.dashboard.app; sys.exit(any(name in sys.modules for name in ('torch', 'opacus')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
