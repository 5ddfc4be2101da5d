"""What differs between two trees."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from sekiso.wim.names import folding
from sekiso.wim.tree import DIRECTORY, NORMAL, REPARSE_POINT, Node, walk

_Fold = Callable[[str], str]
_NAME_SURROGATE = 0x20000000
_NOT_FIXED = 0x10000  # how a reparse point was captured, not what it is
# They follow from other fields, or say nothing.
_DERIVED_ATTRIBUTES = DIRECTORY | REPARSE_POINT | NORMAL


class Reason(enum.StrEnum):
    """What of an entry differs."""

    NAME = "name"
    CONTENT = "content"
    STREAMS = "streams"
    REPARSE = "reparse"
    SECURITY = "security"
    ATTRIBUTES = "attributes"
    TIMES = "times"
    FOLDER_TIMES = "folder-times"
    ACCESS_TIME = "access-time"
    LINKS = "links"
    SHORT_NAME = "short-name"
    UNIX = "unix"
    XATTRS = "xattrs"
    OBJECT_ID = "object-id"
    EXTRA = "extra"


#: Reading a file changes its access time, so it is no change unless asked for.
IGNORE_BY_DEFAULT = frozenset({Reason.ACCESS_TIME})


@dataclass(frozen=True, slots=True)
class Change:
    """An entry that both trees have, but not alike.

    Attributes:
        path: its path in the second tree; `/` for the root.
        reasons: what differs, in the order of `Reason`.
    """

    path: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class TreeDiff:
    """The difference of two trees. All sorted by path.

    Attributes:
        added: paths that only the second tree has, content of new folders included.
        changed: entries that both have, with the reasons.
        deleted: paths that only the first tree has; of a folder that is gone only its own path.
        replaced: paths that are a folder in one tree and no folder in the other; what a new folder
            holds is in `added`, what an old one held is not listed.
    """

    added: tuple[str, ...]
    changed: tuple[Change, ...]
    deleted: tuple[str, ...]
    replaced: tuple[str, ...]

    @property
    def changed_paths(self) -> tuple[str, ...]:
        """Paths of the second tree that are new or different: what a layer must hold."""
        return tuple(sorted({*self.added, *self.replaced, *(change.path for change in self.changed)}))

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.deleted or self.replaced)


def holds_content(node: Node) -> bool:
    """Whether an entry is a folder with content of its own: junctions and links to folders are not.

    Source: [MS-FSCC] 2.1.2.1, bit N of a reparse tag: it stands for another named entity.
    """
    if node.children is None:
        return False
    return node.reparse is None or not node.reparse.tag & _NAME_SURROGATE


def diff(
    base: Node,
    other: Node,
    *,
    case_sensitive: bool,
    ignore: Collection[Reason] = IGNORE_BY_DEFAULT,
) -> TreeDiff:
    """Compare two trees.

    An entry is also changed when the set of its hard links is, so every name of a changed inode is found.

    Args:
        base: the first tree.
        other: the second tree.
        case_sensitive: False matches names as NTFS does; exact spelling comes first.
        ignore: what does not make an entry different.
    """
    return _Comparison(base, other, case_sensitive=case_sensitive, ignore=frozenset(ignore)).result()


class _Comparison:
    def __init__(self, base: Node, other: Node, *, case_sensitive: bool, ignore: frozenset[Reason]) -> None:
        self.base = base
        self.other = other
        self.fold = folding(case_sensitive=case_sensitive)
        self.wanted = [reason for reason in Reason if reason not in ignore]
        self.base_links = _link_sets(base, self.fold)
        self.other_links = _link_sets(other, self.fold)
        self.added: list[str] = []
        self.changed: list[Change] = []
        self.deleted: list[str] = []
        self.replaced: list[str] = []

    def result(self) -> TreeDiff:
        self.compare("/", self.base, self.other)
        todo = [("", "", self.base, self.other)]
        while todo:
            old_prefix, prefix, old_folder, folder = todo.pop()
            for old, new in match(old_folder, folder, self.fold):
                if new is None:
                    self.deleted.append(f"{old_prefix}/{old.name}" if old else "")
                    continue
                path = f"{prefix}/{new.name}"
                if old is None:
                    self.add(path, new)
                elif holds_content(old) != holds_content(new):
                    self.replaced.append(path)
                    self.added += _paths_below(path, new)
                else:
                    self.compare(path, old, new)
                    if old.children is not None and new.children is not None:
                        todo.append((f"{old_prefix}/{old.name}", path, old, new))
        return TreeDiff(
            tuple(sorted(self.added)),
            tuple(sorted(self.changed, key=lambda change: change.path)),
            tuple(sorted(self.deleted)),
            tuple(sorted(self.replaced)),
        )

    def add(self, path: str, node: Node) -> None:
        self.added.append(path)
        self.added += _paths_below(path, node)

    def compare(self, path: str, old: Node, new: Node) -> None:
        if old is new and not (self.base_links or self.other_links):
            return
        found = set(_differences(old, new))
        key = self.fold(path)
        if self.base_links.get(key) != self.other_links.get(key):
            found.add(Reason.LINKS)
        reasons = tuple(reason for reason in self.wanted if reason in found)
        if reasons:
            self.changed.append(Change(path, reasons))


def match(
    old_folder: Node, folder: Node, fold_name: _Fold
) -> Iterator[tuple[Node, Node] | tuple[Node, None] | tuple[None, Node]]:
    """Pair the entries of two folders by name: exact spelling first, then as folded."""
    old = dict(old_folder.children or {})
    rest: list[Node] = []
    for name, node in (folder.children or {}).items():
        twin = old.pop(name, None)
        if twin is None:
            rest.append(node)
        else:
            yield twin, node
    by_key: dict[str, list[Node]] = {}
    if rest:
        for name in sorted(old, reverse=True):
            by_key.setdefault(fold_name(name), []).append(old[name])
    for node in sorted(rest, key=lambda node: node.name):
        twins = by_key.get(fold_name(node.name))
        if twins:
            twin = twins.pop()
            del old[twin.name]
            yield twin, node
        else:
            yield None, node
    for node in old.values():
        yield node, None


def _differences(old: Node, new: Node) -> Iterator[Reason]:
    if old.name != new.name:
        yield Reason.NAME
    if old.data != new.data:
        yield Reason.CONTENT
    if old.named_streams != new.named_streams:
        yield Reason.STREAMS
    if _reparse_key(old) != _reparse_key(new):
        yield Reason.REPARSE
    if old.security != new.security:
        yield Reason.SECURITY
    if (old.attributes ^ new.attributes) & ~_DERIVED_ATTRIBUTES:
        yield Reason.ATTRIBUTES
    if (old.creation_time, old.write_time) != (new.creation_time, new.write_time):
        yield Reason.TIMES if new.children is None else Reason.FOLDER_TIMES
    if old.access_time != new.access_time:
        yield Reason.ACCESS_TIME
    if old.short_name != new.short_name:
        yield Reason.SHORT_NAME
    if old.unix != new.unix:
        yield Reason.UNIX
    if old.xattrs != new.xattrs:
        yield Reason.XATTRS
    if old.object_id != new.object_id:
        yield Reason.OBJECT_ID
    if old.extra != new.extra:
        yield Reason.EXTRA


def _reparse_key(node: Node) -> tuple[int, int, bytes] | None:
    point = node.reparse
    return None if point is None else (point.tag, point.flags & ~_NOT_FIXED, point.data)


def _paths_below(path: str, node: Node) -> list[str]:
    return [path + below for below, _ in walk(node)] if node.children else []


def _link_sets(root: Node, fold_path: _Fold) -> dict[str, frozenset[str]]:
    """Return for each name of a file with several names the set of all of them."""
    groups: dict[tuple[int, bytes], list[str]] = {}  # with the data, as WIM tells groups apart
    for path, node in walk(root):
        if node.link_group and node.children is None and node.reparse is None:
            groups.setdefault((node.link_group, node.data), []).append(fold_path(path))
    sets: dict[str, frozenset[str]] = {}
    for paths in groups.values():
        if len(paths) > 1:
            sets.update(dict.fromkeys(paths, frozenset(paths)))
    return sets
