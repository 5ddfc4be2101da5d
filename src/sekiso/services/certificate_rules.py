"""What a certificate of the appliance has to be, and how it is read (OP-4). Pure: nothing is kept here."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from sekiso.agent.certificate_folder import KeyAndChain
from sekiso.errors import Family, RuleError

_MAX_CHAIN = 10
_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 8192
_CURVES = ("secp256r1", "secp384r1")
_CURVE_NAMES = {"secp256r1": "EC P-256", "secp384r1": "EC P-384"}
_WEAK_HASHES = ("md5", "sha1")
_MAX_NAMES = 100
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_DNS_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.ASCII)

_E = TypeVar("_E", bound=x509.ExtensionType)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class CertificateRefusedError(RuleError):
    """A certificate or key cannot become the appliance's. Params: field, reason, remedy."""

    code = "certificate.refused"
    family = Family.USAGE
    brief = "The certificate cannot be used: {field}."
    why = "{reason}"
    resolution = "{remedy}"


def refused(field: str, reason: str, remedy: str) -> CertificateRefusedError:
    """Return the error of a broken rule."""
    return CertificateRefusedError(field=field, reason=reason, remedy=remedy)


# --- reading ----------------------------------------------------------------------------------------------


def read_chain(pem: str) -> tuple[x509.Certificate, ...]:
    """Read certificates from PEM.

    Raises:
        CertificateRefusedError: there are none, or too many.
    """
    try:
        found = tuple(x509.load_pem_x509_certificates(pem.encode("utf-8", "replace")))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise refused(
            "certificate",
            "It holds no certificate in PEM.",
            "Give a file with -----BEGIN CERTIFICATE----- in it.",
        ) from error
    if len(found) > _MAX_CHAIN:
        raise refused(
            "certificate",
            f"It holds more than {_MAX_CHAIN} certificates.",
            "Give the certificate and those of its issuers only.",
        )
    return found


