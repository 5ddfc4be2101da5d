"""The journal of commands and the list of agents in the appliance's database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from sekiso.agent.link.errors import AgentUnknownError
from sekiso.agent.link.messages import Command, Outcome
from sekiso.agent.pki import Authority
from sekiso.errors import CanceledError
from sekiso.model.connector import AgentInventory
from sekiso.model.library import AgentRecord
from sekiso.store.database.api import CommandRow, DatabasePort, UnitOfWork

#: What each agent has said that it accepts: its identifier, and SHA-256 of certificates.
_PINS = "agents.pins"
_PIN = re.compile(r"[0-9a-f]{64}")
_MOST_PINS = 50


class DatabaseLedger:
    """`desk.Ledger` in the database, and what connections report."""

    def __init__(self, db: DatabasePort, authority: Authority, clock: Callable[[], float]) -> None:
        self._db, self._authority, self._clock = db, authority, clock

    # --- commands ---------------------------------------------------------------------------------------

    def name_of(self, agent_id: str) -> str:
        """See `desk.Ledger`."""
        with self._db.read() as work:
            found = work.agents.find(agent_id)
        if found is None or found.revoked:
            raise AgentUnknownError(agent=found.name if found is not None else agent_id)
        return found.name

    def begin(self, agent_id: str, command: Command) -> Outcome | None:
        """See `desk.Ledger`."""
        with self._db.begin() as work:
            row = work.commands.begin(command.id, agent_id, command.method)
        return _outcome(row)

    def end(self, agent_id: str, outcome: Outcome) -> None:
        """See `desk.Ledger`."""
        with self._db.begin() as work:
            row = work.commands.find(outcome.id)
            if row is not None and row.agent_id == agent_id:
                result = (outcome.result or {}) if outcome.error is None else None
                work.commands.end(outcome.id, result=result, error=outcome.error)

    def unwanted(self, agent_id: str, command_ids: Iterable[str]) -> tuple[str, ...]:
        """Return which of an agent's commands were canceled while it was away, or are not known here."""
        with self._db.read() as work:
            rows = {command_id: work.commands.find(command_id) for command_id in command_ids}
        return tuple(
            i for i, row in rows.items() if row is None or row.agent_id != agent_id or _canceled(row)
        )

    # --- agents -----------------------------------------------------------------------------------------

    def identify(self, certificate_der: bytes) -> AgentRecord | None:
        """Return the agent that a certificate belongs to; None if it is refused.

        The first use of a renewed certificate ends the validity of the one before.
        """
        certificate = x509.load_der_x509_certificate(certificate_der)
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        fingerprint = certificate.fingerprint(SHA256()).hex()
        with self._db.begin() as work:
            record = work.agents.find(str(names[0].value)) if names else None
            if record is None or record.revoked:
                return None
            if fingerprint == record.next_certificate_sha256:
                record = replace(record, certificate_sha256=fingerprint, next_certificate_sha256=None)
                work.agents.replace(record)
            if fingerprint != record.certificate_sha256:
                return None
            expires_s = certificate.not_valid_after_utc.timestamp()
            if record.certificate_expires_s != expires_s:
                record = replace(record, certificate_expires_s=expires_s)
                work.agents.replace(record)
            work.agents.seen(record.id, self._clock())
        return record

    def refused(self, agent_id: str) -> bool:
        """Whether an agent was revoked or removed."""
        with self._db.read() as work:
            found = work.agents.find(agent_id)
        return found is None or found.revoked

    def seen(self, agent_id: str) -> None:
        """Remember that an agent is connected."""
        with self._db.begin() as work:
            work.agents.seen(agent_id, self._clock())

    def take_inventory(self, agent_id: str, data: dict[str, Any]) -> None:
        """Remember what an agent reports of its host.

        Raises:
            msgspec.MsgspecError: it is no inventory.
        """
        inventory = msgspec.convert(data, AgentInventory)
        with self._db.begin() as work:
            record = work.agents.find(agent_id)
            if record is not None:
                work.agents.replace(replace(record, inventory=inventory, inventory_s=self._clock()))

    def renew(self, agent_id: str, request: bytes) -> bytes:
        """Issue a new client certificate; the present one stays valid until the new one is used.

        Raises:
            RequestRefusedError: the request is not granted.
            NotFoundError: the agent was removed.
        """
        issued = self._authority.issue(request, agent_id)
        with self._db.begin() as work:
            record = work.agents.get(agent_id)
            work.agents.replace(replace(record, next_certificate_sha256=issued.sha256))
        return issued.pem

    def take_pins(self, agent_id: str, pins: Iterable[str]) -> None:
        """Remember which certificates of the appliance an agent accepts."""
        known = sorted({pin for pin in pins if _PIN.fullmatch(pin)})[:_MOST_PINS]
        with self._db.read() as work:
            if pins_of(work).get(agent_id) == frozenset(known):
                return
        with self._db.begin() as work:
            registered = {agent.id for agent in work.agents.all()}
            others = {i: sorted(p) for i, p in pins_of(work).items() if i in registered and i != agent_id}
            work.settings.put(_PINS, {**others, agent_id: known} if agent_id in registered else others)


def pins_of(work: UnitOfWork) -> Mapping[str, frozenset[str]]:
    """Return which certificates of the appliance each agent accepts, as far as it has said so."""
    found: dict[str, list[str]] = work.settings.get(_PINS) or {}
    return {agent_id: frozenset(pins) for agent_id, pins in found.items()}


def _outcome(row: CommandRow) -> Outcome | None:
    if row.error is None and row.result is None:
        return None
    return Outcome(row.id, row.result, row.error)


def _canceled(row: CommandRow) -> bool:
    return row.error is not None and row.error.get("code") == CanceledError.code
