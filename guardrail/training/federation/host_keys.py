"""Certificates and keys of a federation: one authority, one certificate for the server, one key for every client.

P-256 certificates by an authority made for this one federation, whose private key is thrown away when all are made; P-384 keys of
clients in OpenSSH's format, which Flower's SuperLink registers. Private keys are readable by their owner only.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ...vocabulary.documents import write_atomic
from ...vocabulary.errors import InputError

DAYS = 365


def make_keys(folder: Path, *, host: str, clients: int) -> list[Path]:
    """`ca.pem`, `server.pem`, `server.key`, and for every client a folder with all that it needs."""
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; keys that are in use would be lost. Name another folder with --out")
    authority = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("guardrail federation", authority, authority, None, None)
    server = ec.generate_private_key(ec.SECP256R1())
    written = [
        _write(folder / "ca.pem", ca.public_bytes(Encoding.PEM), 0o644),
        _write(folder / "server.pem", _certificate(host, server, authority, ca, host).public_bytes(Encoding.PEM), 0o644),
        _write(folder / "server.key", _private(server, PrivateFormat.PKCS8), 0o600),
    ]
    for number in range(clients):
        node, own = ec.generate_private_key(ec.SECP384R1()), folder / f"client-{number}"
        written += [
            _write(own / "ca.pem", ca.public_bytes(Encoding.PEM), 0o644),
            _write(own / "node.key", _private(node, PrivateFormat.OpenSSH), 0o600),
            _write(own / "node.pub", node.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH), 0o644),
        ]
    return written


def number_of(folder: Path) -> int | None:
    """A client's number, by the name of its folder of keys."""
    prefix, _, number = folder.resolve().name.rpartition("-")
    return int(number) if prefix == "client" and number.isdecimal() else None


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer_key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None, host: str | None
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "guardrail"), x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=0 if issuer is None else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if host is not None:
        names = [_general(host), *(_general(own) for own in ("localhost", "127.0.0.1") if own != host)]
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return made.sign(issuer_key, hashes.SHA256())


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: ec.EllipticCurvePrivateKey, form: PrivateFormat) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content, mode=mode)
    return path
