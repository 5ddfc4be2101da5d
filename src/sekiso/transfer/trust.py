"""Which certificate of the other side is accepted (CC-8, CC-9)."""

from __future__ import annotations

import hmac
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256


class UntrustedCertificateError(Exception):
    """The certificate of the other side is not accepted; the text says why."""


@dataclass(frozen=True, slots=True)
class PinnedCertificate:
    """Exactly one certificate, whoever signed it, as long as it has not expired.

    Attributes:
        sha256: SHA-256 of the certificate (DER), hexadecimal, colons allowed.
    """

    sha256: str


@dataclass(frozen=True, slots=True)
class TrustedAuthority:
    """Any certificate with the right name that the authorities vouch for.

    Attributes:
        authorities: PEM file with their certificates; None = those of the system.
    """

    authorities: Path | None = None


@dataclass(frozen=True, slots=True)
class AnyCertificate:
    """Certificate errors are ignored: what is sent is encrypted, but anybody may be at the other end."""


Trust = PinnedCertificate | TrustedAuthority | AnyCertificate


def tls_context(trust: Trust) -> ssl.SSLContext:
    """Return the TLS settings of a client.

    Raises:
        OSError: the file of authorities cannot be read.
    """
    if isinstance(trust, TrustedAuthority):
        context = ssl.create_default_context(cafile=trust.authorities)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def check_pin(trust: Trust, certificate: bytes | None) -> None:
    """Check a certificate against a pin; other kinds of trust were checked by TLS itself.

    Args:
        trust: what is accepted.
        certificate: what the other side showed, DER.

    Raises:
        UntrustedCertificateError: it is another one, or it has expired.
    """
    if not isinstance(trust, PinnedCertificate):
        return
    if certificate is None:
        raise UntrustedCertificateError("The other side showed no certificate.")
    found = x509.load_der_x509_certificate(certificate)
    if not hmac.compare_digest(found.fingerprint(SHA256()), _pin(trust.sha256)):
        raise UntrustedCertificateError("The certificate is not the one that was pinned at registration.")
    if not found.not_valid_before_utc <= datetime.now(UTC) <= found.not_valid_after_utc:
        raise UntrustedCertificateError("The certificate has expired or is not valid yet.")


def _pin(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return b""


def certificate_sha256(pem: bytes) -> str:
    """Return the pin of a certificate: SHA-256 over DER, lower-case hexadecimal.

    Raises:
        ValueError: this is no certificate in PEM.
    """
    return x509.load_pem_x509_certificate(pem).fingerprint(SHA256()).hex()


def reason_of(error: ssl.SSLCertVerificationError) -> str:
    """Say in a sentence why TLS refused a certificate.

    Source: OpenSSL, X509_V_ERR_* in x509_vfy.h.
    """
    match error.verify_code:
        case 9 | 10:
            return "The certificate has expired or is not valid yet."
        case 62 | 64:
            return "The certificate was issued for another name."
        case 2 | 18 | 19 | 20 | 21:
            return "The certificate was issued by an unknown authority."
        case _:
            return "The certificate cannot be verified."
