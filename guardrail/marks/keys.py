"""Signing keys of a home: a development certificate authority and the certificate it issues for signing manifests.

Made on first need, in the home and nowhere else; `keys/ca.pem` is what others need to believe our manifests. It vouches
for this home only: a real authority replaces these files where manifests are to be trusted by strangers. The profile
(key usage, e-mail protection, key identifiers, an organisation) is the one C2PA demands of signers.
"""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..registry.home import Home
from ..vocabulary.documents import alone, write_atomic
from ..vocabulary.errors import ArtifactError, InputError

FILES = ("ca.pem", "ca.key", "signer.pem", "signer.key")
_YEAR = dt.timedelta(days=365)


@dataclass(frozen=True)
class Keys:
    """The keys of a home, ready to sign."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate to hand to those who shall believe our manifests."""
        return self.folder / "ca.pem"

    @property
    def chain(self) -> bytes:
        """Signer first, then authority."""
        return (self.folder / "signer.pem").read_bytes() + self.authority.read_bytes()

    @property
    def private_key(self) -> bytes:
        return (self.folder / "signer.key").read_bytes()

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of the two certificates, to compare over another channel."""
        return {name: fingerprint(_load(self.folder / f"{file}.pem")) for name, file in (("authority", "ca"), ("signer", "signer"))}

    def expires(self) -> dt.datetime:
        return _load(self.folder / "signer.pem").not_valid_after_utc


def ensure(home: Home) -> Keys:
    """The home's keys, made now if there are none; the signing certificate is renewed when it has run out."""
    keys = Keys(home.keys_path)
    with alone(home.keys_path.parent / "keys.lock"):
        if not keys.folder.exists():
            _make(keys.folder, home.id)
        if missing := [name for name in FILES if not (keys.folder / name).is_file()]:
            raise ArtifactError(
                f"{keys.folder}: {', '.join(missing)} missing; restore the folder from a backup, or remove it to start anew"
            )
        if keys.expires() <= _now():
            _renew(keys.folder, home.id)
    return keys


def authority_of(home: Home) -> Path | None:
    """The authority's certificate of a home that has one; makes nothing."""
    path = home.path / "keys" / "ca.pem"
    return path if path.is_file() else None


def read_authorities(path: Path) -> str:
    """Certificates in PEM that someone chose to trust."""
    try:
        text = path.read_text(encoding="ascii")
        found = x509.load_pem_x509_certificates(text.encode())
    except (OSError, ValueError) as fault:
        raise InputError(
            f"{path}: no certificates in PEM to trust: {fault}; `guardrail keys show` names the file to ask the signer for"
        ) from None
    return "".join(certificate.public_bytes(serialization.Encoding.PEM).decode() for certificate in found)


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _make(folder: Path, home: str) -> None:
    """In a temporary sibling that becomes the folder when complete."""
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".keys."))
    try:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"guardrail development authority {home}")
        _write(partial, "ca", _certificate(name, key, name, key, authority=True), key)
        _renew(partial, home)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _renew(folder: Path, home: str) -> None:
    """A new signing key and certificate under the same authority: what was trusted stays trusted."""
    authority = _load(folder / "ca.pem")
    issuer_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise ArtifactError(f"{folder / 'ca.key'}: not an elliptic-curve key; restore the folder from a backup")
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"guardrail development signer {home}")
    _write(folder, "signer", _certificate(name, key, authority.subject, issuer_key, authority=False), key)


def _certificate(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey, *, authority: bool
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - dt.timedelta(days=1))
        .not_valid_after(_now() + (20 if authority else 3) * _YEAR)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(_usage(authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "guardrail development"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_atomic(folder / f"{name}.key", private, mode=0o600)
    write_atomic(folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM), mode=0o600)


def _load(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as fault:
        raise ArtifactError(f"{path}: not a certificate ({fault}); restore the folder from a backup, or remove it to start anew") from None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
