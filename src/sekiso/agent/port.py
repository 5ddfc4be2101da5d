"""How the appliance's own code speaks to agents: one blocking call per command.

`agent.link.hub` implements it over the network; `agent.memory` in one process, for tests and contracts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sekiso.model.progress import NO_PROGRESS, Progress


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

    def online(self) -> Sequence[str]:
        """Return the identifiers of the agents that are connected."""
        ...
