"""How the command line knows an appliance: by the certificate that was confirmed at login."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from sekiso.errors import Family, SekisoError

_CONNECT_TIMEOUT_S = 10.0


class CertificateChangedError(SekisoError):
    """The appliance shows another certificate than the confirmed one. Params: url, expected, found."""

    code = "appliance.certificate-changed"
    family = Family.VERIFICATION
    brief = "{url} is not the appliance that was confirmed at login."
    why = "Its certificate has the fingerprint {found}; {expected} was confirmed. Nothing was sent."
    resolution = (
        "If its certificate was renewed, ask for the new fingerprint and log in again: sekiso login {url}"
    )


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """What a server shows.

    Attributes:
        fingerprint: SHA-256 of the certificate, lower-case hexadecimal.
        subject: whom it names.
        issuer: who issued it.
        expires: last day of its validity, ISO 8601.
    """

    fingerprint: str
    subject: str
    issuer: str
    expires: str


class PinnedContext(ssl.SSLContext):
    """Accepts exactly one certificate, whoever issued it and whatever name it has.

    The handshake proves that the server has the certificate's key; the pin is compared right after it,
    before anything is sent.
    """

    def __new__(cls, url: str, fingerprint: str) -> Self:
        """Make the context."""
        del url, fingerprint
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, url: str, fingerprint: str) -> None:
        self._url, self._fingerprint = url, fingerprint
        self.check_hostname = False
        self.verify_mode = ssl.CERT_NONE
        self.minimum_version = ssl.TLSVersion.TLSv1_2

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Shake hands and compare the certificate.

        Raises:
            CertificateChangedError: it is another one; the connection is closed.
        """
        secured = super().wrap_socket(sock, *args, **kwargs)
        found = hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
        if not hmac.compare_digest(found, self._fingerprint):
            secured.close()
            raise CertificateChangedError(
                url=self._url, expected=shown_fingerprint(self._fingerprint), found=shown_fingerprint(found)
            )
        return secured

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Refuse: such a connection could not be checked before something is sent.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a pinned connection is made over a socket")


def fetch_certificate(url: str) -> ShownCertificate:
    """Return the certificate that a server shows, unverified. Only a handshake is made.

    Raises:
        OSError: it cannot be reached or does not speak TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    with (
        socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return describe_certificate(secured.getpeercert(binary_form=True) or b"")


def describe_certificate(der: bytes) -> ShownCertificate:
    """Return what a person looks at in a certificate."""
    from cryptography import x509  # noqa: PLC0415 (slow import, needed at login only)

    certificate = x509.load_der_x509_certificate(der)
    return ShownCertificate(
        fingerprint=hashlib.sha256(der).hexdigest(),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        expires=certificate.not_valid_after_utc.date().isoformat(),
    )


def shown_fingerprint(fingerprint: str) -> str:
    """Return a fingerprint as people compare it: pairs of capital digits with colons."""
    digits = fingerprint.upper()
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))
