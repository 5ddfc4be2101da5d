"""Agents in this process: for tests of what gives commands, and as the yardstick of the contract (AG-5)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from sekiso.agent.contract import CONTRACT_VERSION
from sekiso.agent.journal import Entry
from sekiso.agent.link.desk import Desk
from sekiso.agent.link.dispatch import Dispatcher
from sekiso.agent.link.errors import AgentUnknownError
from sekiso.agent.link.messages import (
    Command,
    Outcome,
    Progress,
    decode_from_agent,
    decode_from_appliance,
    encode,
)
from sekiso.agent.link.running import Running
from sekiso.agent.link.stream_desk import StreamDesk, StreamLine
from sekiso.agent.link.stream_host import StreamHost
from sekiso.agent.link.streams import StreamMessage
from sekiso.agent.link.waiting import Waiting
from sekiso.agent.port import ByteStream
from sekiso.model.progress import NO_PROGRESS
from sekiso.model.progress import Progress as ProgressPort


class MemoryJournal:
    """`agent.journal.Journal` in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}

    def find(self, command_id: str) -> Entry | None:
        """See `Journal`."""
        return self._entries.get(command_id)

    def begin(self, command_id: str, method: str) -> None:
        """See `Journal`."""
        with self._lock:
            self._entries.setdefault(command_id, Entry(command_id, method, None))

    def end(self, command_id: str, outcome: dict[str, Any]) -> None:
        """See `Journal`."""
        with self._lock:
            known = self._entries.get(command_id)
            if known is not None:
                self._entries[command_id] = Entry(command_id, known.method, outcome)

    def forget(self, command_id: str) -> None:
        """See `Journal`."""
        with self._lock:
            self._entries.pop(command_id, None)

    def all(self) -> tuple[Entry, ...]:
        """See `Journal`."""
        with self._lock:
            return tuple(self._entries.values())


class MemoryLedger:
    """`desk.Ledger` in memory."""

    def __init__(self, agents: Mapping[str, Any]) -> None:
        self._lock = threading.Lock()
        self._agents, self._revoked = agents, set[str]()
        self._outcomes: dict[str, Outcome | None] = {}

    def name_of(self, agent_id: str) -> str:
        """See `desk.Ledger`."""
        if agent_id not in self._agents or agent_id in self._revoked:
            raise AgentUnknownError(agent=agent_id)
        return agent_id

    def begin(self, agent_id: str, command: Command) -> Outcome | None:
        """See `desk.Ledger`."""
        del agent_id
        with self._lock:
            return self._outcomes.setdefault(command.id, None)

    def end(self, agent_id: str, outcome: Outcome) -> None:
        """See `desk.Ledger`."""
        del agent_id
        with self._lock:
            if self._outcomes.get(outcome.id) is None:
                self._outcomes[outcome.id] = outcome

    def revoke(self, agent_id: str) -> None:
        """Know this agent no more."""
        self._revoked.add(agent_id)


class _StreamWire:
    """What carries the streams of one agent, until its connection is cut."""

    def __init__(self, agent_id: str, dispatcher: Dispatcher) -> None:
        self.line = StreamLine(agent_id, self._to_agent)
        self.host = StreamHost(dispatcher, self._to_appliance)

    def _to_agent(self, what: StreamMessage | bytes) -> None:
        self.host.take(what if isinstance(what, bytes) else decode_from_appliance(encode(what)))

    def _to_appliance(self, what: StreamMessage | bytes) -> None:
        self.line.take(what if isinstance(what, bytes) else decode_from_agent(encode(what)))


