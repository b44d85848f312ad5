"""The card says what fails, what epsilon means, what nobody looked at; and lets no name act."""

import base64
import datetime as dt
import html
import json
import math
import re
from html.parser import HTMLParser

import pytest

from guardrail.cards import build_card, write_card
from guardrail.cards.write import card_html, card_markdown
from guardrail.reports import publish
from guardrail.reports.directory import report_json
from guardrail.vocabulary.card import Card, Words
from guardrail.vocabulary.documents import sha256_of
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.frozen import parse
from guardrail.vocabulary.metrics import METRICS
from guardrail.vocabulary.plots import Bars
from guardrail.vocabulary.privacy_meaning import best_tpr
from guardrail.vocabulary.receipt import GaussianQuery, PrivacyClaim, Receipt, SampledGaussian
from guardrail.vocabulary.report import Report, RuleOutcome, Subject, Verdict
from guardrail.vocabulary.schema import Schema

MOMENT = dt.datetime(2026, 3, 10, 10, 15, tzinfo=dt.UTC)
ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[x](javascript:alert(1))",
    "{{7*7}}",
    "=1+1",
    "\x1b[31m",
    "a|b\n# c",
)


def _receipt(epsilon=2.9712, noise="secure", private=True):
    claim = PrivacyClaim(
        epsilon=epsilon,
        epsilon_rdp=epsilon * 1.08,
        delta=1e-5,
        unit="patient",
        rows_per_unit=3,
        mechanisms=(
            GaussianQuery(what="one-way counts", sensitivity=3.9, noise_multiplier=12.5),
            SampledGaussian(what="gradients", noise_multiplier=2.31, sample_rate=0.11, steps=360, clip=3, normaliser=4096),
        ),
        records_public=40000,
        records_source="declared public",
        noise=noise,
        schema_sources={"age": "public (data dictionary)"},
    )
    return Receipt(
        generator="made",
        strategy="private" if private else "plain",
        seed=7,
        data="hmac-sha256:" + "a" * 64,
        trained_rows=None if private else 32000,
        epochs=40,
        batch_size=4096,
        steps=360,
        learning_rate=0.003,
        device="cpu",
        parameters=74112,
        privacy=claim if private else None,
        started=MOMENT,
        seconds=41.5,
        versions={"python": "3.11"},
    )


def _verdict(policy, status, *rules):
    return Verdict(policy=policy, policy_sha256="d" * 64, status=status, rules=rules)


def _rule(name="membership", status="unsure", *, severity="blocker", why="No attack may do better.", note=""):
    return RuleOutcome(
        id=name,
        metric="privacy.membership_auc",
        status=status,
        severity=severity,
        require="<= 0.51",
        observed=0.5031,
        judged=0.5174,
        why=why,
        note=note,
    )


def _report(name="visits", group="sex=female"):
    membership = Finding.measured(
        "privacy.membership_auc",
        Estimate(value=0.5031, low=0.4892, high=0.5174, n=4021, method="delong"),
        estimand=f"the best attack on {group}",
        reference=0.5,
        comparisons={"floor": Estimate(value=0.5011, low=0.49, high=0.51, n=4021)},
        groups={group: Estimate(value=0.51, low=0.47, high=0.55, n=917)},
        plots=(Bars(title=group, labels=(group,), series={group: (0.25,)}),),
        caveats=("An attack that fails certifies nothing.",),
    )
    return Report(
        created=MOMENT,
        guardrail_version="0.1.0",
        subject=Subject(
            name=name, family="made", receipt="sha256:" + "b" * 64, artifacts={"train": "hmac-sha256:" + "a" * 64}, rows={"train": 32561}
        ),
        findings=(membership, Finding.not_assessable("fairness.demographic_parity_difference", "no sensitive column was named")),
    )


