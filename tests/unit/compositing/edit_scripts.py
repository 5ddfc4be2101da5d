"""File systems in memory, edited at random, and what a capture finds between two of their states."""

from __future__ import annotations

import copy
import random
import stat
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path

from sekiso.model.layer import BootFacts, GuestFamily, LayerKind, LayerManifest
from sekiso.model.machine import Generation
from sekiso.store.layer_file import Compression, LayerFile, LayerWriter
from sekiso.wim.diff import diff, holds_content
from sekiso.wim.merge import LayerTree
from sekiso.wim.names import folding
from sekiso.wim.prune import prune
from sekiso.wim.symlinks import symlink_reparse
from sekiso.wim.tree import (
    DIRECTORY,
    NORMAL,
    REPARSE_POINT,
    Node,
    Reparse,
    UnixData,
    find,
    new_root,
    walk,
)

NAMES = ("a", "b", "c", "Dd", "e")
BOOT = BootFacts(Generation.ONE, "grub", "uuid", "", "ext4", 1 << 30, 1 << 20)


class Disk:
    """A file system in memory. Every change of an entry changes its folder's time, as on a real one."""

    def __init__(self, *, windows: bool, seed: int) -> None:
        self.windows = windows
        self.content: dict[bytes, bytes] = {}
        self.root = new_root()
        self._random = random.Random(seed)
        self._clock = 1
        self._group = 0
        self.root.unix = self._unix(stat.S_IFDIR | 0o755)

    def copy(self, seed: int) -> Disk:
        other = copy.deepcopy(self)
        other._random = random.Random(seed)
        return other

    def edit(self, count: int) -> None:
        """Make so many random edits."""
        for _ in range(count):
            self._random.choice(self._edits())()

    def _edits(self) -> list[Callable[[], None]]:
        return [
            *([self._add_file] * 3),
            *([self._add_folder] * 2),
            self._add_link,
            self._add_hard_link,
            *([self._remove] * 2),
            self._change_file,
            self._change_mode,
            self._change_folder,
            self._move,
            self._turn,
            self._make_anew,
            self._respell,
        ]

    # --- edits

    def _add_file(self) -> None:
        self._put(self._folder(), self._name(), self._file())

    def _add_folder(self) -> None:
        folder, name = self._folder(), self._name()
        self._put(folder, name, self._new_folder())

    def _add_link(self) -> None:
        self._put(self._folder(), self._name(), self._link())

    def _add_hard_link(self) -> None:
        files = [node for _, node in walk(self.root) if not node.is_directory and node.reparse is None]
        if not files:
            return
        node = self._random.choice(files)
        folder, name = self._folder(), self._name()
        if self._twin(folder, name) is not None:
            return
        if not node.link_group:
            self._group += 1
            node.link_group = self._group
        twin = copy.copy(node)
        self._put(folder, name, twin)

    def _remove(self) -> None:
        place = self._any()
        if place is not None:
            folder, node = place
            del self._kids(folder)[node.name]
            self._touch(folder)

    def _change_file(self) -> None:
        place = self._any()
        if place is not None and not place[1].is_directory and place[1].reparse is None:
            data = self._keep(self._random.randbytes(self._random.randrange(0, 40)))
            when = self._now()
            for node in self._names_of(place[1]):
                node.data, node.write_time = data, when

    def _change_mode(self) -> None:
        place = self._any()
        if place is not None:
            mode = self._random.choice((0o600, 0o755, 0o4711))
            for node in self._names_of(place[1]):
                if self.windows:
                    node.security = b"sd" + mode.to_bytes(2, "big")
                elif node.unix is not None:
                    node.unix = UnixData(7, 8, stat.S_IFMT(node.unix.mode) | mode)

    def _change_folder(self) -> None:
        folder = self._folder()
        folder.xattrs = (("user.x", self._random.randbytes(2)),)

    def _move(self) -> None:
        place, target, name = self._any(), self._folder(), self._name()
        if place is None or self._twin(target, name) is not None:
            return
        folder, node = place
        if any(below is target for _, below in walk(node)) or node is target:
            return
        del self._kids(folder)[node.name]
        self._touch(folder)
        node.name = name
        self._put(target, name, node)

    def _turn(self) -> None:
        """Put something of another kind under a name that is there."""
        place = self._any()
        if place is None:
            return
        folder, node = place
        kinds = [self._file, self._link] if node.is_directory else [self._new_folder]
        del self._kids(folder)[node.name]
        self._put(folder, node.name, self._random.choice(kinds)())

    def _make_anew(self) -> None:
        """Remove a folder and make it anew, with other content."""
        place = self._any()
        if place is not None and place[1].is_directory:
            folder, node = place
            del self._kids(folder)[node.name]
            fresh = self._new_folder()
            self._put(folder, node.name, fresh)
            for _ in range(self._random.randrange(3)):
                self._put(fresh, self._name(), self._file())

    def _respell(self) -> None:
        """Remove something and make something in another spelling."""
        place = self._any()
        if place is not None:
            folder, node = place
            del self._kids(folder)[node.name]
            self._put(folder, node.name.swapcase(), self._new_folder() if node.is_directory else self._file())

    # --- helpers

    def _any(self) -> tuple[Node, Node] | None:
        found = [(folder, kid) for folder in self._folders() for kid in self._kids(folder).values()]
        return self._random.choice(found) if found else None

    def _folders(self) -> list[Node]:
        return [self.root, *(node for _, node in walk(self.root) if node.is_directory)]

    def _folder(self) -> Node:
        return self._random.choice(self._folders())

    def _name(self) -> str:
        name = self._random.choice(NAMES)
        return name.swapcase() if self._random.random() < 0.2 else name

    def _kids(self, folder: Node) -> dict[str, Node]:
        assert folder.children is not None
        return folder.children

    def _twin(self, folder: Node, name: str) -> str | None:
        """The name that an entry of that name has in a folder, if there is one."""
        fold = folding(case_sensitive=not self.windows)
        return next((known for known in self._kids(folder) if fold(known) == fold(name)), None)

    def _put(self, folder: Node, name: str, node: Node) -> None:
        twin = self._twin(folder, name)
        if twin is not None:
            name = twin  # an existing entry keeps its spelling
            del self._kids(folder)[twin]
        node.name = name
        self._kids(folder)[name] = node
        self._touch(folder)

    def _touch(self, folder: Node) -> None:
        folder.write_time = self._now()

    def _now(self) -> int:
        self._clock += 1
        return self._clock

    def _names_of(self, node: Node) -> list[Node]:
        if not node.link_group:
            return [node]
        return [other for _, other in walk(self.root) if other.link_group == node.link_group]

    def _keep(self, data: bytes) -> bytes:
        digest = sha1(data).digest() if data else bytes(20)
        self.content[digest] = data
        return digest

    def _unix(self, mode: int) -> UnixData | None:
        return None if self.windows else UnixData(0, 0, mode)

    def _file(self) -> Node:
        data = self._keep(self._random.randbytes(self._random.randrange(0, 40)))
        return Node("", NORMAL, write_time=self._now(), data=data, unix=self._unix(stat.S_IFREG | 0o644))

    def _new_folder(self) -> Node:
        now = self._now()
        unix = self._unix(stat.S_IFDIR | 0o755)
        return Node("", DIRECTORY, creation_time=now, write_time=now, unix=unix, children={})

    def _link(self) -> Node:
        tag, flags, raw = symlink_reparse(self._random.choice(("a", "../b", "/c")))
        point = Reparse(tag, flags, self._keep(raw))
        return Node("", REPARSE_POINT, write_time=self._now(), reparse=point, unix=self._unix(0o120777))


