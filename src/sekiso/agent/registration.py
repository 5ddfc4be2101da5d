"""Registering an agent with the appliance by a one-time token (AG-1), both sides.

The token that an administrator hands over is `<secret>.<SHA-256 of the appliance's certificate>`: so the
agent knows the appliance before it says anything, and the appliance the agent.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import ssl
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from sekiso import __version__
from sekiso.agent.files import write_private
from sekiso.agent.pki import Authority, belongs_to, certificate_request, key_pem, new_key
from sekiso.agent.settings import CERTIFICATE, AgentSettings, save_settings
from sekiso.errors import Family, RuleError, SekisoError
from sekiso.model.library import AgentRecord
from sekiso.model.task import Subject, SubjectKind
from sekiso.store.database.api import DatabasePort, UnitOfWork
from sekiso.transfer.trust import PinnedCertificate, UntrustedCertificateError, check_pin, tls_context

PATH = "/api/v1/agents/register"
_TIMEOUT_S = 30.0
_MAX_ANSWER_BYTES = 1 << 20
_TOKEN = re.compile(r"(?P<secret>[A-Za-z0-9_-]{20,100})\.(?P<pin>[0-9a-f]{64})")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")


class TokenRefusedError(SekisoError):
    """A registration token is not accepted. No params."""

    code = "agent.token-refused"
    family = Family.USAGE
    brief = "The registration token is not accepted."
    why = "It is unknown, has expired, or was used already: each token registers one agent once."
    resolution = "Make a new one: sekiso agent token"


class RegistrationFailedError(SekisoError):
    """An agent could not be registered. Params: appliance, reason."""

    code = "agent.registration-failed"
    family = Family.ENVIRONMENT
    retryable = True
    brief = "This agent could not be registered with the appliance {appliance}."
    why = "{reason}"
    resolution = "Check the address, that the appliance runs, and that no proxy changes its certificate."


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """What an agent sends.

    Attributes:
        token: the secret part of the token.
        request: certificate request, PEM.
        host_name: name of its host.
        name: name it wants; empty = the token's, or the host's.
        agent_version: version of the agent.
    """

    token: str
    request: str
    host_name: str
    name: str = ""
    agent_version: str = ""


@dataclass(frozen=True, slots=True)
class RegistrationAnswer:
    """What the appliance answers.

    Attributes:
        agent_id: identifier of the agent.
        name: its name.
        certificate: its client certificate, PEM.
        link_port: TCP port of the link.
        pins: SHA-256 of further certificates of the appliance, which it may show on the link; hexadecimal.
    """

    agent_id: str
    name: str
    certificate: str
    link_port: int
    pins: tuple[str, ...] = ()


class _Problem(msgspec.Struct, frozen=True):
    """The parts of an `application/problem+json` that are read here (RFC 9457)."""

    code: str = ""
    title: str = ""
    detail: str = ""


class Registrar:
    """The appliance's side."""

    def __init__(
        self,
        db: DatabasePort,
        authority: Authority,
        *,
        link_port: Callable[[], int],
        disconnect: Callable[[str], None] = lambda _: None,
        pins: Callable[[], tuple[str, ...]] = tuple,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Register agents.

        Args:
            db: the database.
            authority: issues their certificates.
            link_port: tells the TCP port of the link.
            disconnect: ends the connection of an agent that registers anew.
            pins: tells further certificates of the appliance that agents shall accept.
            clock: Unix seconds.
        """
        self._db, self._authority, self._clock = db, authority, clock
        self._link_port, self._disconnect, self._pins = link_port, disconnect, pins

    def accept(self, request: RegistrationRequest) -> RegistrationAnswer:
        """Register an agent, or register one anew whose token was made for its name.

        Raises:
            TokenRefusedError: the token is not accepted.
            RequestRefusedError: the certificate request is not; the token can be used again.
            AlreadyExistsError: another agent has the name; likewise.
            RuleError: the name cannot be used; likewise.
        """
        now_s = self._clock()
        with self._db.begin() as work:
            token = work.tokens.use(hashlib.sha256(request.token.encode()).hexdigest(), now_s)
            if token is None:
                raise TokenRefusedError
            name = token.agent_name or request.name or request.host_name
            if _NAME.fullmatch(name) is None or name != name.strip():
                raise RuleError(
                    field="name",
                    reason="The name of an agent has 1 to 64 characters and no space at its ends.",
                    remedy="Choose another name.",
                )
            # Everything from here on is undone together with the use of the token when something fails.
            known = _named(work, name) if token.agent_name or _is_revoked(work, name) else None
            agent_id = known.id if known is not None else str(uuid.uuid4())
            issued = self._authority.issue(request.request.encode(), agent_id)
            record = AgentRecord(
                id=agent_id,
                name=name,
                certificate_sha256=issued.sha256,
                certificate_expires_s=issued.expires_s,
                registered_s=now_s,
            )
            if known is None:
                work.agents.add(record)
            else:
                work.agents.replace(replace(record, inventory=known.inventory, inventory_s=known.inventory_s))
            work.audit.append(
                actor=token.created_by,
                action="agent.register",
                subject=Subject(SubjectKind.AGENT, agent_id, name),
                details={"host_name": request.host_name, "again": known is not None},
            )
        self._disconnect(agent_id)
        return RegistrationAnswer(agent_id, name, issued.pem.decode(), self._link_port(), self._pins())


def register(appliance_url: str, token: str, state: Path, *, storage: Path, name: str = "") -> AgentSettings:
    """Register this machine's agent; an earlier registration is replaced once the new one holds.

    Args:
        appliance_url: `https://host:port`.
        token: the whole token.
        state: state folder of the agent.
        storage: folder where its hypervisor keeps machines.
        name: name it wants.

    Raises:
        RuleError: the address or the token is malformed.
        RegistrationFailedError: the appliance cannot be reached, or is another one than the token says.
        TokenRefusedError: the token is not accepted.
    """
    host, port = _address(appliance_url)
    found = _TOKEN.fullmatch(token.strip())
    if found is None:
        raise RuleError(
            field="token",
            reason="It is no registration token, or a part of it is missing.",
            remedy="Copy the whole token that the appliance has shown.",
        )
    key = new_key()
    request = RegistrationRequest(
        token=found["secret"],
        request=certificate_request(key).decode(),
        host_name=socket.gethostname(),
        name=name,
        agent_version=__version__,
    )
    answer = _ask(host, port, found["pin"], request, appliance_url)
    if not belongs_to(answer.certificate.encode(), key_pem(key)):
        raise RegistrationFailedError(appliance=appliance_url, reason="Its answer makes no sense.")
    settings = AgentSettings(
        appliance_url=appliance_url.rstrip("/"),
        host=host,
        link_port=answer.link_port,
        pins=tuple(dict.fromkeys((found["pin"], *answer.pins))),
        agent_id=answer.agent_id,
        name=answer.name,
        storage=str(storage.resolve()),
    )
    # Key and certificate are one file: one is never without the other.
    write_private(state / CERTIFICATE, key_pem(key) + answer.certificate.encode())
    save_settings(state, settings)
    return settings


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError:  # no port number, an unfinished bracket
        host, port = None, 0
    if host is None or not url.startswith("https://"):
        raise RuleError(
            field="appliance",
            reason="The address of the appliance begins with https://.",
            remedy="Write it as https://appliance.example:8443.",
        )
    return host, port


def _ask(host: str, port: int, pin: str, request: RegistrationRequest, url: str) -> RegistrationAnswer:
    trust = PinnedCertificate(pin)
    connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=tls_context(trust))
    try:
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        # Before the token is sent.
        check_pin(trust, connection.sock.getpeercert(binary_form=True))
        body = json.dumps(msgspec.to_builtins(request)).encode()
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read(_MAX_ANSWER_BYTES)
        status = response.status
    except (OSError, http.client.HTTPException, UntrustedCertificateError) as error:
        raise RegistrationFailedError(appliance=url, reason=f"{error}") from error
    finally:
        connection.close()
    if status >= 400:
        _raise_refusal(content, status, url)
    try:
        return msgspec.json.decode(content, type=RegistrationAnswer)
    except msgspec.MsgspecError as error:
        raise RegistrationFailedError(appliance=url, reason="Its answer makes no sense.") from error


def _raise_refusal(content: bytes, status: int, url: str) -> None:
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except (msgspec.MsgspecError, RecursionError):
        problem = _Problem()
    if problem.code == TokenRefusedError.code:
        raise TokenRefusedError
    said = f"{problem.title} {problem.detail}".strip()
    raise RegistrationFailedError(appliance=url, reason=said or f"It answered with HTTP status {status}.")


def _named(work: UnitOfWork, name: str) -> AgentRecord | None:
    return next((a for a in work.agents.all() if a.name.casefold() == name.casefold()), None)


def _is_revoked(work: UnitOfWork, name: str) -> bool:
    found = _named(work, name)
    return found is not None and found.revoked