def _schema(name="age"):
    return Schema.model_validate(
        {
            "declared_by": "data dictionary",
            "target": "readmitted",
            "sensitive": ["sex"],
            "unit": "patient",
            "columns": {
                name: {"kind": "integer", "low": 0, "high": 113},
                "income": {"kind": "numeric", "low": 17.25, "high": 98765.5, "source": "data", "missing": True},
                "sex": {"kind": "categorical", "categories": ["female", "male"]},
                "admitted": {"kind": "datetime", "low": "2019-01-01", "high": "2024-12-31"},
                "readmitted": {"kind": "boolean"},
            },
        }
    )


def _card(*, report=None, words=None, receipt="private", verdicts=None, schema=None, name="visits"):
    return build_card(
        name=name,
        created=MOMENT,
        words=words or Words(),
        report=report or _report(),
        verdicts=(_verdict("research", "pass"), _verdict("release", "fail", _rule())) if verdicts is None else verdicts,
        receipt=_receipt() if receipt == "private" else receipt,
        schema=schema or _schema(),
        spec={"name": "visits", "data": {"source": "/home/somebody/visits.csv", "holdout": 0.2}},
        artifacts={"synthetic": "sha256:" + "c" * 64},
    )


def _text(page):
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


class _Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def _views(card):
    return " ".join(_text(card_html(card)).split()), " ".join(re.sub(r"\\(?=\W)", "", card_markdown(card)).replace("`", "").split())


def test_three_files_from_one_object(tmp_path):
    card = _card()
    write_card(card, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"card.json", "card.md", "card.html"}
    assert parse(Card, json.loads((tmp_path / "card.json").read_text()), where="card.json") == card


def test_both_views_say_what_fails_what_epsilon_means_and_what_was_not_assessed():
    for text in _views(_card()):
        for wanted in (
            "Passes the policy 'research'",
            "Does not pass the policy 'release'",
            "No attack may do better.",
            f"{100 * best_tpr(2.9712, 1e-5, 0.01):.1f} %",
            "No sensitive column was named",
            "epsilon 10 of 22,026",
            "PRV",
            "Rényi",
            "add-or-remove one unit",
            "declared public",
            "one-way counts",
            "Attacks only refute",
            "never certify",
            "outside any epsilon",
        ):
            assert wanted in text, wanted


def test_the_meaning_of_epsilon_is_the_tight_bound():
    meaning = _card().privacy
    assert meaning.best_tpr == pytest.approx(min(math.exp(2.9712) * 0.01 + 1e-5, 1 - math.exp(-2.9712) * (1 - 1e-5 - 0.01)))
    assert meaning.likelihood_ratio == pytest.approx(math.exp(2.9712))
    assert not meaning.weak


def test_epsilon_ten_is_called_weak():
    card = _card(receipt=_receipt(epsilon=10.0))
    assert card.privacy.weak
    for text in _views(card):
        assert "forbids little" in text
        assert "22,026" in text
        assert "more than 99.9 %" in text


@pytest.mark.parametrize("epsilon", [0.0, 50.5, 1000.0])
def test_any_epsilon_makes_a_card(epsilon):
    assert _card(receipt=_receipt(epsilon=epsilon)).privacy.claimed


@pytest.mark.parametrize(
    ("receipt", "words"),
    [
        (None, "No privacy claim. These samples come from elsewhere"),
        (_receipt(private=False), "Not private. Training was not differentially private"),
        (_receipt(noise="seeded"), "no privacy claim. The noise came from a seed"),
    ],
)
def test_what_is_not_private_is_called_so(receipt, words):
    card = _card(receipt=receipt)
    assert (card.privacy.claimed, card.privacy.best_tpr) == (False, None)
    for text in _views(card):
        assert words in text
        assert "finds at most" not in text


def test_words_that_nobody_wrote_are_not_stated():
    for text in _views(_card()):
        assert text.count("not stated") == 8 - 1  # every field but the title, which is the name then
    for text in _views(_card(words=Words(**dict.fromkeys(Words.model_fields, "Said by people.")))):
        assert "not stated" not in text


def test_every_known_metric_is_measured_or_listed_as_not_assessed():
    card = _card()
    listed = {metric for gap in card.not_assessed for metric in gap.metrics}
    measured = {found.metric for found in card.findings if found.value is not None}
    assert listed | measured >= set(METRICS)
    assert not listed & measured


