import numpy as np

from guardrail.audits.provenance.manifests import Manifests
from guardrail.vocabulary.evidence import Evidence


def measure(schema, marks):
    (finding,) = Manifests().measure(Evidence(schema=schema, marks=marks), np.random.default_rng(0))
    return finding


def test_all_proven_is_one_and_exact(mixed_schema):
    finding = measure(mixed_schema, {"a.csv": "proven", "b.csv": "proven"})
    assert (finding.value, finding.low, finding.high) == (1.0, 1.0, 1.0)


def test_a_stripped_mark_is_caught(mixed_schema):
    finding = measure(mixed_schema, {"a.csv": "proven", "b.csv": "absent"})
    assert finding.value == 0.5
    assert any("1 of 2 sample files carry no manifest" in caveat for caveat in finding.caveats)


def test_tampered_and_untrusted_files_are_told_apart(mixed_schema):
    finding = measure(mixed_schema, {"a": "proven", "b": "tampered", "c": "untrusted", "d": "tampered"})
    assert finding.value == 0.25
    assert finding.groups["state=tampered"].value == 0.5
    assert finding.groups["state=untrusted"].value == 0.25


def test_no_file_examined_is_unknown_and_not_zero(mixed_schema):
    finding = measure(mixed_schema, {})
    assert finding.status == "not_assessable"
    assert finding.value is None
