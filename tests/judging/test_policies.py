import hashlib

import pytest

from guardrail.judging.explain import explained
from guardrail.judging.policies import load, read_policy, summaries
from guardrail.vocabulary.errors import PolicyError, UnknownName
from guardrail.vocabulary.metrics import METRICS

RULE = "{id: r, metric: privacy.membership_auc, require: '<= 0.55', severity: blocker, why: w, source: s}"


def _policy(rule=RULE, more=""):
    return f"name: mine\ndescription: d\nrules:\n  - {rule}\n{more}"


def _with(**changes):
    rule = RULE
    for key, value in changes.items():
        old = {"metric": "privacy.membership_auc", "require": "'<= 0.55'", "severity": "blocker"}[key]
        rule = rule.replace(f"{key}: {old}", f"{key}: {value}")
    return _policy(rule)


def test_every_built_in_policy_can_be_read_and_says_where_its_thresholds_come_from():
    assert set(summaries()) == {"federated", "release", "research", "samples"}
    for name in summaries():
        loaded = load(name)
        assert loaded.policy.name == name
        assert all(rule.why and rule.source for rule in loaded.policy.rules)


def test_the_hash_is_that_of_the_bytes_that_were_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(_policy())
    assert load(path).sha256 == load(str(path)).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_unknown_policy_names_the_nearest():
    with pytest.raises(UnknownName, match=r"no policy 'realease'; did you mean 'release'\? A policy of your own is given as a path"):
        load("realease")


def test_a_policy_like_no_other_lists_them_all():
    with pytest.raises(UnknownName, match=r"there are .*release.*; a policy of your own is given as a path that ends in \.yaml$"):
        load("zzzzzz")


def test_a_missing_file_is_an_error_of_the_policy(tmp_path):
    with pytest.raises(PolicyError, match="cannot be read"):
        load(tmp_path / "none.yaml")


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(PolicyError, match=r"did you mean 'privacy\.membership_auc'"):
        read_policy(_with(metric="privacy.membership_acu"), where="x")


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(PolicyError, match="did you mean 'severity'"):
        read_policy(_policy(RULE.replace("severity", "severty")), where="x")


@pytest.mark.parametrize("require", ["'<= 5'", "'<= 55 %'", "'<= 55%'", "'<= -0.1'", "'<= holdout + 1'", "'<= holdout + 50'"])
def test_units_that_are_mixed_up_are_refused(require):
    with pytest.raises(PolicyError, match=r"share|0\.55"):
        read_policy(_with(require=require), where="x")


@pytest.mark.parametrize("require", ["'<= 1'", "'<= 1.0'", "'>= 0'"])
def test_a_threshold_that_every_value_satisfies_is_refused(require):
    with pytest.raises(PolicyError, match="could never fail"):
        read_policy(_with(require=require), where="x")


@pytest.mark.parametrize(
    "require", ["'< 1'", "'>= 1'", "'<= 0'", "'<= holdout + 0.5'", "'>= floor'", "'<= reference - .1'", "' <=0.5 '", "'<= 1e-5'"]
)
def test_sound_requirements_are_read(require):
    read_policy(_with(require=require), where="x")


def test_epsilon_may_be_any_positive_number():
    read_policy(_policy("{id: r, metric: privacy.epsilon, require: '<= 10', severity: blocker, why: w, source: s}"), where="x")


@pytest.mark.parametrize(
    "require", ["0.55", "'== 0.5'", "'<= holdout * 2'", "'<='", "'<= 0.5 0.6'", "'<= nan'", "'<= inf'", "'<= 1e999'", "true", "no"]
)
def test_what_is_no_requirement_is_refused(require):
    with pytest.raises(PolicyError):
        read_policy(_with(require=require), where="x")


def test_a_misspelt_comparison_names_the_nearest():
    with pytest.raises(PolicyError, match="did you mean 'holdout'"):
        read_policy(_with(require="'<= holdut'"), where="x")


def test_an_unquoted_requirement_is_explained():
    with pytest.raises(PolicyError, match="must be quoted"):
        read_policy("name: mine\ndescription: d\nrules:\n  - id: r\n    require: >= 0.5\n", where="x")


def test_the_word_no_stays_a_word():
    policy = read_policy(_policy(RULE.replace("source: s", "source: no, when: {family: no}")), where="x")
    assert (policy.rules[0].source, policy.rules[0].when.family) == ("no", ("no",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "rules: []",
        "name: mine\ndescription: d\nrules: []",
        _policy() + f"  - {RULE}\n",  # the same id twice
        _policy(more="waivers: [{rule: other, reason: long enough reason, by: me, until: 2030-01-01}]"),
        _policy(more="waivers: [{rule: r, reason: short, by: me, until: 2030-01-01}]"),
        _policy(more="waivers: [{rule: r, reason: long enough reason, by: me, until: soon}]"),
        _policy(more="name: again"),
        "a: &a [1]\nb: *a",
        "!!python/object/apply:os.system [ls]",
        _with(severity="fatal"),
        _policy(more="max_age_days: 0"),
    ],
)
def test_what_is_no_policy_is_refused_with_one_message(text):
    with pytest.raises(PolicyError) as fault:
        read_policy(text, where="x.yaml")
    assert "\n" not in str(fault.value)
    assert "x.yaml" in str(fault.value)


def test_the_explanation_covers_every_rule_and_lets_nothing_move_the_cursor(tmp_path):
    for name in summaries():
        text = explained(load(name))
        assert all(rule.id in text and rule.source in text and rule.why in text for rule in load(name).policy.rules)
    path = tmp_path / "mine.yaml"
    path.write_text(_policy(RULE.replace("why: w", 'why: "\\e[31mred"')))
    assert "\x1b" not in explained(load(path))


def test_the_release_policy_is_closed_to_samples_from_elsewhere():
    release = load("release").policy
    blockers = {rule.metric for rule in release.rules if rule.severity == "blocker" and rule.when.receipt is None}
    assert {"privacy.epsilon", "privacy.delta", "provenance.manifest_coverage"} <= blockers


def test_only_conditional_rules_of_the_samples_policy_speak_of_epsilon():
    rules = [rule for rule in load("samples").policy.rules if METRICS[rule.metric].exact]
    assert rules
    assert all(rule.when.receipt for rule in rules)


def test_half_a_surrogate_pair_is_refused_as_it_could_never_be_written_again():
    with pytest.raises(PolicyError, match="no characters"):
        read_policy(_policy(RULE.replace("why: w", 'why: "\\ud800"')), where="x")