def test_the_schema_says_who_declared_each_entry():
    columns = {column.name: column for column in _card().columns}
    assert columns["age"].source == "public (data dictionary)"
    assert columns["income"].source == "data"
    assert (columns["sex"].roles, columns["readmitted"].roles) == (("sensitive",), ("target",))
    assert columns["income"].allowed == "17.25 to 98,765.5, may be missing"


def test_evidence_leads_back_to_the_report():
    card = _card()
    assert card.evidence["report.json"] == sha256_of(report_json(_report()))
    assert card.evidence["synthetic"] == "sha256:" + "c" * 64
    assert card.evidence["train"].startswith("hmac-")


def test_without_a_policy_nothing_passes():
    for text in _views(_card(verdicts=())):
        assert "Not judged by any policy" in text


def test_a_waived_rule_is_shown_with_who_waived_it():
    rule = _rule(status="waived", note="would be fail; waived by A. Person until 2026-05-01: agreed")
    for text in _views(_card(verdicts=(_verdict("release", "pass", rule),))):
        assert "A. Person" in text


def test_a_public_card_holds_back_extremes_paths_and_exact_counts():
    card = _card(report=publish(_report()))
    text = card.model_dump_json() + card_html(card) + card_markdown(card)
    for private in ("17.25", "98,765.5", "98765.5", "/home/somebody", "32561", "4021", "0.5174"):
        assert private not in text
    assert "Public: records" in text


def test_hostile_words_and_names_are_inert():
    everything = " ".join(ATTACKS)
    for attack in (*ATTACKS, everything):
        card = _card(
            report=_report(name=attack, group=attack),
            words=Words(**dict.fromkeys(Words.model_fields, attack)),
            verdicts=(_verdict("release", "fail", _rule(why=attack, note=attack)),),
            schema=_schema(name=attack),
            name=attack,
        )
        page, text = card_html(card), card_markdown(card)
        parsed = _Elements(page)
        assert not {"script", "img", "a", "iframe", "object"} & parsed.tags
        assert not [name for name in parsed.attributes if name.startswith("on") or name in ("href", "src")]
        assert "<" not in text
        assert not re.search(r"(?<!\\)\]\(|(?<!\\)\{\{", text)
        assert not re.search(r"(?m)^# c", text)
        assert "\x1b" not in page + text
        assert not re.search(r"<t[dh][^>]*>\s*[=+@]", page)


def test_a_card_shows_the_picture_it_carries_and_may_fetch_none():
    page = card_html(_card(), preview=b"picture")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    allowed = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert allowed == {"default-src": "'none'", "img-src": "data:", "style-src": "'unsafe-inline'"}
    assert re.findall(r'<img src="([^"]+)"', page) == [f"data:image/png;base64,{base64.b64encode(b'picture').decode()}"]


def test_persons_that_were_counted_are_not_called_rows():
    of_patients = _card()
    claim = of_patients.receipt.privacy.model_copy(update={"unit": "row"})
    of_rows = of_patients.model_copy(update={"receipt": of_patients.receipt.model_copy(update={"privacy": claim})})
    shown = [re.findall(r"<dt>training (rows|units)</dt>", card_html(card)) for card in (of_patients, of_rows)]
    assert shown == [["units"], ["rows"]]


def test_a_failing_write_leaves_no_card(tmp_path, monkeypatch):
    import guardrail.cards.write as module

    def broken(card, preview=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "card_html", broken)
    with pytest.raises(KeyboardInterrupt):
        write_card(_card(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_number_on_the_card_is_in_its_json():
    card = _card()
    known = set()
    for found in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", card.model_dump_json()):
        known.add(float(found.replace(",", "")))
    known |= {number * 100 for number in known if number <= 1}  # a share as a percentage
    for text in _views(card):
        for token in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", text):
            shown, decimals = float(token.replace(",", "")), len(token.partition(".")[2])
            assert any(math.isclose(round(number, decimals), shown, rel_tol=1e-9) for number in known), token
