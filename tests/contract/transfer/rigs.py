"""What the suites run on: each store, with a way to lose its power."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sekiso.transfer.sessions import DiskSessionStore, MemorySessionStore, SessionHead, SessionStore


class StoreRig(Protocol):
    store: SessionStore
    folder: Path

    def restart(self) -> SessionStore:
        """The machine loses its power and comes up again."""
        ...

    def published(self, final: Path) -> bytes | None:
        """The file under its final name."""
        ...

    def leftovers(self) -> int:
        """How many incomplete files there are."""
        ...


class MemoryRig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._memory = MemorySessionStore()
        self.store: SessionStore = self._memory

    def restart(self) -> SessionStore:
        self._memory.lose_power()
        return self.store

    def published(self, final: Path) -> bytes | None:
        return self._memory.published.get(str(final))

    def leftovers(self) -> int:
        return self._memory.incomplete()


class DiskRig:
    """A process that dies: the page cache stays, so what is durable is proven on the memory store instead."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "out").mkdir()
        self.store: SessionStore = DiskSessionStore(folder / "sessions")

    def restart(self) -> SessionStore:
        self.store = DiskSessionStore(self.folder / "sessions")
        return self.store

    def published(self, final: Path) -> bytes | None:
        return final.read_bytes() if final.exists() else None

    def leftovers(self) -> int:
        return len(list((self.folder / "out").glob(".sekiso-*.part")))


def head(folder: Path, session_id: str, name: str = "file", grant_id: str = "grant") -> SessionHead:
    return SessionHead(
        id=session_id,
        grant_id=grant_id,
        url=f"/{grant_id}/{name}",
        principal="agent",
        final=folder / "out" / name,
        created_s=1000.0,
    )
