import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.reports import publish
from guardrail.reports.publish import _rounded
from guardrail.vocabulary.estimate import Estimate


def _groups(report):
    return set(report.finding("privacy.membership_auc").groups)


def test_small_groups_go_and_take_the_next_smallest_with_them(report):
    assert _groups(publish(report)) == {"sex=female", "sex=male", "race=c"}


def test_a_group_that_is_large_enough_stays(build_report):
    assert _groups(publish(build_report(small=30))) == {"sex=female", "sex=male", "race=a", "race=b", "race=c"}


def test_comparisons_on_few_records_go(report):
    assert set(publish(report).finding("quality.pairs").comparisons) == {"floor"}


def test_a_finding_on_few_records_is_not_published(report):
    small = report.findings[0].model_copy(update={"n": 29})
    published = publish(report.model_copy(update={"findings": (small,)})).findings[0]
    assert (published.status, published.value, published.groups) == ("not_assessable", None, {})


def test_distributions_and_curves_go_and_whiskers_show_only_what_the_finding_shows(report):
    published = publish(report)
    assert {plot.kind for found in published.findings for plot in found.plots} == {"heatmap", "whiskers"}
    (whiskers,) = published.finding("privacy.membership_auc").plots
    assert whiskers.labels == ("all rows", "sex=female", "sex=male", "race=c")
    (heatmap,) = published.finding("quality.pairs").plots  # the one by group is gone
    assert heatmap.values == ((1.0, 0.94), (0.94, None))


def test_numbers_are_rounded_to_their_intervals_width(report):
    found = publish(report).finding("privacy.membership_auc")
    assert (found.value, found.low, found.high, found.n) == (0.5, 0.48, 0.52, 4000)


@given(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_a_rounded_interval_still_covers(ends):
    low, value, high = ends
    rounded = _rounded(Estimate(value=value, low=low, high=high, n=100), "quality.pairs")
    assert rounded.low <= low + 1e-6
    assert rounded.high >= high - 1e-6
    assert rounded.low <= rounded.value <= rounded.high
    assert rounded.low >= 0
    assert rounded.high <= 1


def test_what_the_receipt_says_is_not_rounded(report):
    assert publish(report).finding("privacy.epsilon").value == 2.9712


def test_no_exact_count_of_records_is_left(report):
    text = publish(report).model_dump_json()
    assert not re.search(r"8123|4021|917|3104|32561", text)
    assert "about 8,100 rows" in text


def test_plain_hashes_of_private_data_go_and_keyed_ones_stay(report):
    published = publish(report)
    assert "e" * 64 not in published.model_dump_json()
    assert set(published.subject.artifacts) == {"synthetic", "train"}


def test_the_verdict_shows_the_published_numbers_and_keeps_its_statuses(report):
    before, after = report.verdict, publish(report).verdict
    assert [rule.status for rule in after.rules] == [rule.status for rule in before.rules]
    pairs, membership, _, delta, _ = after.rules
    assert (pairs.observed, pairs.judged) == (0.951, 0.948)
    assert (membership.observed, membership.judged, membership.note) == (0.5, 0.52, "")
    assert "0.9243" not in publish(report).model_dump_json()
    assert "A. Person" in delta.note


def test_one_line_says_what_was_done(report):
    published = publish(report)
    assert published.audience == "public"
    assert len(published.caveats) == 1
    assert published.caveats[0].startswith("Public")


def test_publishing_twice_changes_nothing_more(report):
    assert publish(publish(report)) == publish(report)


def test_the_internal_report_is_not_touched(report):
    before = report.model_dump_json()
    publish(report)
    assert report.model_dump_json() == before


@pytest.mark.parametrize(("low", "high"), [(None, 0.9), (0.1, None), (None, None)])
def test_one_sided_intervals_stay_one_sided(low, high):
    rounded = _rounded(Estimate(value=0.5432, low=low, high=high, n=100), "quality.pairs")
    assert (rounded.low is None, rounded.high is None) == (low is None, high is None)
