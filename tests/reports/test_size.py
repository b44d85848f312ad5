"""report.html stays below 5 MB whatever the data brings: it opens offline and travels by mail."""

import numpy as np
import pandas as pd
import pytest

from guardrail.registry.home import Home
from guardrail.reports.render import report_html
from guardrail.run.audit import audit_files
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.schema import Schema

MOST = 5_000_000


def people(n, seed, words):
    rng = np.random.default_rng(seed)
    a, b = (pd.Categorical.from_codes(rng.integers(0, 50, n), words[i * 50 : i * 50 + 50]) for i in range(2))
    score = rng.normal(size=n)
    return pd.DataFrame({"a": a, "b": b, "score": score, "ill": pd.array(score + rng.normal(size=n) > 0, dtype="boolean")})


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """Two sensitive columns of fifty words of 300 bytes, so 2,600 groups; every audit."""
    words = [f"{i:02}" + "&" * 298 for i in range(100)]
    columns = {name: {"kind": "categorical", "categories": words[i * 50 : i * 50 + 50]} for i, name in enumerate("ab")}
    columns |= {"score": {"kind": "numeric", "low": -9, "high": 9}, "ill": {"kind": "boolean"}}
    schema = Schema.model_validate({"target": "ill", "sensitive": ["a", "b"], "columns": columns})
    tables = [people(n, seed, words) for seed, n in enumerate((8000, 30_000, 8000))]
    return audit_files(tables[0], holdout=tables[1], synthetic=tables[2], schema=schema, home=Home(tmp_path_factory.mktemp("home")))


def test_thousands_of_groups_with_long_names_leave_the_page_small(crowded):
    assert len(report_html(crowded).encode()) < MOST


def test_no_audit_lists_more_than_a_hundred_groups_and_each_says_how_many_more_there_are(crowded):
    people = [found for found in crowded.findings if any("=" in name for name in found.groups)]
    assert {"bias.representation", "fairness.demographic_parity_difference", "privacy.exact_copies"} <= {f.metric for f in people}
    for found in people:
        assert sum(name.startswith(("a=", "b=")) for name in found.groups) <= 100, found.metric
        assert len(found.left_out) <= 100, found.metric
        assert all(len(plot.labels) <= 110 for plot in found.plots if hasattr(plot, "labels")), found.metric
    for metric in ("bias.representation", "fairness.demographic_parity_difference", "quality.utility_auc"):
        assert any("more" in caveat for caveat in crowded.finding(metric).caveats), metric


@pytest.mark.parametrize("letter", ["x", "&", "\x1b"])
def test_tables_of_a_third_party_that_caps_nothing_are_cut_and_the_page_says_so(report, letter):
    groups = {f"{i}" + letter * 300: Estimate(value=0.5, low=0.4, high=0.6, n=500) for i in range(3000)}
    changes = {"groups": groups, "comparisons": groups, "left_out": tuple(groups), "caveats": tuple(groups), "estimand": letter * 10**6}
    finding = report.findings[0].model_copy(update=changes)
    findings = (finding,) * 5 + (report.findings[4].model_copy(update={"reason": letter * 10**6}),) * 5
    page = report_html(report.model_copy(update={"findings": findings}))
    assert len(page.encode()) < MOST
    assert "more stand in the JSON file" in page


def test_a_table_that_fits_is_shown_as_a_whole(report):
    groups = {f"g={i}": Estimate(value=0.5, low=0.4, high=0.6, n=500) for i in range(300)}
    page = report_html(report.model_copy(update={"findings": (report.findings[0].model_copy(update={"groups": groups}),)}))
    assert all(f"<td>{name}</td>" in page for name in groups)
    assert "more stand in the JSON file" not in page
