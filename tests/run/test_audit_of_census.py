"""The audits on real rows at full size: a third disjoint part of the built-in data stands in for an honest generator."""

import pandas as pd
import pytest

from guardrail.data.builtin import load
from guardrail.judging.judge import judge
from guardrail.judging.policies import load as load_policy
from guardrail.run.audit import audit_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def thirds():
    frame, schema = load("adult")
    mixed = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    n = len(mixed) // 3
    return schema, mixed[:n], mixed[n : 2 * n], mixed[2 * n :]


@pytest.fixture
def blocked(thirds, tmp_path, monkeypatch):
    """The blockers that a policy raises against a table."""
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "home"))
    schema, train, holdout, _ = thirds

    def run(synthetic: pd.DataFrame, policy: str = "samples") -> set[str]:
        report = judge(audit_files(train, holdout=holdout, synthetic=synthetic, schema=schema), load_policy(policy))
        assert report.verdict is not None
        return {rule.metric for rule in report.verdict.rules if rule.severity == "blocker" and rule.status != "pass"}

    return run


def test_honest_rows_pass_the_policy_for_samples_from_anywhere(thirds, blocked):
    assert blocked(thirds[3]) == set()


def test_honest_rows_without_a_receipt_do_not_pass_the_policy_for_releases(thirds, blocked):
    assert {"privacy.epsilon", "privacy.delta"} <= blocked(thirds[3], "release")


def test_five_in_a_hundred_copies_of_training_rows_block(thirds, blocked):
    _, train, _, honest = thirds
    n = len(honest) // 20
    assert "privacy.exact_copies" in blocked(pd.concat([honest[n:], train[:n]], ignore_index=True))


def test_a_group_that_was_removed_blocks(thirds, blocked):
    schema, _, _, honest = thirds
    attribute = honest[schema.sensitive[0]]
    assert "bias.representation" in blocked(honest[attribute != attribute.mode()[0]])
