"""The appliance's own authority for agents' certificates, and its server certificate (AG-1, CC-8).

Agents are recognised by client certificates that this authority issues at registration. The appliance's
server certificate is self-signed until another one is uploaded; agents pin it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sekiso.agent.files import write_private
from sekiso.errors import Family, SekisoError

CLIENT_DAYS = 90
SERVER_DAYS = 3650
_AUTHORITY_DAYS = 7300
#: Clocks of hosts differ.
_BACKDATE = timedelta(hours=1)


class RequestRefusedError(SekisoError):
    """A certificate request cannot be granted. Params: reason."""

    code = "agent.certificate-request"
    family = Family.INPUT
    brief = "The certificate request of the agent cannot be granted."
    why = "{reason}"
    resolution = "Register the agent again with the agent's own command."


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was issued.

    Attributes:
        pem: the certificate.
        sha256: SHA-256 over DER, hexadecimal.
        expires_s: its end, Unix seconds.
    """

    pem: bytes
    sha256: str
    expires_s: float


class Authority:
    """Issues client certificates."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key, self.certificate = key, certificate

    @property
    def pem(self) -> bytes:
        """Certificate of the authority."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, request: bytes, agent_id: str, *, days: float = CLIENT_DAYS) -> Issued:
        """Issue a client certificate; of the request only the public key is taken.

        Args:
            request: certificate request, PEM.
            agent_id: becomes the common name.
            days: how long it is valid.

        Raises:
            RequestRefusedError: the request is malformed, not signed by its key, or its key is no P-256 key.
        """
        key = _key_of(request)
        made = (
            _builder(_name(agent_id), self.certificate.subject, key, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return issued(made)


def load_authority(folder: Path) -> Authority:
    """Return the authority whose key lies in a folder; made at the first call.

    Key and certificate are one file, so that one is never without the other.
    """
    path = folder / "authority.pem"
    if not path.exists():
        key = new_key()
        name = _name("Sekiso agents")
        made = (
            _builder(name, name, key.public_key(), _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage_of_authority(), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(path, key_pem(key) + made.public_bytes(serialization.Encoding.PEM))
    content = path.read_bytes()
    loaded = serialization.load_pem_private_key(content, password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path.name} holds no elliptic-curve key")
    return Authority(loaded, x509.load_pem_x509_certificate(content))


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """The appliance's certificate as files.

    Attributes:
        certificate: PEM file with the certificate.
        key: PEM file with its key.
    """

    certificate: Path
    key: Path

    @property
    def sha256(self) -> str:
        """SHA-256 over DER, hexadecimal: what agents pin."""
        return issued(self._loaded()).sha256

    @property
    def names(self) -> tuple[str, ...]:
        """Host names and addresses that it has."""
        try:
            found = self._loaded().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            return ()
        addresses = (str(address) for address in found.get_values_for_type(x509.IPAddress))
        return (*found.get_values_for_type(x509.DNSName), *addresses)

    def _loaded(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())


def load_server_certificate(folder: Path, names: Sequence[str]) -> ServerCertificate:
    """Return the appliance's certificate; a self-signed one is made at the first call.

    Args:
        folder: where it is kept.
        names: host names and addresses of a new one.
    """
    found = ServerCertificate(folder / "server.pem", folder / "server.key")
    if not found.certificate.exists():
        key = new_key()
        # The certificate is written last: whoever finds it finds the key that belongs to it.
        write_private(found.key, key_pem(key))
        write_private(found.certificate, self_signed(key, names))
    return found


def self_signed(key: ec.EllipticCurvePrivateKey, names: Sequence[str], *, days: float = SERVER_DAYS) -> bytes:
    """Return a self-signed server certificate as PEM."""
    alternatives = [_general_name(name) for name in names]
    subject = _name(names[0] if names else "sekiso")
    made = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM, not encrypted: the file that holds it is private."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a certificate request as PEM; its names do not matter."""
    made = x509.CertificateSigningRequestBuilder().subject_name(_name("agent")).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def belongs_to(certificate: bytes, key: bytes) -> bool:
    """Whether a certificate was issued for a private key, both PEM."""
    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
        return public == serialization.load_pem_private_key(key, password=None).public_key()
    except ValueError:
        return False


def issued(certificate: x509.Certificate) -> Issued:
    """Describe a certificate."""
    return Issued(
        certificate.public_bytes(serialization.Encoding.PEM),
        certificate.fingerprint(hashes.SHA256()).hex(),
        certificate.not_valid_after_utc.timestamp(),
    )


def _key_of(request: bytes) -> ec.EllipticCurvePublicKey:
    try:
        parsed = x509.load_pem_x509_csr(request)
        key = parsed.public_key()
        valid = parsed.is_signature_valid
    except (ValueError, TypeError, InvalidSignature) as error:
        raise RequestRefusedError(reason="It is no certificate request in PEM.") from error
    if not valid:
        raise RequestRefusedError(reason="It is not signed by its own key.")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RequestRefusedError(reason="Its key is no P-256 key.")
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage_of_authority() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
