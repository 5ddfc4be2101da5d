"""What the agent's side of the link hands commands to."""

from __future__ import annotations

from typing import Any, Protocol

from sekiso.agent.port import ByteStream
from sekiso.model.progress import Progress


class Dispatcher(Protocol):
    """Carries out commands and opens streams; `agent.handlers.dispatcher.Handlers` is the real one."""

    def run(self, method: str, params: Any, *, command_id: str, progress: Progress) -> Any:
        """Carry out one command; convergent, see `agent.contract`.

        Raises:
            SekisoError: it failed.
        """
        ...

    def open_stream(self, method: str, params: Any) -> ByteStream:
        """Open a stream of `agent.contract.STREAMS`; who asked for it closes it.

        Raises:
            SekisoError: it cannot be opened.
        """
        ...
