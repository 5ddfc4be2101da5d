"""A host in memory, its handlers, and an engine that makes small files instead of disks."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sekiso.agent.cache import recipe_key
from sekiso.agent.contract import ComposeDiskParams, DiskRecipe, Hardware
from sekiso.agent.handlers import engine
from sekiso.agent.handlers.dispatcher import Handlers
from sekiso.agent.handlers.settings import HandlerSettings
from sekiso.hypervisors.memory import GuestEvent, MemoryDriver, MemoryHost
from sekiso.model.layer import GuestFamily, LayerKind, LayerManifest
from sekiso.model.machine import DiskFormat, Generation
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.store.layer_file import LayerWriter
from sekiso.wim.tree import Node, new_root

TASK = "7f0e1b1c-58a4-4f0e-9d0c-6b1d3f5d2a01"
OTHER_TASK = "7f0e1b1c-58a4-4f0e-9d0c-6b1d3f5d2a02"
VERSION = "1c0e1b1c-58a4-4f0e-9d0c-6b1d3f5d2a03"
IMAGE = "2c0e1b1c-58a4-4f0e-9d0c-6b1d3f5d2a04"
HARDWARE = Hardware(Generation.ONE, 2, 1024)
MIB = 1 << 20


def write_layer(path: Path, name: str = "os", kind: LayerKind = LayerKind.OS) -> str:
    """Make a real layer file with one file in it, and return its identity."""
    manifest = LayerManifest(name, "1", kind, GuestFamily.LINUX, tree="")
    with LayerWriter(path) as writer:
        root = new_root()
        assert root.children is not None
        root.children["file"] = Node(name="file", data=writer.wim.add_bytes(name.encode() * 1000))
        return writer.finish(manifest, root).identity


@dataclass
class FakeEngine:
    """Makes what the engine makes, small; counts what it was asked for."""

    composed: list[str] = field(default_factory=list[str])
    imported: list[Path] = field(default_factory=list[Path])
    captured: list[engine.CaptureWish] = field(default_factory=list[engine.CaptureWish])
    disk_bytes: int = 4 * MIB
    moment: Callable[[], None] = lambda: None

    def compose_disk(
        self, recipe: DiskRecipe, layers: Sequence[Path], out: Path, *, seed: str, progress: Progress
    ) -> engine.DiskWork:
        assert all(path.is_file() for path in layers)
        (out.parent / ".disk.half.x").write_bytes(b"half")
        self.moment()
        out.write_bytes(disk_content(seed, self.disk_bytes))
        (out.parent / ".disk.half.x").unlink()
        self.composed.append(seed)
        return engine.DiskWork(f"plan-{seed[:8]}", 3)

    def import_system(
        self, source: Path, out: Path, *, name: str, version: str, guest_tools: bool, progress: Progress
    ) -> engine.LayerWork:
        self.imported.append(source)
        self.moment()
        identity = write_layer(out, f"{name}{len(self.imported)}")
        return engine.LayerWork(identity, 2, 0, "Small OS", ("a note",))

    def capture_changes(self, wish: engine.CaptureWish, out: Path, *, progress: Progress) -> engine.LayerWork:
        self.captured.append(wish)
        self.moment()
        identity = write_layer(out, f"{wish.name}{len(self.captured)}", LayerKind.APP)
        return engine.LayerWork(identity, 5, 1)


def disk_content(seed: str, size: int) -> bytes:
    """The same bytes for the same seed, none of them zero."""
    return (seed.encode() * (size // len(seed) + 1))[:size]


def install(monkeypatch: pytest.MonkeyPatch, fake: FakeEngine) -> FakeEngine:
    for name in ("compose_disk", "import_system", "capture_changes"):
        monkeypatch.setattr(engine, name, getattr(fake, name))
    return fake


class Bench:
    """Handlers over a host in memory; a new one may be opened over the same host, as after a restart."""

    def __init__(self, storage: Path, memory: MemoryHost | None = None) -> None:
        self.storage = storage
        self.memory = memory or MemoryHost()
        self.driver = MemoryDriver(self.memory)
        self.handlers = self.restarted()

    def restarted(self) -> Handlers:
        settings = HandlerSettings(lambda: self.driver, "127.0.0.1", agent_version="1.2")
        self.handlers = Handlers(settings)
        return self.handlers

    @property
    def path(self) -> str:
        return str(self.storage)

    def run(self, method: str, params: Any, *, task: str = TASK, progress: Progress = NO_PROGRESS) -> Any:
        return self.handlers.run(method, params, command_id=f"{task}:1:{method}", progress=progress)

    def add_layer(self, name: str = "os", kind: LayerKind = LayerKind.OS) -> str:
        """Put a layer where the agent keeps them, as a fetch does."""
        from sekiso.agent.handlers.layers import keep_layer
        from sekiso.agent.places import open_places

        places = open_places(self.path)
        file = places.scratch(TASK) / f"{uuid.uuid4().hex}.wim"
        identity = write_layer(file, name, kind)
        keep_layer(places, file, identity)
        return identity

    def recipe(self, *identities: str, **more: Any) -> DiskRecipe:
        return DiskRecipe(identities, Generation.ONE, DiskFormat.VHD, **more)

    def compose(self, recipe: DiskRecipe, **more: Any) -> ComposeDiskParams:
        options: dict[str, Any] = {
            "storage_path": self.path,
            "task_id": TASK,
            "recipe": recipe,
            "target": "packaging",
            "owner_id": VERSION,
        }
        return ComposeDiskParams(**{**options, **more})

    def tree(self) -> list[str]:
        """All files below the storage path, leftovers and locks included."""
        return sorted(
            str(p.relative_to(self.storage))
            for p in self.storage.rglob("*")
            if p.is_file() and not p.name.endswith(".lock")
        )


def key_of(recipe: DiskRecipe) -> str:
    return recipe_key(recipe)


def says(memory: MemoryHost, machine_id: str, **event: object) -> None:
    memory.guest_says(machine_id, f"SEKISO {json.dumps(event)}\n")


def talkative(memory: MemoryHost, machine_id: str, event: GuestEvent) -> None:
    """A guest that boots, reports, and shuts down when the button is pressed."""
    if event is GuestEvent.STARTED:
        says(memory, machine_id, event="boot", boot_id=os.urandom(4).hex(), os="Debian")
        says(memory, machine_id, event="gate", ok=True, reasons=[])
        says(memory, machine_id, event="ready")
    if event is GuestEvent.BUTTON:
        memory.guest_powers_off(machine_id)
