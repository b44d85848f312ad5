import multiprocessing
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from guardrail.marks import keys
from guardrail.registry.home import Home
from guardrail.vocabulary.errors import ArtifactError, InputError


def test_keys_are_made_once_and_readable_by_their_owner_only(own_home):
    first = keys.ensure(own_home)
    assert keys.ensure(own_home).fingerprints() == first.fingerprints()
    assert first.folder == own_home.path / "keys"
    assert sorted(path.name for path in first.folder.iterdir()) == sorted(keys.FILES)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in first.folder.iterdir())
    assert stat.S_IMODE(first.folder.stat().st_mode) == 0o700


def test_the_signing_certificate_has_the_profile_c2pa_demands(own_home):
    made = keys.ensure(own_home)
    signer, authority = x509.load_pem_x509_certificates(made.chain)
    value = lambda kind: signer.extensions.get_extension_for_class(kind).value  # noqa: E731
    assert value(x509.KeyUsage).digital_signature and not value(x509.KeyUsage).key_cert_sign
    assert list(value(x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    assert not value(x509.BasicConstraints).ca
    assert (
        value(x509.AuthorityKeyIdentifier).key_identifier
        == authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )
    assert signer.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    signer.verify_directly_issued_by(authority)
    authority.public_key().verify(signer.signature, signer.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))


def _authority(path: str) -> str:
    return keys.ensure(Home(Path(path))).fingerprints()["authority"]


def test_processes_that_start_together_get_the_same_authority(own_home):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert len(set(pool.map(_authority, [str(own_home.path)] * 8, chunksize=1))) == 1


def test_a_certificate_that_ran_out_is_renewed_under_the_same_authority(own_home, monkeypatch):
    before = keys.ensure(own_home).fingerprints()
    now = keys._now()
    monkeypatch.setattr(keys, "_now", lambda: now + 4 * keys._YEAR)
    after = keys.ensure(own_home).fingerprints()
    assert after["authority"] == before["authority"] and after["signer"] != before["signer"]


@pytest.mark.parametrize("name", keys.FILES)
def test_a_lost_file_is_not_quietly_replaced(own_home, name):
    (keys.ensure(own_home).folder / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        keys.ensure(own_home)


def test_a_damaged_certificate_is_one_clear_error(own_home):
    (keys.ensure(own_home).folder / "signer.pem").write_text("-----BEGIN")
    with pytest.raises(ArtifactError, match=r"signer\.pem"):
        keys.ensure(own_home)


def test_looking_for_an_authority_makes_none(own_home):
    assert keys.authority_of(own_home) is None and not own_home.path.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_trust_file_without_certificates_is_one_clear_error(tmp_path, content):
    (tmp_path / "trust.pem").write_bytes(content)
    with pytest.raises(InputError, match="PEM"):
        keys.read_authorities(tmp_path / "trust.pem")
    with pytest.raises(InputError):
        keys.read_authorities(tmp_path / "missing.pem")
