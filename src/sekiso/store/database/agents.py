"""Agents, tokens to register them, and the journal of commands to them."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from sekiso.model.library import AgentRecord
from sekiso.model.listing import AgentSort
from sekiso.model.paging import Listing, Page
from sekiso.store.database import constraints, tables
from sekiso.store.database.api import CommandRow, RegistrationToken
from sekiso.store.database.paging import Order, PagedRows
from sekiso.store.database.records import NamedRecordRows, RecordRows, Session


class AgentTable(PagedRows[AgentRecord], NamedRecordRows[AgentRecord]):
    """See `api.AgentRows`."""

    table = tables.agents
    record_type = AgentRecord
    orders: ClassVar = {
        AgentSort.NAME: Order((tables.agents.c.name_key,)),
        AgentSort.SEEN: Order((func.coalesce(tables.agents.c.last_seen_s, 0.0),), descending=True),
        AgentSort.REGISTERED: Order((tables.agents.c.registered_s,), descending=True),
    }
    searched = (tables.agents.c.name_key,)

    def page(self, listing: Listing) -> Page[AgentRecord]:
        """Return a page of the agents.

        Raises:
            RuleError: they cannot be sorted by that.
        """
        return self._page((), listing)

    def seen(self, agent_id: str, time_s: float) -> None:
        """Remember that an agent was connected; harmless if it was removed."""
        self._set(self.table.c.id == agent_id, last_seen_s=time_s)


class TokenTable(RecordRows[RegistrationToken]):
    """See `api.TokenRows`."""

    table = tables.agent_tokens
    record_type = RegistrationToken

    def use(self, secret_sha256: str, time_s: float) -> RegistrationToken | None:
        """Use a token up; None if there is none, it was used, or it has expired."""
        columns = tables.agent_tokens.c
        used = self._set(
            columns.secret_sha256 == secret_sha256,
            columns.used_s.is_(None),
            columns.expires_s > time_s,
            used_s=time_s,
        )
        return self._select(columns.secret_sha256 == secret_sha256)[0] if used else None


class CommandTable:
    """See `api.CommandRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connection = session.connection

    def begin(self, command_id: str, agent_id: str, method: str) -> CommandRow:
        """Record a command, or return what is recorded of it.

        Raises:
            NotFoundError: there is no such agent.
        """
        return self.find(command_id) or self._insert(command_id, agent_id, method)

    def end(
        self, command_id: str, *, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None
    ) -> None:
        """Record how a command ended; the first end counts."""
        columns = tables.commands.c
        self._connection.execute(
            update(tables.commands)
            .where(columns.id == command_id, columns.ended_s.is_(None))
            .values(result=result, error=error, ended_s=self._session.clock())
        )

    def forget_ended_before(self, time_s: float) -> int:
        """Remove commands that ended before a time; return how many."""
        ended = tables.commands.c.ended_s < time_s
        return self._connection.execute(delete(tables.commands).where(ended)).rowcount

    def find(self, command_id: str) -> CommandRow | None:
        """Return what is recorded of a command; None if nothing is."""
        query = select(tables.commands).where(tables.commands.c.id == command_id)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else CommandRow(**row)

    def _insert(self, command_id: str, agent_id: str, method: str) -> CommandRow:
        row = CommandRow(command_id, agent_id, method, None, None, self._session.clock(), None)
        values = {"id": row.id, "agent_id": agent_id, "method": method, "created_s": row.created_s}
        try:
            with constraints.savepoint(self._connection):
                self._connection.execute(insert(tables.commands).values(**values))
        except IntegrityError as exc:
            missing = constraints.missing_reference(self._connection, tables.commands, values)
            if missing is None:
                raise
            raise missing from exc
        return row
