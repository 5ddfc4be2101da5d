"""Certificates of every kind, good and bad."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = ("appliance.example", "127.0.0.1")


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    key: Any
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def sha256(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def key_pem(self, passphrase: str | None = None, form: Any = None) -> str:
        encryption = (
            serialization.BestAvailableEncryption(passphrase.encode())
            if passphrase
            else serialization.NoEncryption()
        )
        return self.key.private_bytes(
            serialization.Encoding.PEM, form or serialization.PrivateFormat.PKCS8, encryption
        ).decode()

    def pkcs12(self, passphrase: str, others: Sequence[Made] = ()) -> bytes:
        return pkcs12.serialize_key_and_certificates(
            b"appliance",
            self.key,
            self.certificate,
            [o.certificate for o in others],
            serialization.BestAvailableEncryption(passphrase.encode()),
        )


def make(
    name: str = "appliance.example",
    *,
    issuer: Made | None = None,
    key: Any = None,
    names: Sequence[str] = NAMES,
    ca: bool | None = False,
    days: tuple[float, float] = (-1, 90),
    usages: Sequence[Any] | None = (ExtendedKeyUsageOID.SERVER_AUTH,),
    key_usage: x509.KeyUsage | None = None,
    public_key: Any = None,
) -> Made:
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = issuer.key if issuer is not None else key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin, end = (datetime.now(UTC) + timedelta(days=d) for d in days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(public_key or key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if names:
        alternatives = [_general(n) for n in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Made(key, builder.sign(signer, algorithm))


def authority(name: str = "Example CA", issuer: Made | None = None) -> Made:
    return make(name, issuer=issuer, names=(), ca=True, usages=None)


def usage(*, signature: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signature,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def sign_request(pem: str, issuer: Made, names: Sequence[str] = NAMES) -> Made:
    """What a certificate authority does with a request."""
    request = x509.load_pem_x509_csr(pem.encode())
    return make(issuer=issuer, names=names, public_key=request.public_key())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
