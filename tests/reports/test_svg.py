from xml.etree import ElementTree as Tree

import pytest

from guardrail.reports.strip import strip
from guardrail.reports.svg import draw
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.plots import Bars, Curve, Heatmap, Whiskers

PLOTS = [
    Bars(title="t", labels=("a", "b"), series={"real": (0.2, 0.8), "synthetic": (0.3, 0.7)}),
    Bars(title="empty", labels=(), series={}),
    Bars(title="nothing", labels=("a",), series={"real": (0.0,)}),
    Bars(title="negative", labels=("a", "b"), series={"real": (-0.5, 0.5)}),
    Bars(title="long", labels=tuple(f"label {i} that is rather long to print" for i in range(500)), series={"real": (0.1,) * 500}),
    Curve(title="t", x="x", y="y", series={"a": ((0, 0), (1, 1))}, diagonal=True),
    Curve(title="empty", x="x", y="y", series={}),
    Curve(title="flat", x="x", y="y", series={"a": ((1, 5), (2, 5)), "none": ()}),
    Curve(title="long", x="x", y="y", series={"a": tuple((i, i % 7) for i in range(100_000))}),
    Whiskers(title="t", labels=("a", "b"), values=(0.5, 0.6), lows=(0.4, None), highs=(None, 0.7), line=0.5),
    Whiskers(title="empty", labels=(), values=(), lows=(), highs=()),
    Whiskers(title="one", labels=("a",), values=(0.5,), lows=(0.5,), highs=(0.5,)),
    Heatmap(title="t", rows=("a",), columns=("a", "b"), values=((0.5, None),)),
    Heatmap(title="empty", rows=(), columns=(), values=()),
    Heatmap(title="large", rows=("r",) * 90, columns=("c",) * 90, values=((0.5,) * 90,) * 90),
]


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: f"{plot.kind} {plot.title}")
def test_every_plot_becomes_small_well_formed_svg(plot):
    drawing = draw(plot)
    root = Tree.fromstring(drawing)  # noqa: S314  # our own
    assert root.find("title").text == plot.title
    assert root.get("role") == "img"
    assert "nan" not in drawing
    assert len(drawing) < 350_000


@pytest.mark.parametrize("plot", [plot for plot in PLOTS if plot.title in ("long", "large") and plot.kind != "curve"], ids=lambda p: p.kind)
def test_what_was_left_out_is_said(plot):
    assert "rest stands in report.json" in draw(plot)


def test_an_escaped_name_is_text_and_no_markup():
    drawing = draw(Bars(title="<script>", labels=('"><img onerror>',), series={"</svg>": (1.0,)}))
    root = Tree.fromstring(drawing)  # noqa: S314  # our own
    assert {element.tag for element in root.iter()} <= {"svg", "title", "desc", "rect", "text"}
    assert any(element.text == '"><img onerror>' for element in root.iter("text"))


def _dots(finding):
    return [float(dot.get("cx")) for dot in Tree.fromstring(strip(finding)).iter("circle")]  # noqa: S314  # our own


def test_the_interval_bar_places_values_on_the_metrics_whole_range():
    def found(value):
        return Finding.measured("quality.pairs", Estimate.exact(value), estimand="", comparisons={"floor": Estimate.exact(0.5)})

    (at_zero, half), (at_one, same) = _dots(found(0.0)), _dots(found(1.0))
    assert at_zero < half == same < at_one
    assert half == pytest.approx((at_zero + at_one) / 2)


def test_only_comparisons_on_the_metrics_own_scale_are_drawn():
    comparisons = {"floor": Estimate.exact(0.4), "score_real": Estimate.exact(0.9)}
    finding = Finding.measured("quality.utility_gap", Estimate.exact(0.1), estimand="", comparisons=comparisons)
    assert len(_dots(finding)) == 2


def test_what_was_not_assessed_has_no_bar():
    assert strip(Finding.not_assessable("quality.pairs", "none")) == ""
