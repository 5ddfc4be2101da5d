"""Commands that threads of the appliance wait for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sekiso.agent.link.errors import AgentOfflineError
from sekiso.agent.link.messages import Command, Outcome, Progress
from sekiso.agent.link.plain_data import error_of, result_of
from sekiso.errors import SekisoError
from sekiso.model.progress import Progress as ProgressPort


@dataclass
class Waiting:
    """A command under way.

    Attributes:
        agent_id: the agent.
        command: the command; sent again after each reconnect.
        ended: set when its outcome is there, or when nobody will bring one.
        joined: how many threads wait for it.
        news: how far it is.
        canceled_at: monotonic time at which it was canceled; None = it was not.
        sent_over: the connection that it was last sent over; over each it is sent once.
    """

    agent_id: str
    command: Command
    ended: threading.Event = field(default_factory=threading.Event)
    joined: int = 0
    news: Progress | None = None
    canceled_at: float | None = None
    sent_over: object = None
    _came: Outcome | None = None
    _failure: SekisoError | None = None

    def end(self, outcome: Outcome) -> None:
        """Take the outcome; the first one counts."""
        if self._came is None:
            self._came = outcome
        self.ended.set()

    def fail(self, error: SekisoError) -> None:
        """Let those go who wait: nobody will bring an outcome."""
        self._failure = error
        self.ended.set()

    def outcome(self) -> Any:
        """Return the result.

        Raises:
            AgentOfflineError: this process ends before the outcome came.
            AgentUnknownError: the agent was revoked meanwhile.
            SekisoError: what the agent raised.
        """
        if self._came is None:
            raise self._failure or AgentOfflineError(agent=self.agent_id)
        return value_of(self.command.method, self._came)


class Teller:
    """Tells one of those who wait how far a command is."""

    def __init__(self, progress: ProgressPort) -> None:
        self._progress = progress
        self._step: tuple[str, int | None] | None = None

    def tell(self, news: Progress | None) -> None:
        """Pass on how far it is."""
        if news is None:
            return
        if (news.step, news.total) != self._step:
            self._step = (news.step, news.total)
            self._progress.step(news.step, total=news.total)
        self._progress.advance(news.done)


class WaitingRoom:
    """The commands that are waited for, by identity. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Waiting] = {}

    def join(self, agent_id: str, command: Command) -> Waiting:
        """Wait for a command, with those who wait for it already."""
        with self._lock:
            waiting = self._waiting.setdefault(command.id, Waiting(agent_id, command))
            waiting.joined += 1
            return waiting

    def leave(self, waiting: Waiting) -> None:
        """Wait no more."""
        with self._lock:
            waiting.joined -= 1
            if waiting.joined == 0:
                self._waiting.pop(waiting.command.id, None)

    def find(self, command_id: str, agent_id: str) -> Waiting | None:
        """Return a command that is waited for, if it was given to this agent."""
        with self._lock:
            waiting = self._waiting.get(command_id)
        return waiting if waiting is not None and waiting.agent_id == agent_id else None

    def of_agent(self, agent_id: str) -> Sequence[Waiting]:
        """Return what one agent is waited for."""
        with self._lock:
            return [w for w in self._waiting.values() if w.agent_id == agent_id]

    def everything(self) -> Sequence[Waiting]:
        """Return all that is waited for."""
        with self._lock:
            return list(self._waiting.values())


def value_of(method: str, outcome: Outcome) -> Any:
    """Return the result that an outcome holds.

    Raises:
        SekisoError: it holds an error.
    """
    if outcome.error is not None:
        raise error_of(method, outcome.error)
    return result_of(method, outcome.result or {})
