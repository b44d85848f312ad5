import pytest

from guardrail.registry.artifacts import Artifacts
from guardrail.vocabulary.documents import sha256_of
from guardrail.vocabulary.errors import ArtifactError, InputError, PrivacyRefused


@pytest.fixture(params=["folder", "memory"])
def artifacts(request, tmp_path):
    return Artifacts(str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path.name}")


def test_what_is_stored_comes_back_under_its_hash(artifacts):
    name = artifacts.put(b'{"a": 1}', "receipt")
    assert name == sha256_of(b'{"a": 1}') and artifacts.get(name) == b'{"a": 1}'
    assert artifacts.put(b'{"a": 1}', "receipt") == name


def test_two_contents_have_two_names(artifacts):
    assert artifacts.put(b"one", "spec") != artifacts.put(b"two", "spec")


@pytest.mark.parametrize("kind", ["samples", "train", "holdout", "records", "", "../weights"])
def test_kinds_that_hold_records_are_refused_by_name(artifacts, kind):
    with pytest.raises(PrivacyRefused, match="records"):
        artifacts.put(b"age,sex\n1,2\n", kind)


def test_a_table_under_an_allowed_name_is_refused(artifacts):
    with pytest.raises(PrivacyRefused):
        artifacts.put(b"PAR1....PAR1", "weights")
    for content in (b"age,sex\n30,1\n", b"[[30, 1]]", b"\xff\xfe"):
        with pytest.raises(ArtifactError):
            artifacts.put(content, "report")


def test_changed_content_is_noticed(tmp_path):
    artifacts = Artifacts(str(tmp_path))
    name = artifacts.put(b"spec", "spec")
    (stored,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert stored.stat().st_mode & 0o077 == 0
    stored.write_bytes(b"other")
    with pytest.raises(ArtifactError, match="another hash"):
        artifacts.get(name)


@pytest.mark.parametrize("name", ["sha256:" + "0" * 64, "sha256:../../etc/passwd", "", "sha256:" + "A" * 64])
def test_a_hash_that_is_not_there_or_none_is_one_clear_error(artifacts, name):
    with pytest.raises(ArtifactError):
        artifacts.get(name)


def test_an_unknown_kind_of_url_is_one_clear_error():
    with pytest.raises(InputError, match="GUARDRAIL_ARTIFACTS_URL"):
        Artifacts("nosuch://bucket")
