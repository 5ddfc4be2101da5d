"""Says to open pages that something has changed: server-sent events, one watcher for all of them."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from sekiso.errors import SekisoError
from sekiso.model.task import TaskFilter, TaskRecord, TaskState
from sekiso.web.services import Services

log = logging.getLogger(__name__)

_EVERY_S = 0.7
#: Without one of these, a connection over which nothing comes would be cut somewhere on its way.
_BEAT_S = 15.0
_ACTIVE = frozenset(state for state in TaskState if not state.ended)
_MOST_TASKS = 500
_MOST_WAITING = 20
#: How long a browser waits before it connects again.
_RETRY_MS = 2000

Topic = str


@dataclass(eq=False)
class _Listener:
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[tuple[Topic, str]] = field(default_factory=lambda: asyncio.Queue(_MOST_WAITING))

    def tell(self, topic: Topic, data: str) -> None:
        """Pass an event on; called in the watcher's thread."""
        self.loop.call_soon_threadsafe(self._put, topic, data)

    def _put(self, topic: Topic, data: str) -> None:
        # A page that is slow misses some: each says only that something is new.
        if not self.queue.full():
            self.queue.put_nowait((topic, data))


class Live:
    """Watches tasks and agents while a page is open, and tells those pages."""

    def __init__(self, services: Services) -> None:
        """Prepare; the watcher starts with the first listener."""
        self._services = services
        self._listeners: set[_Listener] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the watcher; open streams end with their server."""
        self._stopping.set()

    async def stream(self, *, again: bool) -> AsyncIterator[bytes]:
        """Yield events as server-sent events (HTML standard, section 9.2) until the reader goes away.

        Args:
            again: whether the page was connected before, and may have missed something.
        """
        listener = _Listener(asyncio.get_running_loop())
        self._add(listener)
        try:
            # With an identifier, the browser says by itself that it comes again.
            yield f"retry: {_RETRY_MS}\nid: 1\ndata:\n\n".encode()
            if again:
                yield _event("sekiso:tasks", "{}") + _event("sekiso:agents", "{}")
            while not self._stopping.is_set():
                try:
                    yield _event(*await asyncio.wait_for(listener.queue.get(), _BEAT_S))
                except TimeoutError:
                    yield b": beat\n\n"
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def _add(self, listener: _Listener) -> None:
        with self._lock:
            self._listeners.add(listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="console-live", daemon=True)
                self._thread.start()

    def _watch(self) -> None:
        seen: Mapping[Topic, str] = {}
        while not self._stopping.wait(_EVERY_S):
            with self._lock:
                listeners = tuple(self._listeners)
                if not listeners:
                    self._thread = None
                    return
            now = self._look() or seen
            for topic, data in now.items():
                # The first look tells, too: what has changed since a page was made is not known.
                if seen.get(topic) != data:
                    for listener in listeners:
                        listener.tell(topic, data)
            seen = now

    def _look(self) -> Mapping[Topic, str]:
        try:
            active = self._services.tasks.list(TaskFilter(states=_ACTIVE, limit=_MOST_TASKS))
            newest = self._services.tasks.list(TaskFilter(limit=20))
            online = sorted(agent.id for agent in self._services.agents.list() if agent.online)
        except SekisoError:
            log.warning("looking for changes failed", exc_info=True)
            return {}
        states = {task.id: _shape(task) for task in (*active, *newest)}
        return {"sekiso:tasks": json.dumps(states), "sekiso:agents": json.dumps(online)}


def _shape(task: TaskRecord) -> list[object]:
    return [task.state.value, int(task.percent), task.step, task.action, task.attempt]


def _event(topic: Topic, data: str) -> bytes:
    return f"event: {topic}\ndata: {data}\n\n".encode()
