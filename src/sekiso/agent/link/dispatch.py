"""What the agent's side of the link hands commands to."""

from __future__ import annotations

from typing import Any, Protocol

from sekiso.model.progress import Progress


class Dispatcher(Protocol):
    """Carries out commands; `agent.handlers.dispatcher.Handlers` is the real one."""

    def run(self, method: str, params: Any, *, command_id: str, progress: Progress) -> Any:
        """Carry out one command; convergent, see `agent.contract`.

        Raises:
            SekisoError: it failed.
        """
        ...
