"""`guardrail judge` and `guardrail policy explain` as a user meets them."""

import datetime as dt
import json

import pytest

from guardrail.__main__ import run
from guardrail.reports import read_report, write_report
from guardrail.vocabulary.estimate import Estimate
from guardrail.vocabulary.finding import Finding
from guardrail.vocabulary.report import Report, Subject

POLICY = """
name: mine
description: one rule
rules:
  - {id: membership, metric: privacy.membership_auc, require: "<= 0.55", severity: blocker, why: w, source: s}
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a report and a policy of its own."""

    def build(high=0.52):
        found = Finding.measured(
            "privacy.membership_auc", Estimate(value=0.5, low=0.48, high=high, n=900, method="delong"), estimand="by hand"
        )
        made = Report(
            created=dt.datetime.now(dt.UTC),
            guardrail_version="0",
            subject=Subject(name="visits", artifacts={"synthetic": "sha256:1"}),
            findings=(found,),
        )
        write_report(made, tmp_path / "report")
        (tmp_path / "mine.yaml").write_text(POLICY)
        return tmp_path

    return build


def _judge(folder, *more, policy="mine.yaml", report="report", out="judged"):
    return run(["judge", str(folder / report), "--policy", str(folder / policy), "--out", str(folder / out), *more])


@pytest.mark.parametrize(("high", "code", "status"), [(0.52, 0, "pass"), (0.56, 1, "fail")])
def test_the_exit_code_is_the_verdict(high, code, status, folder, capsys):
    place = folder(high)
    before = (place / "report" / "report.json").read_bytes()
    assert _judge(place) == code
    assert read_report(place / "judged").verdict.status == status
    assert (place / "report" / "report.json").read_bytes() == before
    assert f"policy mine: {status}" in capsys.readouterr().out


def test_the_report_file_may_be_named_itself(folder):
    assert _judge(folder(), report="report/report.json") == 0


def test_json_is_one_object_and_nothing_else(folder, capsys):
    assert _judge(folder(), "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["policy"] == "mine"


def test_a_built_in_policy_that_lacks_evidence_does_not_pass(folder, capsys):
    place = folder()
    assert run(["judge", str(place / "report"), "--policy", "samples", "--out", str(place / "judged")]) == 1
    assert "unknown" in capsys.readouterr().out


@pytest.mark.parametrize("out", ["report", "."])
def test_the_given_report_is_never_overwritten(out, folder, capsys):
    place = folder()
    before = (place / "report" / "report.json").read_bytes()
    assert _judge(place, out=out) == 2
    assert (place / "report" / "report.json").read_bytes() == before
    assert capsys.readouterr().err.count("\n") == 1


def test_a_report_about_another_artifact_is_refused(folder, capsys):
    place = folder()
    assert _judge(place, "--expect", "synthetic=sha256:1") == 0
    assert _judge(place, "--expect", "synthetic=sha256:2", out="second") == 2
    assert "another synthetic" in capsys.readouterr().err
    assert not (place / "second").exists()


@pytest.mark.parametrize("fault", ["policy", "report", "out", "expect"])
def test_bad_input_exits_2_with_one_line_and_leaves_nothing(fault, folder, capsys):
    place = folder()
    if fault == "policy":
        (place / "mine.yaml").write_text(POLICY.replace("0.55", "55"))
    elif fault == "report":
        (place / "report" / "report.json").write_text('{"findings": NaN}')
    elif fault == "out":
        (place / "judged").mkdir()
        (place / "judged" / "thesis.txt").write_text("mine")
    assert _judge(place, *(["--expect", "synthetic"] if fault == "expect" else [])) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not (place / "judged" / "report.json").exists()


def test_explain_says_each_rule_in_words(capsys):
    assert run(["policy", "explain", "samples"]) == 0
    text = capsys.readouterr().out
    assert "at most that of real rows the generator never saw (holdout), plus 0.01" in text
    assert "where we trained the generator" in text
    assert "source: " in text


def test_explain_as_json(capsys):
    assert run(["policy", "explain", "release", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "release"


def test_explain_names_the_nearest_policy(capsys):
    assert run(["policy", "explain", "relase"]) == 2
    assert "did you mean 'release'" in capsys.readouterr().err
