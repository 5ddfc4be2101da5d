"""Layers with real files in them, for the pages that look inside."""

from __future__ import annotations

import hashlib

from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.library import LayerRecord, VersionRecord, VersionState
from sekiso.model.machine import Generation
from sekiso.store.layers import LayerStore
from sekiso.wim.merge import LayerTree
from sekiso.wim.symlinks import symlink_reparse
from sekiso.wim.tree import DIRECTORY, NORMAL, REPARSE_POINT, Node, Reparse, UnixData, new_root

from ..compositing.edit_scripts import write_layer
from ..web.world import NOW_S, World

#: What a name leads to: text of a file, or (a tuple) the target of a link.
Files = dict[str, str | tuple[str]]
_TIME = 133_000_000_000_000_000


def add_layers(world: World) -> None:
    """Add an OS layer with a file tree, two versions of an app on it, another app and a platform layer."""
    system: Files = {
        "/etc/motd": "hello",
        "/etc/issue": "Debian",
        "/bin": ("usr/bin",),
        "/usr/bin/sh": "x" * 2000,
    }
    _add(world, "os", LayerKind.OS, {"1": (system, ())})
    one: Files = {"/etc/motd": "one", "/etc/<b>.conf": "a", "/srv/日本.txt": "日本"}
    two: Files = {"/etc/motd": "two", "/srv/日本.txt": "日本", "/srv/new": "n"}
    _add(world, "one", LayerKind.APP, {"1": (one, ()), "2": (two, ("/etc/issue",))}, priority=5)
    _add(world, "other", LayerKind.APP, {"1": ({"/etc/motd": "other"}, ())}, priority=9)
    _add(world, "pf", LayerKind.PLATFORM, {"1": ({"/etc/motd": "platform"}, ())})


def _add(
    world: World,
    name: str,
    kind: LayerKind,
    versions: dict[str, tuple[Files, tuple[str, ...]]],
    *,
    priority: int = 0,
) -> None:
    is_os = kind is LayerKind.OS
    on = None if is_os else "x-os"
    layer = LayerRecord(f"x-{name}", kind, name, "", "", priority, GuestFamily.LINUX, on, NOW_S)
    with world.db.begin() as work:
        work.layers.add(layer)
    for number, (files, deleted) in versions.items():
        record = VersionRecord(
            *(f"x-{name}-{number}", layer.id, number, "", VersionState.DEPLOYABLE, Generation.ONE),
            _stored(world, f"{name}-{number}", kind, files, deleted),
            base_version_ids=() if is_os else ("x-os-1",),
            created_s=NOW_S + int(number),
        )
        with world.db.begin() as work:
            work.versions.add(record)


def _stored(world: World, name: str, kind: LayerKind, files: Files, deleted: tuple[str, ...]) -> str:
    content = {bytes(20): b""}
    root = new_root()
    root.unix = UnixData(0, 0, 0o040755)
    for path, what in files.items():
        _put(root, path, what, content)
    tree = LayerTree(name.partition("-")[0], root, deleted)
    file = write_layer(world.state / f"{name}.wim", tree, content, kind=kind)
    return LayerStore(world.state / "layers").adopt(file)


def _put(root: Node, path: str, what: str | tuple[str], content: dict[bytes, bytes]) -> None:
    *folders, name = path.strip("/").split("/")
    kids = root.children
    for folder in folders:
        assert kids is not None
        unix = UnixData(0, 0, 0o040755)
        kids = kids.setdefault(
            folder, Node(folder, DIRECTORY, write_time=_TIME, unix=unix, children={})
        ).children
    assert kids is not None
    if isinstance(what, tuple):
        tag, flags, raw = symlink_reparse(what[0])
        point = Reparse(tag, flags, _keep(raw, content))
        kids[name] = Node(name, REPARSE_POINT, write_time=_TIME, reparse=point, unix=UnixData(0, 0, 0o120777))
        return
    data = _keep(what.encode(), content)
    kids[name] = Node(name, NORMAL, write_time=_TIME, data=data, unix=UnixData(33, 7, 0o100640))


def _keep(data: bytes, content: dict[bytes, bytes]) -> bytes:
    digest = hashlib.sha1(data, usedforsecurity=False).digest()
    content[digest] = data
    return digest
