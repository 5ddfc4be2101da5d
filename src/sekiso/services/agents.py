"""Agents: which there are, tokens to register them, revoking (AG-1, AG-3)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sekiso.agent.contract import InventoryParams
from sekiso.errors import InUseError, RuleError
from sekiso.model.connector import AgentInventory
from sekiso.model.library import AgentRecord, ConfigurationRecord, Role
from sekiso.model.paging import EVERYTHING, Listing, Page
from sekiso.model.task import Subject, SubjectKind
from sekiso.services.core import Actor, Core, new_id, require
from sekiso.store.database.api import RegistrationToken, UnitOfWork

MIN_TOKEN_S, MAX_TOKEN_S = 60.0, 7 * 24 * 3600.0
_MAX_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent as it is shown. Times are Unix seconds."""

    id: str
    name: str
    online: bool
    revoked: bool
    version: str
    host_name: str
    hypervisor: str
    hypervisor_version: str
    platform: str
    last_seen_s: float | None
    registered_s: float
    certificate_expires_s: float | None
    used_by: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class TokenView:
    """A registration token without its secret. Times are Unix seconds."""

    id: str
    agent_name: str
    created_by: str
    created_s: float
    expires_s: float
    used_s: float | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A registration token, the only time that its text is shown."""

    id: str
    token: str
    expires_s: float


class AgentService:
    """Agents."""

    def __init__(
        self,
        core: Core,
        *,
        fingerprint: Callable[[], str],
        disconnect: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Serve the agents of an appliance.

        Args:
            core: what every service works with.
            fingerprint: tells the SHA-256 of the appliance's certificate.
            disconnect: ends an agent's connection.
        """
        self._core, self._fingerprint, self._disconnect = core, fingerprint, disconnect

    def list(self) -> tuple[AgentView, ...]:
        """Return every agent by name."""
        return self.page(EVERYTHING).rows

    def page(self, listing: Listing | None = None) -> Page[AgentView]:
        """Return a page of the agents, sorted by `AgentSort`; the first by name if nothing is asked for.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        with self._core.db.read() as work:
            every, page = work.configurations.all(), work.agents.page(listing or Listing())
            rows = tuple(self._view(record, _users(every, record)) for record in page.rows)
        return Page(rows, page.total, page.offset, page.limit)

    def get(self, reference: str) -> AgentView:
        """Return an agent by identifier or name.

        Raises:
            NotFoundError: there is none.
        """
        with self._core.db.read() as work:
            record = work.agents.by_reference(reference)
            return self._view(record, _users(work.configurations.all(), record))

    def inventory(self, reference: str, *, refresh: bool = False) -> AgentInventory | None:
        """Return what an agent last reported, or reports now; None if it never has (AG-3).

        Raises:
            NotFoundError: there is no such agent.
            AgentOfflineError: it is asked now and is not connected.
        """
        with self._core.db.read() as work:
            record = work.agents.by_reference(reference)
        return self.ask_inventory(record.id) if refresh else record.inventory

    def ask_inventory(self, agent_id: str) -> AgentInventory:
        """Ask an agent for its host now, and remember it.

        Raises:
            AgentOfflineError: it is not connected.
        """
        found: AgentInventory = self._core.agents.call(agent_id, "host.inventory", InventoryParams())
        with self._core.db.begin() as work:
            record = work.agents.get(agent_id)
            work.agents.replace(replace(record, inventory=found, inventory_s=self._core.clock()))
        return found

    def create_token(self, actor: Actor, *, name: str | None = None, valid_s: float = 3600.0) -> NewToken:
        """Make a one-time token that registers an agent (AG-1).

        Args:
            actor: who asks.
            name: name that the agent will have; with that of an agent that is registered, it registers anew.
            valid_s: how long it is valid.

        Raises:
            RuleError: a value cannot be used.
        """
        require(actor, Role.ADMINISTRATOR)
        if not MIN_TOKEN_S <= valid_s <= MAX_TOKEN_S:
            raise RuleError(
                field="valid_s",
                reason="A registration token is valid for one minute to seven days.",
                remedy="Choose another time.",
            )
        secret, now_s = secrets.token_urlsafe(24), self._core.clock()
        record = RegistrationToken(
            id=new_id(),
            secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
            agent_name=_checked_name(name) if name else "",
            created_by=actor.name,
            created_s=now_s,
            expires_s=now_s + valid_s,
        )
        with self._core.db.begin() as work:
            work.tokens.add(record)
            work.audit.append(
                actor=actor.name,
                action="agent.create-token",
                subject=Subject(SubjectKind.TOKEN, record.id, record.agent_name),
            )
        return NewToken(record.id, f"{secret}.{self._fingerprint()}", record.expires_s)

    def tokens(self) -> tuple[TokenView, ...]:
        """Return the registration tokens."""
        with self._core.db.read() as work:
            return tuple(
                TokenView(t.id, t.agent_name, t.created_by, t.created_s, t.expires_s, t.used_s)
                for t in work.tokens.all()
            )

    def remove_token(self, actor: Actor, token_id: str) -> None:
        """Make a registration token invalid.

        Raises:
            NotFoundError: there is no such token.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.begin() as work:
            token = work.tokens.get(token_id)
            work.tokens.remove(token_id)
            work.audit.append(
                actor=actor.name,
                action="agent.remove-token",
                subject=Subject(SubjectKind.TOKEN, token.id, token.agent_name),
            )

    def rename(self, actor: Actor, reference: str, name: str) -> AgentView:
        """Give an agent another name; configurations that name it by its old name follow.

        Raises:
            NotFoundError: there is no such agent.
            AlreadyExistsError: the name is taken.
            RuleError: it cannot be used.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.begin() as work:
            before = work.agents.by_reference(reference)
            after = replace(before, name=_checked_name(name))
            work.agents.replace(after)
            users = _users(work.configurations.all(), before)
            for configuration in users:
                settings = {**configuration.settings, "agent": after.id}
                work.configurations.replace(replace(configuration, settings=settings))
            work.audit.append(
                actor=actor.name,
                action="agent.rename",
                subject=_subject(after),
                details={"before": before.name},
            )
            return self._view(after, users)

    def revoke(self, actor: Actor, reference: str, *, force: bool = False) -> AgentView:
        """Refuse an agent from now on; it can be registered again.

        Raises:
            NotFoundError: there is no such agent.
            InUseError: connector configurations use it, and `force` is not set.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.begin() as work:
            record = work.agents.by_reference(reference)
            if not force:
                _refuse_used(work, record)
            record = replace(record, revoked=True)
            work.agents.replace(record)
            work.audit.append(actor=actor.name, action="agent.revoke", subject=_subject(record))
            view = self._view(record, _users(work.configurations.all(), record))
        self._disconnect(record.id)
        return replace(view, online=False)

    def remove(self, actor: Actor, reference: str) -> None:
        """Forget an agent.

        Raises:
            NotFoundError: there is no such agent.
            InUseError: connector configurations use it.
        """
        require(actor, Role.ADMINISTRATOR)
        with self._core.db.begin() as work:
            record = work.agents.by_reference(reference)
            _refuse_used(work, record)
            work.agents.remove(record.id)
            work.audit.append(actor=actor.name, action="agent.remove", subject=_subject(record))
        self._disconnect(record.id)

    def _view(self, record: AgentRecord, users: Sequence[ConfigurationRecord]) -> AgentView:
        inventory = record.inventory
        return AgentView(
            id=record.id,
            name=record.name,
            online=record.id in self._core.agents.online(),
            revoked=record.revoked,
            version=inventory.agent_version if inventory else "",
            host_name=inventory.host_name if inventory else "",
            hypervisor=inventory.hypervisor if inventory else "",
            hypervisor_version=inventory.hypervisor_version if inventory else "",
            platform=inventory.platform.value if inventory else "",
            last_seen_s=record.last_seen_s,
            registered_s=record.registered_s,
            certificate_expires_s=record.certificate_expires_s,
            used_by=tuple(Subject(SubjectKind.CONFIGURATION, c.id, c.name) for c in users),
        )


def _subject(record: AgentRecord) -> Subject:
    return Subject(SubjectKind.AGENT, record.id, record.name)


def _users(every: Sequence[ConfigurationRecord], record: AgentRecord) -> Sequence[ConfigurationRecord]:
    names = {record.id.casefold(), record.name.casefold()}
    return [c for c in every if str(c.settings.get("agent", "")).casefold() in names]


def _refuse_used(work: UnitOfWork, record: AgentRecord) -> None:
    users = _users(work.configurations.all(), record)
    if users:
        raise InUseError(what="The agent", name=record.name, users=", ".join(c.name for c in users))


def _checked_name(name: str) -> str:
    if not name or name != name.strip() or len(name) > _MAX_NAME_CHARS or not name.isprintable():
        raise RuleError(
            field="name",
            reason="The name of an agent has 1 to 64 characters and no space at its ends.",
            remedy="Choose another name.",
        )
    return name
