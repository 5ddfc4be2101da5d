"""The appliance's certificate: shown, generated, uploaded, requested; exchanged while everything runs (OP-4).

An agent accepts only certificates that it has written down. So before another one is shown, the agents that
are connected are told its fingerprint over the link. Those that are away still find the former certificate on
the link (only there) until every agent has said that it knows the new one: nobody is locked out.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography import x509

from sekiso.agent.certificate_folder import CertificateFolder, KeyAndChain
from sekiso.agent.link.ledger import pins_of
from sekiso.agent.pki import ServerCertificate
from sekiso.errors import Family, NotFoundError, SekisoError
from sekiso.model.library import Role
from sekiso.model.task import Subject, SubjectKind
from sekiso.services.certificate_making import DEFAULT_DAYS, KeyKind, make_request, make_self_signed
from sekiso.services.certificate_rules import (
    check,
    is_self_signed,
    key_words,
    names_of,
    read_chain,
    read_key,
    read_pkcs12,
    refused,
    sha256_of,
    try_handshake,
)
from sekiso.services.core import Actor, Core, require
from sekiso.store.database.api import UnitOfWork

log = logging.getLogger(__name__)
#: Agents that are connected are waited for so long before an exchange.
_ANNOUNCE_S = 10.0


class ExchangeFailedError(SekisoError):
    """A certificate could not be put into force; the former one is. Params: reason."""

    code = "certificate.exchange"
    family = Family.ENVIRONMENT
    brief = "The new certificate could not be put into force."
    why = "{reason}"
    resolution = "The former certificate is in force again. Look at the log of the appliance."


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server of the appliance that shows a certificate.

    Attributes:
        service: `api`, `agent-link` or `transfer-https`.
        port: TCP port.
    """

    service: str
    port: int


class Servers(Protocol):
    """The running servers that show the certificate."""

    def endpoints(self) -> Sequence[Endpoint]:
        """Return which there are."""
        ...

    def announce(self, pins: tuple[str, ...], *, timeout_s: float) -> None:
        """Have connected agents accept certificates; wait for them at most so long."""
        ...

    def retract(self, pins: tuple[str, ...]) -> None:
        """Have connected agents accept these certificates only."""
        ...

    def use(self, certificate: ServerCertificate) -> None:
        """Show a certificate everywhere but on the link.

        Raises:
            OSError, SekisoError: that fails.
        """
        ...

    def use_on_link(self, certificate: ServerCertificate) -> None:
        """Show a certificate on the link.

        Raises:
            OSError: that fails.
        """
        ...


@dataclass(frozen=True, slots=True)
class ChainLink:
    """One certificate of a chain. Times are Unix seconds."""

    subject: str
    issuer: str
    valid_from_s: float
    valid_until_s: float
    sha256: str


@dataclass(frozen=True, slots=True)
class CertificateUse:
    """A server of the appliance and the certificate that it shows (SHA-256, hexadecimal)."""

    service: str
    port: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CertificateRequestView:
    """A certificate request whose key waits at the appliance.

    Attributes:
        subject: whom it names.
        names: host names and addresses.
        key: kind of its key.
        pem: the request, for the certificate authority.
    """

    subject: str
    names: tuple[str, ...]
    key: str
    pem: str


