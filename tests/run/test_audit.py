import numpy as np
import pandas as pd
import pytest

from guardrail.run.audit import audit_files, chosen, measure
from guardrail.vocabulary import plugins
from guardrail.vocabulary.errors import DataError, InputError, SpecError, UnknownName
from guardrail.vocabulary.evidence import Evidence
from guardrail.vocabulary.metrics import METRICS
from guardrail.vocabulary.report import Report
from guardrail.vocabulary.schema import Schema


def visits(n, seed):
    """A raw table as a CSV gives it."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, n)
    return pd.DataFrame(
        {
            "age": age,
            "weight": rng.normal(75, 12, n).round(1),
            "ward": rng.choice(["a", "b", "c"], n),
            "sex": rng.choice(["f", "m"], n),
            "back": np.where(rng.random(n) < age / 120, "yes", "no"),
        }
    )


TRAIN, HOLDOUT, SYNTHETIC = visits(400, 1), visits(400, 2), visits(400, 3)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "home"))


def test_every_metric_of_the_contract_is_in_the_report_in_the_order_of_the_table():
    report = audit_files(TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC, target="back", sensitive=["sex"])
    assert sorted(finding.metric for finding in report.findings) == sorted(METRICS)
    order = [metric for name in plugins.table("audits") for metric in plugins.resolve("audits", name).metrics]
    assert [finding.metric for finding in report.findings] == order
    unmeasured = {finding.metric for finding in report.findings if finding.status != "measured"}
    from_elsewhere = {"privacy.epsilon", "privacy.delta", "privacy.claim", "privacy.empirical_epsilon", "provenance.manifest_coverage"}
    of_our_models = {"quality.log_likelihood", "quality.cross_entropy", "quality.perplexity"}
    of_a_training = {"training.stability", "training.mode_collapse", "training.duality_gap"}
    of_a_federation = {"fairness.group_fidelity_gap", "privacy.gradient_inversion"}
    assert unmeasured == from_elsewhere | of_our_models | of_a_training | of_a_federation | {"quality.condition_adherence"}
    assert all(finding.seconds is not None for finding in report.findings)
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_the_report_names_what_it_is_about_by_hashes_and_never_by_a_plain_hash_of_private_rows():
    report = audit_files(TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC, target="back", only=["copies"])
    assert {role: value.split(":")[0] for role, value in report.subject.artifacts.items()} == {
        "train": "hmac-sha256",
        "holdout": "hmac-sha256",
        "synthetic": "sha256",
    }
    assert report.subject.rows == {"train": 400, "holdout": 400, "synthetic": 400}
    assert report.subject.target == "back"
    assert set(report.findings[0].evidence) == set(report.subject.artifacts.values())


def test_without_a_holdout_what_needs_one_is_not_assessable():
    report = audit_files(TRAIN, synthetic=SYNTHETIC, target="back", sensitive=["sex"])
    for metric in ("privacy.nearest_record_share", "privacy.membership_auc", "fairness.equalized_odds_difference"):
        assert "no holdout" in report.finding(metric).reason
    assert report.finding("privacy.exact_copies").status == "measured"


def test_train_alone_is_audited_as_far_as_it_goes():
    report = audit_files(TRAIN)
    assert all(finding.status == "not_assessable" for finding in report.findings)
    assert "no synthetic data" in report.finding("quality.pairs").reason


def test_the_same_seed_gives_the_same_findings():
    def findings(seed):
        evidence = audit_files(TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC, only=["membership"], seed=seed).findings
        return [finding.model_copy(update={"seconds": None}) for finding in evidence]

    assert findings(1) == findings(1)
    assert findings(1) != findings(2)


def test_an_audit_draws_from_a_stream_of_its_own():
    everything = audit_files(TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC, skip=["utility", "parity", "detection"])
    alone = audit_files(TRAIN, holdout=HOLDOUT, synthetic=SYNTHETIC, only=["nearest"])
    assert everything.finding("privacy.nearest_record_share").value == alone.finding("privacy.nearest_record_share").value


def test_columns_in_another_order_are_the_same_table():
    turned = audit_files(TRAIN, synthetic=SYNTHETIC[list(reversed(SYNTHETIC.columns))], only=["copies"])
    straight = audit_files(TRAIN, synthetic=SYNTHETIC, only=["copies"])
    assert turned.findings[0].value == straight.findings[0].value


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"synthetic": SYNTHETIC.drop(columns="ward")}, "ward"),
        ({"synthetic": SYNTHETIC.assign(extra=1)}, "extra"),
        ({"holdout": HOLDOUT.drop(columns="sex")}, "sex"),
        ({"holdout": HOLDOUT.assign(extra=1)}, "extra"),
        ({"target": "bakc"}, "back"),
        ({"sensitive": ["gender"]}, "gender"),
        (
            {"target": "nothing", "schema": Schema.model_validate({"columns": {"age": {"kind": "integer", "low": 0, "high": 99}}})},
            "nothing",
        ),
    ],
)
def test_what_contradicts_the_question_is_refused_with_the_name_of_the_column(changes, word):
    with pytest.raises(InputError, match=word) as caught:
        audit_files(TRAIN, **changes)
    assert caught.value.exit_code == 2


def test_real_rows_that_contradict_the_schema_are_refused_synthetic_ones_are_counted():
    columns = {"age": {"kind": "integer", "low": 18, "high": 60}}
    schema = Schema.model_validate({"columns": columns})
    old, young = pd.DataFrame({"age": [20, 30, 70, 80]}), pd.DataFrame({"age": [20, 30, 40, 50]})
    with pytest.raises(DataError, match="age"):
        audit_files(old, schema=schema)
    report = audit_files(young, synthetic=old, schema=schema, only=["validity"])
    assert report.finding("quality.validity").value == 0.5


def test_a_category_only_in_the_holdout_is_no_contradiction_when_the_schema_is_drafted():
    rare = HOLDOUT.copy()
    rare.loc[0, "ward"] = "z"
    report = audit_files(TRAIN, holdout=rare, synthetic=SYNTHETIC, only=["copies"])
    assert report.findings[0].status == "measured"


def test_a_misspelt_audit_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match="membership"):
        chosen(["membershp"], ())
    with pytest.raises(SpecError, match="no audit is left"):
        chosen(["copies"], ["copies"])


def test_another_modality_is_told_to_be_another():
    evidence = Evidence(schema=Schema.model_validate({"columns": {"x": {"kind": "boolean"}}}), modality="image")
    (finding,) = measure(evidence, only=["copies"])
    assert finding.reason == "this audit is for tabular data; this is image"


class _Liar:
    """An audit that declares one metric and returns another."""

    name, metrics, needs, modalities = "liar", ("quality.pairs",), (), ("tabular",)

    def measure(self, evidence, rng):
        from guardrail.vocabulary.finding import Finding

        return (Finding.not_assessable("quality.marginals", "why not"),)


class _Broken(_Liar):
    def measure(self, evidence, rng):
        raise ZeroDivisionError("a bug")


@pytest.fixture
def with_plugin(monkeypatch):
    def register(audit):
        known = {**plugins.table("audits"), "liar": plugins.Entry("x:Y", "third party")}
        monkeypatch.setattr("guardrail.run.audit.table", lambda kind: known)
        monkeypatch.setattr("guardrail.run.audit.resolve", lambda kind, name: audit)

    return register


def test_an_audit_that_returns_other_metrics_than_it_declares_is_named(with_plugin):
    with_plugin(_Liar)
    with pytest.raises(plugins.PluginError, match=r"'liar' declares quality\.pairs and returned quality\.marginals"):
        measure(Evidence(schema=Schema.model_validate({"columns": {"x": {"kind": "boolean"}}})), only=["liar"])


def test_an_audit_that_breaks_is_not_hidden(with_plugin):
    with_plugin(_Broken)
    with pytest.raises(ZeroDivisionError):
        measure(Evidence(schema=Schema.model_validate({"columns": {"x": {"kind": "boolean"}}})), only=["liar"])
