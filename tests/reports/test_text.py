import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.reports.text import code, inert, interval, markdown, number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1, "1"),
        (0.53124, "0.531"),
        (-0.0316, "-0.032"),
        (1e-5, "0.00001"),
        (0.00012345, "0.00012"),
        (39074, "39,074"),
        (22026.47, "22,026"),
        (12.345, "12.35"),
        (0.99976, "0.9998"),
        (0.9999999, "0.9999999"),
        (1e-12, "1e-12"),
        (None, "none"),
    ],
)
def test_numbers_are_short_and_never_claim_certainty(value, shown):
    assert number(value) == shown


@given(st.floats(-1e12, 1e12))
def test_a_shown_number_is_the_value_rounded(value):
    shown = float(number(value).replace(",", ""))
    assert math.isclose(shown, value, rel_tol=0.06, abs_tol=0.0)


@given(st.floats(0, 1, exclude_max=True))
def test_only_certainty_is_shown_as_one(value):
    assert number(value) != "1" or 1 - value < 1e-9


def test_intervals_are_said_in_words():
    assert interval(0.5, 0.5, 0.5) == "exact"
    assert interval(0.51, 0.55, 0.53) == "0.510 to 0.550"
    assert interval(None, 0.55, 0.53) == "at most 0.550"
    assert interval(0.51, None, 0.53) == "at least 0.510"
    assert interval(None, None, 0.53) == "no interval"


@given(st.text())
def test_inert_text_is_printable_and_no_formula(text):
    shown = inert(text)
    assert shown.isprintable()
    assert not re.match(r"\s*[=+\-@]", shown)


@given(st.text(alphabet="<>[]()`*_{}#|~&!:@$^\\ax1.-=+/\n"))
def test_markdown_has_no_sign_left_unescaped(text):
    escaped = re.sub(r"\\[^a-z0-9\s]", "·", markdown(text))  # something stands there: `:/` and `/` do not become a link around it
    assert not re.search(r"[<>\[\]`*_{}#|~!@$^\\]", escaped.replace("&lt;", "").replace("&gt;", "").replace("&amp;", ""))
    assert "\n" not in escaped
    assert "://" not in escaped


@pytest.mark.parametrize("name", ["a`b", "-x", "<b>", "a|b", "`", "x\n"])
def test_code_never_ends_early(name):
    assert not code(name).startswith("`")


def test_plain_names_are_set_in_code():
    assert code("privacy.membership_auc") == "`privacy.membership_auc`"