@dataclass(frozen=True, slots=True)
class CertificateView:
    """The appliance's certificate. Times are Unix seconds.

    Attributes:
        subject: whom it names.
        issuer: who issued it.
        names: its host names and addresses.
        valid_from_s: its beginning.
        valid_until_s: its end.
        sha256: SHA-256 over DER, hexadecimal: what agents and command lines pin.
        key: kind of its key.
        self_signed: whether nobody vouches for it.
        chain: the certificates that are shown, this one first.
        used_by: who shows it; on the link it may still be the former one.
        waiting_agents: agents that do not know it yet; they still connect by the former one.
        request: a certificate request whose certificate has not come yet; None = none.
        warnings: what to be warned of, each in a sentence.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    valid_from_s: float
    valid_until_s: float
    sha256: str
    key: str
    self_signed: bool
    chain: tuple[ChainLink, ...]
    used_by: tuple[CertificateUse, ...]
    waiting_agents: tuple[Subject, ...]
    request: CertificateRequestView | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CertificateUpload:
    """What is uploaded: chain and key as PEM, or both in a PKCS#12 file. Secrets do not show in `repr`.

    Attributes:
        certificate: the chain as PEM, the appliance's certificate first; empty with PKCS#12.
        key: its private key as PEM; None = that of the certificate request.
        passphrase: opens the key or the PKCS#12 file; None = it is not encrypted.
        pkcs12: content of a PKCS#12 file; None = PEM.
    """

    certificate: str = ""
    key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    pkcs12: bytes | None = field(default=None, repr=False)


class CertificateService:
    """The appliance's certificate."""

    def __init__(
        self, core: Core, folder: CertificateFolder, servers: Servers, *, announce_s: float = _ANNOUNCE_S
    ) -> None:
        """Serve the certificate of an appliance.

        Args:
            core: what every service works with.
            folder: where key and certificate lie.
            servers: who shows the certificate.
            announce_s: how long connected agents are waited for before an exchange.
        """
        self._core, self._folder, self._servers, self._announce_s = core, folder, servers, announce_s
        self._lock = threading.Lock()
        self._pending: str | None = None

    # --- for the link -----------------------------------------------------------------------------------

    def pins(self) -> tuple[str, ...]:
        """Return the certificates that agents shall accept, the one in force first."""
        pending = self._pending
        found = (self._folder.present.sha256, self._folder.link.sha256, *((pending,) if pending else ()))
        return tuple(dict.fromkeys(found))

    def settled(self) -> bool:
        """Whether agents need to accept no other certificate than the one in force."""
        return self._folder.settled and self._pending is None

    def settle(self) -> None:
        """Show the certificate in force on the link too, once every agent knows it. Harmless at any time."""
        if self._folder.settled or not self._lock.acquire(blocking=False):
            return
        try:
            self._settle()
        finally:
            self._lock.release()

    # --- what users do ----------------------------------------------------------------------------------

    def show(self) -> CertificateView:
        """Return the certificate in force."""
        present, link = self._folder.present, self._folder.link
        chain = x509.load_pem_x509_certificates(present.certificate.read_bytes())
        leaf, link_sha256 = chain[0], link.sha256
        with self._core.db.read() as work:
            waiting = self._waiting(work)
            warnings = self._warnings(work, waiting)
        uses = tuple(
            CertificateUse(e.service, e.port, link_sha256 if e.service == "agent-link" else sha256_of(leaf))
            for e in self._servers.endpoints()
        )
        return CertificateView(
            subject=leaf.subject.rfc4514_string(),
            issuer=leaf.issuer.rfc4514_string(),
            names=names_of(leaf),
            valid_from_s=leaf.not_valid_before_utc.timestamp(),
            valid_until_s=leaf.not_valid_after_utc.timestamp(),
            sha256=sha256_of(leaf),
            key=key_words(leaf.public_key()),
            self_signed=is_self_signed(leaf),
            chain=tuple(_chain_link(c) for c in chain),
            used_by=uses,
            waiting_agents=waiting,
            request=self._request_view(),
            warnings=warnings,
        )

    def generate(
        self,
        actor: Actor,
        *,
        names: Sequence[str] | None = None,
        days: int = DEFAULT_DAYS,
        forget_former: bool = False,
    ) -> CertificateView:
        """Make a new self-signed certificate and put it into force.

        Args:
            actor: who asks.
            names: its host names and addresses; None = those of the present one.
            days: how long it is valid.
            forget_former: do not show the former one on the link any more, even to agents that know no other.

        Raises:
            CertificateRefusedError: names or days cannot be used.
            ExchangeFailedError: it could not be put into force.
        """
        require(actor, Role.ADMINISTRATOR)
        new = make_self_signed(self.show().names if names is None else names, days)
        self._exchange(actor, "certificate.generate", new, forget_former=forget_former)
        return self.show()

    def upload(
        self, actor: Actor, upload: CertificateUpload, *, forget_former: bool = False
    ) -> CertificateView:
        """Put a certificate into force that was issued elsewhere.

        Args:
            actor: who asks.
            upload: certificate and key.
            forget_former: see `generate`.

        Raises:
            CertificateRefusedError: a rule is broken; nothing was changed.
            ExchangeFailedError: it could not be put into force.
        """
        require(actor, Role.ADMINISTRATOR)
        new = self._uploaded(upload)
        request = self._folder.request()
        self._exchange(actor, "certificate.upload", new, forget_former=forget_former)
        if request is not None and request[0] == new.key:
            self._folder.forget_request()
        return self.show()

    def request(
        self,
        actor: Actor,
        *,
        names: Sequence[str] | None = None,
        kind: KeyKind = KeyKind.EC_P256,
        organization: str = "",
    ) -> CertificateRequestView:
        """Make a key that stays here and a request for a certificate authority; an earlier one is replaced.

        Args:
            actor: who asks.
            names: host names and addresses; None = those of the present certificate.
            kind: kind of the key.
            organization: name of the organization; may be empty.

        Raises:
            CertificateRefusedError: names or organization cannot be used.
        """
        require(actor, Role.ADMINISTRATOR)
        key, pem = make_request(self.show().names if names is None else names, kind, organization)
        with self._lock, self._core.db.begin() as work:
            details = {"names": list(names_of(x509.load_pem_x509_csr(pem))), "key": kind.value}
            _audit(work, actor.name, "certificate.request", details)
            self._folder.keep_request(key, pem)
        found = self._request_view()
        assert found is not None
        return found

    def forget_request(self, actor: Actor) -> None:
        """Remove a certificate request and its key.

        Raises:
            NotFoundError: there is none.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._lock, self._core.db.begin() as work:
            if self._folder.request() is None:
                raise NotFoundError(
                    what="The certificate request", name="", remedy="Make one: sekiso certificate request"
                )
            _audit(work, actor.name, "certificate.forget-request", {})
            self._folder.forget_request()

    # --- how --------------------------------------------------------------------------------------------

    def _uploaded(self, upload: CertificateUpload) -> KeyAndChain:
        if upload.pkcs12 is not None:
            key, chain = read_pkcs12(upload.pkcs12, upload.passphrase)
            return check(key, chain)
        chain = read_chain(upload.certificate)
        if upload.key is not None:
            return check(read_key(upload.key, upload.passphrase), chain)
        request = self._folder.request()
        if request is None:
            raise refused(
                "key",
                "The private key is missing, and no certificate request waits for its certificate.",
                "Give the private key too.",
            )
        return check(read_key(request[0].decode(), None), chain)

    def _exchange(self, actor: Actor, action: str, new: KeyAndChain, *, forget_former: bool) -> None:
        fingerprint = sha256_of(x509.load_pem_x509_certificate(new.chain))
        with self._lock:
            if fingerprint == self._folder.present.sha256:
                raise refused(
                    "certificate", "This certificate is in force already.", "There is nothing to be done."
                )
            self._try_out(new)
            self._pending = fingerprint
            try:
                self._servers.announce((fingerprint,), timeout_s=self._announce_s)
                self._put_into_force(actor, action, new, fingerprint)
            finally:
                self._pending = None
            self._settle(forget_former=forget_former)

    def _try_out(self, new: KeyAndChain) -> None:
        """Shake hands with it once, before anything is changed."""
        with self._folder.on_trial(new) as path:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                context.load_cert_chain(path)
                try_handshake(context)
            except ssl.SSLError as error:
                raise refused(
                    "certificate",
                    f"TLS does not take it: {error.reason or error}.",
                    "Have it issued with a usual key and signature.",
                ) from error

    def _put_into_force(self, actor: Actor, action: str, new: KeyAndChain, fingerprint: str) -> None:
        old, former = self._folder.content(), self._folder.present.sha256
        leaf = x509.load_pem_x509_certificate(new.chain)
        details: Mapping[str, Any] = {
            "before": former,
            "after": fingerprint,
            "names": list(names_of(leaf)),
            "issuer": leaf.issuer.rfc4514_string(),
            "valid_until_s": leaf.not_valid_after_utc.timestamp(),
        }
        with self._core.db.begin() as work:
            _audit(work, actor.name, action, details)
            # Last, so that nothing is written down that did not happen.
            self._folder.exchange(new)
        try:
            self._servers.use(self._folder.present)
        except (OSError, SekisoError) as error:
            log.exception("the new certificate could not be put into force")
            self._take_back(old, former)
            raise ExchangeFailedError(reason=f"{str(error).splitlines()[0]}") from error
        log.info("the certificate %s is in force", fingerprint)

    def _take_back(self, old: KeyAndChain, former: str) -> None:
        self._folder.exchange(old)
        with self._core.db.begin() as work:
            _audit(work, "appliance", "certificate.take-back", {"after": former})
        try:
            self._servers.use(self._folder.present)
        except (OSError, SekisoError):
            log.exception("the former certificate could not be put into force again")

    def _settle(self, *, forget_former: bool = False) -> None:
        with self._core.db.read() as work:
            waiting = self._waiting(work)
        if self._folder.settled or (waiting and not forget_former):
            return
        present = self._folder.present
        self._servers.use_on_link(present)
        self._folder.forget_former()
        self._servers.retract((present.sha256,))
        with self._core.db.begin() as work:
            details = {"after": present.sha256, "cut_off": [agent.name for agent in waiting]}
            _audit(work, "appliance", "certificate.settle", details)

    def _waiting(self, work: UnitOfWork) -> tuple[Subject, ...]:
        if self._folder.settled:
            return ()
        known, present = pins_of(work), self._folder.present.sha256
        return tuple(
            Subject(SubjectKind.AGENT, agent.id, agent.name)
            for agent in work.agents.all()
            if not agent.revoked and present not in known.get(agent.id, frozenset())
        )

    def _warnings(self, work: UnitOfWork, waiting: Sequence[Subject]) -> tuple[str, ...]:
        found: list[str] = []
        if waiting:
            names = ", ".join(agent.name for agent in waiting)
            found.append(f"These agents do not know the certificate yet: {names}.")
            found.append("They connect by the former certificate, which is shown on the link until they do.")
        now_s, since_s = self._core.clock(), self._folder.present.certificate.stat().st_mtime
        tokens = [t for t in work.tokens.all() if t.used_s is None and t.expires_s > now_s]
        if any(t.created_s < since_s for t in tokens):
            found.append("Registration tokens that were made before the exchange do not work; make new ones.")
        return tuple(found)

    def _request_view(self) -> CertificateRequestView | None:
        found = self._folder.request()
        if found is None:
            return None
        request = x509.load_pem_x509_csr(found[1])
        subject, key = request.subject.rfc4514_string(), key_words(request.public_key())
        return CertificateRequestView(subject, names_of(request), key, found[1].decode())


def _chain_link(certificate: x509.Certificate) -> ChainLink:
    return ChainLink(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        valid_from_s=certificate.not_valid_before_utc.timestamp(),
        valid_until_s=certificate.not_valid_after_utc.timestamp(),
        sha256=sha256_of(certificate),
    )


def _audit(work: UnitOfWork, actor: str, action: str, details: Mapping[str, Any]) -> None:
    subject = Subject(SubjectKind.APPLIANCE, "certificate", "certificate")
    work.audit.append(actor=actor, action=action, subject=subject, details=details)
