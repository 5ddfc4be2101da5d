"""What carries out commands in these tests, and counts."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sekiso.agent.contract import DescribeFileParams, FileFacts, StorageProbeParams, StorageProbeResult
from sekiso.errors import NoSpaceError
from sekiso.model.connector import AgentInventory
from sekiso.model.progress import Progress, check_canceled
from sekiso.model.storage_path import HostPlatform

from .sources import Source, Sources

QUICK = "storage.probe"
LONG = "file.describe"
STEPS = 5


def quick(what: str = "answer") -> StorageProbeParams:
    return StorageProbeParams(what)


def long(what: str = "answer", *, place: str = "/place") -> DescribeFileParams:
    return DescribeFileParams(place, what)


@dataclass
class Worker:
    """Does as the parameters say: answer, count (with progress), wait (until released), fail, break."""

    runs: Counter[str] = field(default_factory=Counter[str])
    active: set[str] = field(default_factory=set[str])
    released: threading.Event = field(default_factory=threading.Event)
    cpus: int = 1
    sources: Sources = field(default_factory=Sources)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, method: str, params: Any, *, command_id: str, progress: Progress) -> Any:
        if method == "host.inventory":
            return AgentInventory("1.0", "host", HostPlatform.POSIX, "QEMU", cpus=self.cpus)
        with self._lock:
            self.runs[command_id] += 1
            self.active.add(command_id)
        try:
            what = params.storage_path if method == QUICK else params.path
            self._do(what, progress)
        finally:
            with self._lock:
                self.active.discard(command_id)
        if method == QUICK:
            return StorageProbeResult("root", self.runs[command_id])
        return FileFacts(params.path, {"run": self.runs[command_id]})

    def open_stream(self, method: str, params: Any) -> Source:
        return self.sources.open_stream(method, params)

    def _do(self, what: str, progress: Progress) -> None:
        match what:
            case "fail":
                raise NoSpaceError(path="/place", needed_bytes=2, free_bytes=1)
            case "break":
                raise ValueError("broken")
            case "count":
                progress.step("Count", total=STEPS)
                for done in range(STEPS):
                    time.sleep(0.1)
                    check_canceled(progress)
                    progress.advance(done + 1)
            case "wait":
                progress.step("Wait")
                while not self.released.wait(0.02):
                    check_canceled(progress)
            case "hang":
                self.released.wait(10)
            case _:
                pass


@dataclass
class Watched:
    """A progress that remembers and can be canceled."""

    said: list[tuple[str, int | None]] = field(default_factory=list[tuple[str, int | None]])
    steps: list[tuple[str, int | None]] = field(default_factory=list[tuple[str, int | None]])
    amounts: list[int] = field(default_factory=list[int])
    stop: threading.Event = field(default_factory=threading.Event)

    def step(self, name: str, *, total: int | None = None) -> None:
        self.steps.append((name, total))

    def advance(self, done: int) -> None:
        self.amounts.append(done)

    def canceled(self) -> bool:
        return self.stop.is_set()


@dataclass
class Caller:
    """A call in a thread of its own."""

    give: Callable[[], Any]
    value: Any = None
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self.give()
        except Exception as error:  # noqa: BLE001 (raised by `result`, in the thread that asks)
            self.error = error

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()

    def result(self, timeout_s: float = 15.0) -> Any:
        self._thread.join(timeout_s)
        assert not self.waits, "it does not return"
        if self.error is not None:
            raise self.error
        return self.value


def until(true: Callable[[], Any], what: str = "it", timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.01)