class MemoryAgents:
    """`AgentPort` without a network. What is said is plain data all the same, as on the wire."""

    def __init__(self, handlers: Mapping[str, Dispatcher], *, grace_s: float = 0.2) -> None:
        """Make agents; all are connected.

        Args:
            handlers: what carries out the commands of each agent, by its identifier.
            grace_s: how long quick methods wait for an agent that is away.
        """
        self._lock = threading.Lock()
        self._away: set[str] = set()
        self._unsent: dict[str, list[Outcome]] = {agent_id: [] for agent_id in handlers}
        self._running = {
            agent_id: self._host(agent_id, dispatcher) for agent_id, dispatcher in handlers.items()
        }
        self._ledger = MemoryLedger(self._running)
        self._desk = Desk(self._ledger, self, grace_s=grace_s)
        self._handlers = handlers
        self._streams = StreamDesk(self._ledger, grace_s=grace_s)
        self._wires: dict[str, _StreamWire] = {}
        for agent_id in handlers:
            self._join(agent_id)

    def call(
        self,
        agent_id: str,
        method: str,
        params: Any,
        *,
        command_id: str | None = None,
        progress: ProgressPort = NO_PROGRESS,
        timeout_s: float | None = None,
    ) -> Any:
        """See `AgentPort`."""
        return self._desk.call(
            agent_id, method, params, command_id=command_id, progress=progress, timeout_s=timeout_s
        )

    def open_stream(self, agent_id: str, method: str, params: Any) -> ByteStream:
        """See `AgentPort`."""
        return self._streams.open(agent_id, method, params)

    def online(self) -> Sequence[str]:
        """See `AgentPort`."""
        return tuple(agent_id for agent_id in self._running if self.connected(agent_id))

    def close(self) -> None:
        """Let every agent stop."""
        for running in self._running.values():
            running.stop()
        for agent_id in self._running:
            self._part(agent_id)
        for waiting in self._desk.room.everything():
            waiting.ended.set()

    # --- what happens to agents -------------------------------------------------------------------------

    def go_away(self, agent_id: str) -> None:
        """Cut the connection of an agent; it works on."""
        with self._lock:
            self._away.add(agent_id)
        self._part(agent_id)

    def come_back(self, agent_id: str) -> None:
        """Connect an agent again: what was not said meanwhile is said now."""
        with self._lock:
            self._away.discard(agent_id)
            unsent, self._unsent[agent_id] = self._unsent[agent_id], []
        self._join(agent_id)
        for outcome in unsent:
            self._came(agent_id, outcome)
        for waiting in self._desk.room.of_agent(agent_id):
            self.deliver(waiting)

    def revoke(self, agent_id: str) -> None:
        """Refuse an agent from now on."""
        self._ledger.revoke(agent_id)
        self._streams.revoked(agent_id)
        self.go_away(agent_id)
        for waiting in self._desk.room.of_agent(agent_id):
            waiting.fail(AgentUnknownError(agent=agent_id))

    # --- the wire ---------------------------------------------------------------------------------------

    def connected(self, agent_id: str) -> bool:
        """Whether an agent is connected."""
        with self._lock:
            return agent_id not in self._away

    def deliver(self, waiting: Waiting) -> None:
        """Give a command to its agent."""
        if self.connected(waiting.agent_id) and not waiting.ended.is_set():
            self._running[waiting.agent_id].take(waiting.command)
            if waiting.canceled_at is not None:
                self.cancel(waiting)

    def cancel(self, waiting: Waiting) -> None:
        """Give a command up."""
        # An agent in the same process can be told even when it is away: nothing is lost on the way.
        self._running[waiting.agent_id].cancel(waiting.command.id)

    def _host(self, agent_id: str, dispatcher: Dispatcher) -> Running:
        def told(news: Progress) -> None:
            waiting = self._desk.room.find(news.id, agent_id)
            if waiting is not None:
                waiting.news = news

        def ended(outcome: Outcome) -> None:
            with self._lock:
                if agent_id in self._away:
                    self._unsent[agent_id].append(outcome)
                    return
            self._came(agent_id, outcome)

        return Running(dispatcher, MemoryJournal(), told=told, ended=ended)

    def _join(self, agent_id: str) -> None:
        wire = self._wires[agent_id] = _StreamWire(agent_id, self._handlers[agent_id])
        self._streams.joined(agent_id, wire.line, CONTRACT_VERSION)

    def _part(self, agent_id: str) -> None:
        wire = self._wires[agent_id]
        self._streams.left(agent_id, wire.line)
        wire.host.end()

    def _came(self, agent_id: str, outcome: Outcome) -> None:
        self._desk.came(agent_id, outcome)
        self._running[agent_id].acknowledged(outcome.id)
