"""What all handlers of one agent share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sekiso.agent.guest_watch import GuestWatch
from sekiso.agent.handlers.settings import HandlerSettings
from sekiso.agent.port import ByteStream
from sekiso.hypervisors.base import HypervisorDriver
from sekiso.model.progress import Progress
from sekiso.transfer.client import RemoteFile


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that has begun: what is needed to give it up. Kept in memory only, it holds a secret."""

    remote: RemoteFile
    source: Path
    state: Path


class AgentHost:
    """The host that the agent acts for: its settings, its hypervisor, and what goes on in memory."""

    def __init__(self, settings: HandlerSettings) -> None:
        self.settings = settings
        self.uploads: dict[Path, PendingUpload] = {}
        self.lock = threading.RLock()
        self._busy: dict[Path, threading.RLock] = {}
        self._driver: HypervisorDriver | None = None
        self._watch: GuestWatch | None = None

    @contextmanager
    def holding(self, folder: Path) -> Generator[None]:
        """Hold the folder of a machine against the other commands of this agent."""
        with self.lock:
            lock = self._busy.setdefault(folder, threading.RLock())
        with lock:
            yield

    @property
    def driver(self) -> HypervisorDriver:
        """The driver of the host's hypervisor."""
        with self.lock:
            if self._driver is None:
                self._driver = self.settings.driver()
            return self._driver

    @property
    def watch(self) -> GuestWatch:
        """Listens to the guests."""
        with self.lock:
            if self._watch is None:
                self._watch = GuestWatch(self.driver)
            return self._watch


@dataclass(frozen=True, slots=True)
class Command:
    """One command under way.

    Attributes:
        host: the host.
        id: durable identity of the command, `<task>.<attempt>.<step>.<name>` for the commands of tasks.
        progress: told of steps and amounts, asked for cancellation.
    """

    host: AgentHost
    id: str
    progress: Progress


#: Carries out one method; the parameters are of the method's own type.
Handler = Callable[[Command, Any], Any]
#: Opens one kind of stream.
StreamHandler = Callable[[Command, Any], ByteStream]
