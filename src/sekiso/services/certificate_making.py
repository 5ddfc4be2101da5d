"""New keys, self-signed certificates and certificate requests for the appliance (OP-4)."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from sekiso.agent.certificate_folder import KeyAndChain
from sekiso.agent.pki import new_key, self_signed
from sekiso.services.certificate_rules import Key, checked_names, key_pem, refused

MIN_DAYS, MAX_DAYS = 1, 3650
DEFAULT_DAYS = 825
_MAX_ORGANIZATION_CHARS = 64


class KeyKind(enum.StrEnum):
    """Kind of the key of a certificate request."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    RSA_3072 = "rsa-3072"


def make_self_signed(names: Sequence[str], days: int) -> KeyAndChain:
    """Make a key and a certificate signed by itself.

    Raises:
        CertificateRefusedError: names or days cannot be used.
    """
    if not MIN_DAYS <= days <= MAX_DAYS:
        raise refused(
            "days",
            f"A certificate is valid for {MIN_DAYS} to {MAX_DAYS} days.",
            "Choose another number of days.",
        )
    key = new_key()
    return KeyAndChain(key_pem(key), self_signed(key, checked_names(names), days=days))


def make_request(names: Sequence[str], kind: KeyKind, organization: str = "") -> tuple[bytes, bytes]:
    """Make a key and a certificate request for it, both PEM.

    Raises:
        CertificateRefusedError: names or organization cannot be used.
    """
    checked = checked_names(names)
    if len(organization) > _MAX_ORGANIZATION_CHARS or not (organization.isprintable() or not organization):
        raise refused(
            "organization",
            f"The name of an organization has at most {_MAX_ORGANIZATION_CHARS} printable characters.",
            "Shorten it, or leave it out.",
        )
    key = _key(kind)
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, checked[0][:64])]
    if organization:
        subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(subject))
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in checked]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key_pem(key), made.public_bytes(serialization.Encoding.PEM)


def _key(kind: KeyKind) -> Key:
    match kind:
        case KeyKind.EC_P256:
            return new_key()
        case KeyKind.EC_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyKind.RSA_3072:
            return rsa.generate_private_key(65537, 3072)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
