"""One command that threads of the appliance wait for."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from sekiso.agent.link.errors import AgentOfflineError
from sekiso.agent.link.messages import Command, Outcome, Progress
from sekiso.agent.link.plain_data import error_of, result_of
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
    """

    agent_id: str
    command: Command
    ended: threading.Event = field(default_factory=threading.Event)
    joined: int = 0
    news: Progress | None = None
    _came: Outcome | None = None
    _step: str = ""

    def end(self, outcome: Outcome) -> None:
        """Take the outcome; the first one counts."""
        if self._came is None:
            self._came = outcome
        self.ended.set()

    def abandon(self) -> None:
        """Let those go who wait: this process ends."""
        self.ended.set()

    def tell(self, progress: ProgressPort) -> None:
        """Pass on how far it is."""
        news = self.news
        if news is None:
            return
        if news.step != self._step:
            self._step = news.step
            progress.step(news.step, total=news.total)
        progress.advance(news.done)

    def outcome(self, method: str) -> Any:
        """Return the result.

        Raises:
            AgentOfflineError: this process ends before the outcome came.
            SekisoError: what the agent raised.
        """
        if self._came is None:
            raise AgentOfflineError(agent=self.agent_id)
        if self._came.error is not None:
            raise error_of(method, self._came.error)
        return result_of(method, self._came.result or {})
