"""The appliance's side of streams: who wants one waits here until the agent has opened it (LY-2)."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from concurrent.futures import Future, InvalidStateError
from typing import Any

from sekiso.agent.contract import FIRST_WITH_STREAMS
from sekiso.agent.handlers.errors import MethodUnknownError
from sekiso.agent.link.desk import Ledger
from sekiso.agent.link.errors import AgentOfflineError, AgentSilentError, AgentUnknownError, StreamLostError
from sekiso.agent.link.messages import (
    FromAgent,
    StreamClosed,
    StreamCredit,
    StreamOpen,
    StreamOpened,
    StreamRefused,
)
from sekiso.agent.link.plain_data import error_of, plain
from sekiso.agent.link.streams import Channels, Say
from sekiso.agent.port import ByteStream
from sekiso.errors import SekisoError

_OPEN_S = 30.0


class StreamLine:
    """The streams over one connection, at the appliance. Thread-safe."""

    def __init__(self, agent: str, say: Say) -> None:
        """Prepare; for the name of the agent, and what sends to it."""
        self.agent, self._say = agent, say
        self.contract_version = 0
        self._channels = Channels(say)
        self._numbers = itertools.count(1)
        self._opening: dict[int, tuple[str, Future[None]]] = {}

    def open(self, method: str, params: Any, *, timeout_s: float = _OPEN_S) -> ByteStream:
        """Open a stream; see `AgentPort.open_stream`."""
        if self.contract_version < FIRST_WITH_STREAMS:
            raise MethodUnknownError(method=method)
        number, opened = next(self._numbers), Future[None]()
        # Entered before it begins: whichever comes first, the end of the connection is heard of.
        self._opening[number] = (method, opened)
        try:
            channel = self._channels.add(number)
            self._say(StreamOpen(number, method, plain(params)))
            try:
                opened.result(timeout_s)
            except BaseException:
                channel.close()
                raise
        except TimeoutError:
            raise AgentSilentError(agent=self.agent, method=method, timeout_s=timeout_s) from None
        finally:
            self._opening.pop(number, None)
        return channel

    def take(self, came: FromAgent | bytes) -> None:
        """Take what the agent said."""
        match came:
            case bytes() | StreamCredit() | StreamClosed():
                self._channels.take(came)
            case StreamOpened(id=number):
                self._settle(number, None)
            case StreamRefused(id=number, error=data):
                self._settle(number, data)
            case _:
                pass

    def end(self, error: SekisoError) -> None:
        """End every stream, also those that are being opened."""
        self._channels.end(error)
        for _, opened in list(self._opening.values()):
            _set(opened, error)

    def _settle(self, number: int, data: dict[str, Any] | None) -> None:
        found = self._opening.get(number)
        if found is not None:
            method, opened = found
            _set(opened, None if data is None else error_of(method, data))


class StreamDesk:
    """Opens streams to agents. Thread-safe."""

    def __init__(self, ledger: Ledger, *, grace_s: float) -> None:
        """Prepare.

        Args:
            ledger: knows agents.
            grace_s: how long an agent that is away is waited for.
        """
        self._ledger, self._grace_s = ledger, grace_s
        self._changed = threading.Condition()
        self._lines: dict[str, StreamLine] = {}

    def open(self, agent_id: str, method: str, params: Any) -> ByteStream:
        """See `AgentPort.open_stream`."""
        return self._line(agent_id).open(method, params)

    def joined(self, agent_id: str, line: StreamLine, contract_version: int) -> None:
        """Take it that an agent has connected and said who it is."""
        line.contract_version = contract_version
        with self._changed:
            self._lines[agent_id] = line
            self._changed.notify_all()

    def left(self, agent_id: str, line: StreamLine) -> None:
        """Take it that a connection has ended."""
        with self._changed:
            if self._lines.get(agent_id) is line:
                del self._lines[agent_id]
        line.end(StreamLostError(agent=line.agent))

    def revoked(self, agent_id: str) -> None:
        """Take it that an agent was revoked."""
        with self._changed:
            line = self._lines.pop(agent_id, None)
            self._changed.notify_all()
        if line is not None:
            line.end(AgentUnknownError(agent=line.agent))

    def _line(self, agent_id: str) -> StreamLine:
        agent = self._ledger.name_of(agent_id)
        deadline_s = time.monotonic() + self._grace_s
        with self._changed:
            while agent_id not in self._lines:
                if not self._changed.wait(deadline_s - time.monotonic()):
                    raise AgentOfflineError(agent=agent)
            return self._lines[agent_id]


def _set(opened: Future[None], error: SekisoError | None) -> None:
    # Both the answer and the end of the connection may come; the first one counts.
    with contextlib.suppress(InvalidStateError):
        if error is None:
            opened.set_result(None)
        else:
            opened.set_exception(error)
