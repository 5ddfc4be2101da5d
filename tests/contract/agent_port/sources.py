"""What streams lead to at the agent, in these tests."""

from __future__ import annotations

import queue
import random
import threading
from dataclasses import dataclass, field

from sekiso.agent.contract import ScreenParams
from sekiso.agent.link.errors import StreamEndedError
from sekiso.errors import NotFoundError
from sekiso.hypervisors.errors import WrongStateError

STREAM = "packaging.screen"


def stream(what: str = "echo") -> ScreenParams:
    return ScreenParams("/place", what)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass
class Source:
    """A `ByteStream` that a test fills and looks into."""

    echo: bool = False
    received: bytearray = field(default_factory=bytearray)
    given_bytes: int = 0
    closed: threading.Event = field(default_factory=threading.Event)
    #: Nothing is taken while this is not set.
    takes: threading.Event = field(default_factory=threading.Event)
    _next: queue.Queue[bytes | Exception] = field(default_factory=queue.Queue[bytes | Exception])

    def __post_init__(self) -> None:
        self.takes.set()

    def give(self, what: bytes | Exception) -> None:
        """Have the next read return or raise this; empty = the end."""
        self._next.put(what)

    def read(self) -> bytes:
        found = self._next.get()
        if isinstance(found, Exception):
            raise found
        self.given_bytes += len(found)
        return found

    def write(self, data: bytes) -> None:
        while not self.takes.wait(0.02):
            if self.closed.is_set():
                raise StreamEndedError
        self.received += data
        if self.echo:
            self.give(data)

    def close(self) -> None:
        self.closed.set()
        self.give(b"")


@dataclass
class Sources:
    """Opens streams as the parameters say: echo, quiet, off, missing, break."""

    opened: list[Source] = field(default_factory=list[Source])

    def open_stream(self, method: str, params: ScreenParams) -> Source:
        assert method == STREAM
        match params.version_id:
            case "missing":
                raise NotFoundError(what="The machine", name="v", remedy="")
            case "off":
                raise WrongStateError(machine="m", state="off", operation="show its screen", needed="running")
            case "break":
                raise ValueError("broken")
            case what:
                source = Source(echo=what == "echo")
        self.opened.append(source)
        return source

    @property
    def last(self) -> Source:
        return self.opened[-1]
