"""How the appliance's own code speaks to agents: one blocking call per command, and streams of bytes.

`agent.link.hub` implements it over the network; `agent.memory` in one process, for tests and contracts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sekiso.model.progress import NO_PROGRESS, Progress


class ByteStream(Protocol):
    """Bytes both ways, e.g. a machine's screen. Thread-safe: one thread may read while another writes."""

    def read(self) -> bytes:
        """Wait for bytes and return what is there; empty = the end, by either side.

        Raises:
            StreamLostError: the connection was lost.
            AgentUnknownError: the agent was revoked.
            SekisoError: what went wrong at the agent.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send bytes; waits while the other side does not read.

        Raises:
            StreamEndedError: it has ended.
            SekisoError: as for `read`.
        """
        ...

    def close(self) -> None:
        """End it in both directions, also for threads that wait in it. Harmless when it has ended."""
        ...


class AgentPort(Protocol):
    """Commands to agents. Thread-safe."""

    def call(
        self,
        agent_id: str,
        method: str,
        params: Any,
        *,
        command_id: str | None = None,
        progress: Progress = NO_PROGRESS,
        timeout_s: float | None = None,
    ) -> Any:
        """Have an agent carry out a method of `agent.contract.METHODS`, and wait for its result.

        A connection that is lost in the middle is waited for: the agent goes on working, and its result comes
        after the reconnect. With the same `command_id` a method is carried out once: the second call, also
        after a restart of the appliance, gets the first one's result or waits for it.

        Args:
            agent_id: the agent.
            method: name of the method.
            params: its parameters, of the method's type.
            command_id: durable identity, `<task>.<attempt>.<step>.<name>`; None = an identity of its own,
                for quick methods whose repetition does no harm.
            progress: receives steps and amounts; asked for cancellation, which reaches the agent.
            timeout_s: longest wait; None = for ever (long work) or 60 s (quick methods).

        Returns:
            The result, of the method's result type.

        Raises:
            AgentOfflineError: it is not connected and does not come back in time. Long work waits for it.
            AgentUnknownError: there is no such agent, or it was revoked.
            CanceledError: the work was canceled; the agent has stopped it.
            SekisoError: what the agent raised, with its own class where that is known.
        """
        ...

    def open_stream(self, agent_id: str, method: str, params: Any) -> ByteStream:
        """Open a stream of `agent.contract.STREAMS`; it ends with the connection to the agent at the latest.

        Args:
            agent_id: the agent.
            method: name of the stream.
            params: its parameters, of its type.

        Raises:
            AgentOfflineError: it is not connected and does not come back in some seconds.
            AgentUnknownError: there is no such agent, or it was revoked.
            AgentSilentError: it does not answer.
            MethodUnknownError: the agent is too old for it.
            SekisoError: what the agent raised.
        """
        ...

    def online(self) -> Sequence[str]:
        """Return the identifiers of the agents that are connected."""
        ...
