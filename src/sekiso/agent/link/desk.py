"""Where threads hand in commands and wait for what becomes of them; the same over every wire (AG-5).

The order of steps is what makes a command happen once: who waits is entered first, then the journal is read,
then the command is sent; an outcome is recorded first, then told to those who wait, then acknowledged. So an
outcome that comes at any moment is found in one place or the other, and what the agent may forget is not
asked for again.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any, Protocol

from sekiso.agent.contract import METHODS
from sekiso.agent.link.errors import AgentOfflineError, AgentSilentError
from sekiso.agent.link.messages import MAX_BYTES, Command, Outcome, encode
from sekiso.agent.link.plain_data import error_data, plain
from sekiso.agent.link.waiting import Teller, Waiting, WaitingRoom, value_of
from sekiso.errors import CanceledError, SekisoError
from sekiso.model.progress import Progress

_QUICK_S = 60.0
_POLL_S = 0.25
#: An agent that works on is given so long to stop what was canceled.
_STOPPING_S = 300.0


class Ledger(Protocol):
    """What is known of agents and recorded of commands."""

    def name_of(self, agent_id: str) -> str:
        """Return the name of an agent.

        Raises:
            AgentUnknownError: there is no such agent, or it was revoked.
        """
        ...

    def begin(self, agent_id: str, command: Command) -> Outcome | None:
        """Record a command, or return the outcome that is recorded of it."""
        ...

    def end(self, agent_id: str, outcome: Outcome) -> None:
        """Record how a command ended; the first end counts."""
        ...


class Wire(Protocol):
    """The way to the agents."""

    def connected(self, agent_id: str) -> bool:
        """Whether an agent is connected."""
        ...

    def deliver(self, waiting: Waiting) -> None:
        """Send a command, unless its agent is away (it is sent when that is back) or it has ended."""
        ...

    def cancel(self, waiting: Waiting) -> None:
        """Send a cancellation; as for `deliver`."""
        ...


@dataclass
class _Wait:
    """How long one caller waits.

    Attributes:
        agent: name of the agent.
        limit_s: longest wait; None = for ever.
        grace_s: longest absence of the agent that is waited out; None = for ever.
        begun: monotonic time of the beginning.
        seen: monotonic time at which the agent was last connected.
    """

    agent: str
    limit_s: float | None
    grace_s: float | None
    begun: float
    seen: float


class Desk:
    """Takes commands in. Thread-safe."""

    def __init__(self, ledger: Ledger, wire: Wire, *, grace_s: float) -> None:
        """Prepare.

        Args:
            ledger: knows agents and records commands.
            wire: the way to the agents.
            grace_s: how long quick methods wait for an agent that is away: it may have lost its connection
                just now, or the appliance may have started just now.
        """
        self.room = WaitingRoom()
        self._ledger, self._wire, self._grace_s = ledger, wire, grace_s

    def call(
        self,
        agent_id: str,
        method: str,
        params: Any,
        *,
        command_id: str | None,
        progress: Progress,
        timeout_s: float | None,
    ) -> Any:
        """See `agent.port.AgentPort.call`."""
        wait = self._wait(self._ledger.name_of(agent_id), timeout_s, quick=METHODS[method].quick)
        durable = command_id is not None
        command = Command(command_id or f"quick.{uuid.uuid4()}", method, plain(params), durable)
        if len(encode(command)) > MAX_BYTES:
            raise SekisoError(reason=f"The parameters of {method} are too long.")
        waiting = self.room.join(agent_id, command)
        try:
            recorded = self._ledger.begin(agent_id, command) if durable else None
            if recorded is not None:
                return value_of(method, recorded)
            self._wire.deliver(waiting)
            self._follow(waiting, progress, wait)
            return waiting.outcome()
        finally:
            self.room.leave(waiting)

    def came(self, agent_id: str, outcome: Outcome) -> None:
        """Take an outcome of an agent; once this returns, the agent may forget it."""
        waiting = self.room.find(outcome.id, agent_id)
        if waiting is None or waiting.command.durable:
            self._ledger.end(agent_id, outcome)
        # Looked for again: somebody may have begun to wait before it was recorded.
        waiting = self.room.find(outcome.id, agent_id)
        if waiting is not None:
            waiting.end(outcome)

    def _wait(self, agent: str, timeout_s: float | None, *, quick: bool) -> _Wait:
        now = time.monotonic()
        limit_s = timeout_s if timeout_s is not None else (_QUICK_S if quick else None)
        return _Wait(agent, limit_s, self._grace_s if quick else None, now, now)

    def _follow(self, waiting: Waiting, progress: Progress, wait: _Wait) -> None:
        teller = Teller(progress)
        while not waiting.ended.wait(_POLL_S):
            online = self._wire.connected(waiting.agent_id)
            teller.tell(waiting.news)
            if progress.canceled() or waiting.canceled_at is not None:
                self._cancel(waiting, online=online)
            self._check_time(waiting, wait, online=online)
        teller.tell(waiting.news)

    def _cancel(self, waiting: Waiting, *, online: bool) -> None:
        now = time.monotonic()
        if waiting.canceled_at is None:
            waiting.canceled_at = now
            self._wire.cancel(waiting)
        # An agent that is away is told when it is back.
        if not online or now - waiting.canceled_at > _STOPPING_S:
            outcome = Outcome(waiting.command.id, error=error_data(CanceledError()))
            if waiting.command.durable:
                self._ledger.end(waiting.agent_id, outcome)
            waiting.end(outcome)

    def _check_time(self, waiting: Waiting, wait: _Wait, *, online: bool) -> None:
        """Stop waiting if it is time; a durable command goes on, and can be waited for again."""
        if waiting.ended.is_set():
            return
        now = time.monotonic()
        if online:
            wait.seen = now
        late = wait.limit_s is not None and now - wait.begun > wait.limit_s
        lost = wait.grace_s is not None and now - wait.seen > wait.grace_s
        if not (late or lost):
            return
        if not waiting.command.durable:
            self._wire.cancel(waiting)
        if not online:
            raise AgentOfflineError(agent=wait.agent)
        raise AgentSilentError(agent=wait.agent, method=waiting.command.method, timeout_s=wait.limit_s)
