"""What a public report of real audits says of a group of one: nothing, in no file."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from guardrail.cards import build_card, write_card
from guardrail.judging.judge import judge
from guardrail.judging.policies import load
from guardrail.registry.home import Home
from guardrail.reports import publish, write_report
from guardrail.run.audit import audit_files
from guardrail.vocabulary.card import Words
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Whiskers
from guardrail.vocabulary.schema import Schema

NAME = "OnlyJohnDoe"
WORDS = ["north", "south", "east", NAME]
SCHEMA = Schema.model_validate(
    {
        "target": "ill",
        "sensitive": ["place", "sex"],
        "columns": {
            "age": {"kind": "integer", "low": 0, "high": 100},
            "place": {"kind": "categorical", "categories": WORDS, "source": "data"},
            "sex": {"kind": "categorical", "categories": ["f", "m"]},
            "ill": {"kind": "boolean"},
        },
    }
)


def people(n, seed, *, of_john=0):
    rng = np.random.default_rng(seed)
    age, place = rng.integers(0, 100, n), rng.integers(0, 3, n)
    place[:of_john] = 3
    ill = pd.array(rng.random(n) < age / 100, dtype="boolean")
    words = pd.Categorical.from_codes(place, WORDS)
    return pd.DataFrame({"age": age, "place": words, "sex": pd.Categorical.from_codes(rng.integers(0, 2, n), ["f", "m"]), "ill": ill})


@pytest.fixture(scope="module", params=[0, 1, 60], ids=["lost", "kept", "multiplied"])
def audited(request, tmp_path_factory):
    """John is one of 2000 in train; the synthetic rows know him not at all, once, or sixty times over."""
    home = Home(tmp_path_factory.mktemp("home"))
    found = audit_files(people(2000, 1, of_john=1), holdout=people(1000, 2), synthetic=people(2000, 3, of_john=request.param),
                        schema=SCHEMA, home=home)  # fmt: skip
    return judge(found, load("samples"))


def test_no_file_of_a_public_report_names_a_group_of_one(audited, tmp_path):
    write_report(publish(audited), tmp_path / "report")
    card = build_card(
        name="clinic", created=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), words=Words(), report=publish(audited), verdicts=(), receipt=None,
        schema=SCHEMA, spec=None, artifacts={},
    )  # fmt: skip
    write_card(card, tmp_path)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 8
    assert [file.name for file in files if NAME in file.read_text()] == []


def test_the_internal_report_names_it_with_its_own_count(audited, tmp_path):
    write_report(audited, tmp_path / "report")
    assert NAME in (tmp_path / "report" / "report.html").read_text()
    assert NAME in (tmp_path / "report" / "report.md").read_text()
    found = audited.finding("bias.representation")
    assert found.groups[f"place={NAME}"].n <= 1
    assert found.groups["place=north"].n < 1000
    assert not any(NAME in caveat for finding in audited.findings for caveat in finding.caveats)


def test_the_public_report_still_names_the_groups_that_are_large_enough(audited):
    assert "sex=f" in publish(audited).finding("bias.representation").groups
    assert publish(audited).finding("bias.representation").value is not None


def test_an_audit_asked_for_a_public_report_makes_one(tmp_path):
    tables = {"holdout": people(300, 2), "synthetic": people(400, 3)}
    found = audit_files(people(400, 1, of_john=1), **tables, schema=SCHEMA, home=Home(tmp_path), only=("representation", "copies"),
                        audience="public")  # fmt: skip
    assert found.audience == "public"
    assert NAME not in found.model_dump_json()


def _published(report, **changes):
    groups = {"g=a": Estimate(value=0.5, low=0.4, high=0.6, n=29)} | {
        f"g={word}": Estimate(value=0.7, low=0.6, high=0.8, n=400) for word in "bcd"
    }
    finding = Finding.measured(
        "privacy.nearest_record_share", Estimate(value=0.5, low=0.48, high=0.52, n=2000), estimand="share; here g=a, not g=ab",
        groups=groups, caveats=("g=a is rare", "so are g=z and g=zz"),
        plots=(Whiskers.of({"all rows": Estimate(value=0.5, low=0.48, high=0.52), **groups}, title="by group", line=0.5),),
    ).model_copy(update=changes)  # fmt: skip
    return publish(report.model_copy(update={"findings": (finding,), "verdict": None})).findings[0]


def test_a_small_group_whose_value_is_the_headlines_leaves_the_plot(report):
    (plot,) = _published(report).plots
    assert plot.labels == ("all rows", "g=c", "g=d")


def test_a_group_that_is_called_like_the_headline_is_a_group(report):
    small = {"all rows": Estimate(value=0.5, low=0.4, high=0.6, n=3)}
    assert _published(report, groups=small).plots == ()


def test_names_of_groups_that_went_go_from_the_texts_too(report):
    found = _published(report, left_out=("g=z",))
    assert found.left_out == ()
    assert found.estimand == "share; here (a small group), not g=ab"
    assert found.caveats == ("(a small group) is rare", "so are (a small group) and g=zz")


def test_the_only_group_left_out_takes_the_next_smallest_with_it(report):
    groups = {f"g={word}: rate": Estimate(value=0.7, low=0.6, high=0.8, n=n) for word, n in (("b", 300), ("c", 400), ("d", 500))}
    assert set(_published(report, groups=groups, left_out=("g=a",)).groups) == {"g=c: rate", "g=d: rate"}
    assert set(_published(report, groups=groups, left_out=("g=a", "g=aa")).groups) == set(groups)