def captured(name: str, before: Node, after: Node, *, windows: bool) -> LayerTree:
    """Return the changes between two states as a capture would write them down."""
    found = diff(before, after, case_sensitive=not windows)
    replaced = [path for path in found.changed_paths if _is_made_anew(path, before, after)]
    inside = {p for p, _ in walk(after) if any(p.startswith(f"{folder}/") for folder in replaced)}
    changed = {*found.changed_paths, *inside}
    folders = sorted(p for p in changed if p == "/" or _is_folder(after, p))
    gone = [p for p in found.deleted if not any(p.startswith(f"{folder}/") for folder in replaced)]
    return LayerTree(name, prune(after, changed), tuple(gone), tuple(folders), tuple(sorted(replaced)))


def _is_made_anew(path: str, before: Node, after: Node) -> bool:
    """Whether a folder is another one than before; its time of creation tells."""
    one, other = find(before, path), find(after, path)
    if path == "/" or one is None or other is None or not (holds_content(one) and holds_content(other)):
        return False
    return one.creation_time != other.creation_time


def _is_folder(root: Node, path: str) -> bool:
    node = find(root, path)
    return node is not None and holds_content(node)


def write_layer(
    out: Path,
    tree: LayerTree,
    content: dict[bytes, bytes],
    *,
    kind: LayerKind = LayerKind.APP,
    family: GuestFamily = GuestFamily.LINUX,
    base: tuple[str, ...] = (),
    bases: dict[str, bytes | None] | None = None,
    compression: Compression = Compression.NONE,
    generation: Generation = Generation.ONE,
) -> Path:
    """Write a layer file of a tree."""
    with LayerWriter(out, compression) as writer:
        needed = {n.data for _, n in walk(tree.root)}
        needed |= {n.reparse.data for _, n in walk(tree.root) if n.reparse is not None}
        for digest in sorted(needed):
            writer.wim.add_bytes(content[digest] if any(digest) else b"")
        manifest = LayerManifest(
            name=tree.name,
            layer_version="1",
            kind=kind,
            family=family,
            tree="",
            base=base,
            deleted=tree.deleted,
            changed_directories=tree.changed_directories,
            replaced=tree.replaced,
            boot=BOOT if kind is LayerKind.OS else None,
        )
        writer.finish(manifest, tree.root, bases or {})
    return out


def identity(path: Path) -> str:
    with LayerFile(path) as layer:
        return layer.manifest.identity