def read_key(pem: str, passphrase: str | None) -> Key:
    """Read a private key from PEM.

    Raises:
        CertificateRefusedError: it is none, of another kind, or the passphrase is missing or wrong.
    """
    content = pem.encode("utf-8", "replace")
    encrypted = b"ENCRYPTED" in content
    if encrypted and not passphrase:
        raise refused("passphrase", "The private key is encrypted.", "Give its passphrase.")
    try:
        key = serialization.load_pem_private_key(
            content, passphrase.encode() if encrypted and passphrase else None
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise _wrong_passphrase("The private key") from error
        raise refused(
            "key", "It holds no private key in PEM.", "Give a file with -----BEGIN PRIVATE KEY----- in it."
        ) from error
    return _usable_key(key)


def read_pkcs12(data: bytes, passphrase: str | None) -> tuple[Key, tuple[x509.Certificate, ...]]:
    """Read key and certificates from a PKCS#12 file (.pfx, .p12), the certificates brought into order.

    Raises:
        CertificateRefusedError: it is no such file, lacks something, or the passphrase is wrong.
    """
    try:
        key, leaf, others = pkcs12.load_key_and_certificates(data, (passphrase or "").encode() or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _wrong_passphrase("The PKCS#12 file") from error
    if key is None or leaf is None:
        raise refused(
            "pkcs12",
            "The PKCS#12 file holds no certificate with its private key.",
            "Export it again, together with its private key.",
        )
    return _usable_key(key), _ordered(leaf, others)


def _wrong_passphrase(what: str) -> CertificateRefusedError:
    return refused(
        "passphrase",
        f"{what} cannot be opened: it is damaged, or the passphrase is wrong.",
        "Check the passphrase.",
    )


def _ordered(leaf: x509.Certificate, others: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    chain, left = [leaf], list(others)
    while left:
        following = next((c for c in left if _issued(chain[-1], c)), None)
        if following is None:
            break
        left.remove(following)
        chain.append(following)
    return tuple(chain)


def _usable_key(key: PrivateKeyTypes) -> Key:
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        check_key_kind(key.public_key())
        return key
    raise _wrong_kind()


def check_key_kind(key: CertificatePublicKeyTypes) -> None:
    """Refuse a key of a kind or strength that the appliance does not use.

    Raises:
        CertificateRefusedError: it is one.
    """
    match key:
        case rsa.RSAPublicKey() if key.key_size < _MIN_RSA_BITS:
            raise refused(
                "key",
                f"The RSA key has {key.key_size} bits; at least {_MIN_RSA_BITS} are needed.",
                "Make a longer key.",
            )
        case rsa.RSAPublicKey() if key.key_size <= _MAX_RSA_BITS:
            return
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return
        case ed25519.Ed25519PublicKey():
            return
        case _:
            raise _wrong_kind()


def _wrong_kind() -> CertificateRefusedError:
    return refused(
        "key",
        "The key is of a kind that is not used here.",
        "Use RSA with 2048 to 8192 bits, EC P-256, EC P-384, or Ed25519.",
    )


def key_words(key: CertificatePublicKeyTypes) -> str:
    """Return what kind of key it is: `RSA 3072`, `EC P-256`."""
    match key:
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ec.EllipticCurvePublicKey():
            return _CURVE_NAMES.get(key.curve.name, f"EC {key.curve.name}")
        case _:
            return type(key).__name__.removesuffix("PublicKey")


# --- rules ------------------------------------------------------------------------------------------------


def check(key: Key, chain: Sequence[x509.Certificate], now: datetime | None = None) -> KeyAndChain:
    """Check a key and its certificates by every rule.

    Args:
        key: the private key.
        chain: the certificate, then that of its issuer and so on.
        now: the time that they have to be valid at; None = now.

    Returns:
        Both as they are kept.

    Raises:
        CertificateRefusedError: a rule is broken.
    """
    leaf = chain[0]
    check_key_kind(leaf.public_key())
    _check_belongs(key, chain)
    _check_purpose(leaf)
    if not names_of(leaf):
        raise refused(
            "names",
            "The certificate names no host: it has no subject alternative name.",
            "Have it issued with the names and addresses that the appliance is reached by.",
        )
    _check_order(chain)
    for certificate in chain:
        _check_times(certificate, now or datetime.now(UTC))
    pem = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain)
    return KeyAndChain(key_pem(key), pem)


def key_pem(key: Key) -> bytes:
    """Return a private key as PEM, not encrypted: the file that holds it is private."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _check_belongs(key: Key, chain: Sequence[x509.Certificate]) -> None:
    public = key.public_key()
    if chain[0].public_key() == public:
        return
    if any(c.public_key() == public for c in chain[1:]):
        raise _wrong_order()
    raise refused(
        "key",
        "The private key does not belong to the certificate.",
        "Give the key that the certificate was requested with.",
    )


def _check_purpose(leaf: x509.Certificate) -> None:
    if is_authority(leaf):
        raise refused(
            "certificate",
            "This is the certificate of a certificate authority, not of a server.",
            "Give the certificate that was issued for the appliance first.",
        )
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    allowed = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    signs = _extension(leaf, x509.KeyUsage)
    if (usage is not None and not any(oid in usage for oid in allowed)) or (
        signs is not None and not signs.digital_signature
    ):
        raise refused(
            "certificate",
            "The certificate was not issued for servers.",
            "Have it issued for server authentication, with digital signature as its key usage.",
        )


def _check_order(chain: Sequence[x509.Certificate]) -> None:
    for lower, upper in pairwise(chain):
        if not _issued(lower, upper):
            raise _wrong_order()
        if not is_authority(upper):
            raise refused(
                "certificate",
                "An issuer in the chain is no certificate authority.",
                "Give the chain as the certificate authority has issued it.",
            )
    for certificate in chain:
        with suppress(UnsupportedAlgorithm):
            algorithm = certificate.signature_hash_algorithm
            # What a root says of itself proves nothing and is not looked at by clients.
            if algorithm is not None and algorithm.name in _WEAK_HASHES and not is_self_signed(certificate):
                raise refused(
                    "certificate",
                    f"It is signed with {algorithm.name.upper()}, which is not safe.",
                    "Have it issued with SHA-256 or better.",
                )


def _wrong_order() -> CertificateRefusedError:
    return refused(
        "certificate",
        "The certificates are not in order, or one is missing in between.",
        "Put the certificate of the appliance first, then that of its issuer, and so on.",
    )


def _check_times(certificate: x509.Certificate, now: datetime) -> None:
    name = certificate.subject.rfc4514_string()
    if certificate.not_valid_after_utc <= now:
        day = certificate.not_valid_after_utc.date().isoformat()
        raise refused("certificate", f"The certificate {name} has expired on {day}.", "Have it renewed.")
    if certificate.not_valid_before_utc > now:
        day = certificate.not_valid_before_utc.date().isoformat()
        raise refused(
            "certificate",
            f"The certificate {name} is not valid before {day}.",
            "Check the clock of the appliance, or wait until then.",
        )


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate may issue others."""
    found = _extension(certificate, x509.BasicConstraints)
    return found is not None and found.ca


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether a certificate was issued by its own key."""
    return certificate.subject == certificate.issuer and _issued(certificate, certificate)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def names_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    """Return the host names and addresses in a certificate."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = (str(address) for address in found.get_values_for_type(x509.IPAddress))
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def sha256_of(certificate: x509.Certificate) -> str:
    """Return the fingerprint of a certificate: SHA-256 over DER, hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return host names and addresses for a new certificate, each once.

    Raises:
        CertificateRefusedError: there are none, too many, or one is no name and no address.
    """
    found = tuple(dict.fromkeys(name.strip() for name in names))
    if not 1 <= len(found) <= _MAX_NAMES:
        raise refused(
            "names",
            f"A certificate has 1 to {_MAX_NAMES} names.",
            "Give the names that the appliance is reached by.",
        )
    for name in found:
        if not is_host(name):
            raise refused(
                "names",
                f"{name} is neither a host name nor an address.",
                "Write it like appliance.example or 192.0.2.10; names in other scripts in their ASCII form.",
            )
    return found


def is_host(name: str) -> bool:
    """Whether a text is a host name (a wildcard too) or an IP address."""
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    labels = name.split(".")
    return len(name) <= 253 and _DNS_NAME.fullmatch(name) is not None and not labels[-1].isdecimal()


def try_handshake(context: ssl.SSLContext) -> None:
    """Shake hands with a server's context in memory, as clients will.

    Raises:
        ssl.SSLError: that fails.
    """
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (asking.wrap_bio(down, up), context.wrap_bio(up, down, server_side=True))
    # Two rounds there and back are what TLS 1.2 needs, TLS 1.3 less.
    for _ in range(4):
        for side in sides:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    if sides[0].version() is None:
        raise ssl.SSLError("the handshake does not end")
