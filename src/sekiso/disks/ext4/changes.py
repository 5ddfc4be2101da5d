"""What differs between two states of one ext4 volume, in time that grows with the changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sekiso.disks.blocks import ByteRange
from sekiso.disks.ext4.extents import Run
from sekiso.disks.ext4.files import Files, is_folder, printable
from sekiso.disks.ext4.inodes import Inode
from sekiso.disks.ext4.layout import ROOT_INODE, S_IFLNK, S_IFREG
from sekiso.disks.ext4.reader import LOST_AND_FOUND, Ext4Volume
from sekiso.disks.ext4.suspects import Touched, changed_records, comparable, merge_ranges, owners_of
from sekiso.disks.volume import VolumeChanges
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled

_MAX_DEPTH = 1000


def changes_between(
    base: Ext4Volume,
    modified: Ext4Volume,
    touched: Sequence[ByteRange] | None = None,
    *,
    progress: Progress = NO_PROGRESS,
) -> VolumeChanges:
    """Find what differs between a volume and an earlier state of it.

    A path is changed if owner, mode, time of the last write, attributes, link target or content differ.
    Content is read and compared wherever the inode's record differs in any way (so an edit that keeps
    size and time is found, and a mere change of the inode's own time is not reported), and, if `touched`
    is given, wherever a block of the inode lies in it, whatever the time stamps say.

    Args:
        base: the earlier state.
        modified: the later state.
        touched: bytes of the volume that may differ, all others are known to be equal; None if unknown.
        progress: asked whether the work was canceled.

    Raises:
        DamagedInputError: a volume is damaged.
        UnsupportedInputError: it holds encrypted files.
        CanceledError: the work was canceled.
    """
    with_replays = None
    if touched is not None:
        with_replays = merge_ranges([*touched, *base.replayed, *modified.replayed])
    return _Comparison(base.files, modified.files, with_replays, progress).run()


class _Comparison:
    """One comparison: both volumes walked side by side."""

    def __init__(self, base: Files, modified: Files, touched: Touched | None, progress: Progress) -> None:
        self._base = base
        self._modified = modified
        self._progress = progress
        same_places = comparable(base, modified)
        self._touched = touched if same_places else None
        self._suspects: set[int] | None = None
        if same_places:
            self._suspects = changed_records(base, modified, touched)
            if touched is not None:
                self._suspects |= owners_of(modified, touched)
        self._changed: set[str] = set()
        self._deleted: list[str] = []
        self._replaced: list[str] = []
        self._names: tuple[dict[int, list[str]], dict[int, list[str]]] = ({}, {})
        self._seen: tuple[set[int], set[int]] = (set(), set())
        self._compared_bytes = 0

    def run(self) -> VolumeChanges:
        self._walk()
        self._spread_over_links()
        return VolumeChanges(
            changed=tuple(sorted(self._changed)),
            deleted=tuple(sorted(self._deleted)),
            replaced=tuple(sorted(self._replaced)),
            compared_bytes=self._compared_bytes,
        )

    def _walk(self) -> None:
        roots = self._base.inode(ROOT_INODE), self._modified.inode(ROOT_INODE)
        if self._is_suspect(*roots) and self._metadata_differs(*roots):
            self._changed.add("/")
        stack: list[tuple[str, Inode | None, Inode, int]] = [("", *roots, 0)]
        while stack:
            check_canceled(self._progress)
            path, old, new, depth = stack.pop()
            if depth > _MAX_DEPTH:
                self._modified.fail(new, "A folder is nested too deeply.")
            stack += self._folder(path, old, new, depth + 1)

    def _folder(
        self, path: str, old: Inode | None, new: Inode, depth: int
    ) -> Iterator[tuple[str, Inode | None, Inode, int]]:
        """Compare the entries of a folder; yields the folders in it that are still to be compared."""
        after = self._entries(self._modified, 1, new, path)
        if old is None:
            before: dict[bytes, int] = {}
        elif self._is_suspect(old, new):
            before = self._entries(self._base, 0, old, path)
        else:
            before = after
        for name in before.keys() - after.keys():
            self._deleted.append(_join(path, name))
        for name, number in after.items():
            if self._is_settled(before.get(name), number):
                continue
            here = _join(path, name)
            kid = self._modified.inode(number)
            earlier = self._earlier(before.get(name), kid)
            if is_folder(kid):
                yield here, self._compare_folder(here, earlier, kid), kid, depth
            else:
                self._compare_file(here, earlier, kid)

    def _is_settled(self, before: int | None, number: int) -> bool:
        """Whether a name stands for the same inode as before, which is no folder and has not changed.

        Its other names, if it has some, are then the same too: losing or gaining one changes the inode.
        """
        if self._suspects is None or before != number or number in self._suspects:
            return False
        return not self._modified.tables.is_folder(number)

    def _earlier(self, number: int | None, kid: Inode) -> Inode | None:
        """Return the inode that had the name before; the same one where nothing says it differs."""
        if number is None:
            return None
        if number == kid.number and self._suspects is not None and number not in self._suspects:
            return kid
        return self._base.inode(number)

    def _entries(self, files: Files, side: int, folder: Inode, path: str) -> dict[bytes, int]:
        if folder.number in self._seen[side]:
            files.fail(folder, "A folder is found twice.")
        self._seen[side].add(folder.number)
        files.refuse_encrypted(folder, printable(path))
        entries = {entry.name: entry.inode for entry in files.entries(folder)}
        if not path:
            entries.pop(LOST_AND_FOUND[1:].encode(), None)
        return entries

    def _compare_folder(self, path: str, old: Inode | None, new: Inode) -> Inode | None:
        """Note whether a folder changed; returns its earlier state, None if it is a new one."""
        if old is None or not is_folder(old):
            self._changed.add(path)
            return None
        if self._suspects is not None and not _is_same(old, new):
            self._changed.add(path)
            self._replaced.append(path)
            return None
        if self._is_suspect(old, new) and self._metadata_differs(old, new):
            self._changed.add(path)
        return old

    def _compare_file(self, path: str, old: Inode | None, new: Inode) -> None:
        for names, inode in zip(self._names, (old, new), strict=True):
            if inode is not None and inode.links > 1 and not is_folder(inode):
                names.setdefault(inode.number, []).append(path)
        if old is None or (self._is_suspect(old, new) and self._file_differs(old, new, path)):
            self._changed.add(path)

    def _is_suspect(self, old: Inode, new: Inode) -> bool:
        return self._suspects is None or old.number != new.number or new.number in self._suspects

    def _metadata_differs(self, old: Inode, new: Inode) -> bool:
        return _facts(old) != _facts(new) or self._base.xattrs(old, []) != self._modified.xattrs(new, [])

    def _file_differs(self, old: Inode, new: Inode, path: str) -> bool:
        if self._metadata_differs(old, new):
            return True
        if new.kind == S_IFLNK:
            return self._base.link_target(old) != self._modified.link_target(new)
        if new.kind != S_IFREG or new.size == 0:
            return False
        for files, inode in ((self._base, old), (self._modified, new)):
            files.refuse_encrypted(inode, printable(path))
        runs = self._base.runs(old), self._modified.runs(new)
        if self._touched is not None and runs[0] and runs[0] == runs[1]:
            return self._touched_parts_differ(self._touched, runs[1], new.size)
        return self._content_differs(old, new, runs)

    def _touched_parts_differ(self, touched: Touched, runs: list[Run], file_size: int) -> bool:
        """Compare just the touched blocks of a file that lies where it lay."""
        size = self._modified.sb.block_size
        for run in runs:
            length = min(run.length * size, file_size - run.logical * size)
            start = run.physical * size
            for first, end in touched.parts(start, start + length) if run.written else ():
                for offset in range(first, end, 1 << 20):
                    step = min(1 << 20, end - offset)
                    self._compared_bytes += step
                    one = self._base.blocks.read(offset, step)
                    if one != self._modified.blocks.read(offset, step):
                        return True
        return False

    def _content_differs(self, old: Inode, new: Inode, runs: tuple[list[Run], list[Run]]) -> bool:
        """Compare two files of the same length."""
        one = _Stream(self._base.content(old, runs[0]))
        two = _Stream(self._modified.content(new, runs[1]))
        for done in range(0, new.size, 1 << 20):
            check_canceled(self._progress)
            step = min(1 << 20, new.size - done)
            self._compared_bytes += step
            if one.take(step) != two.take(step):
                return True
        return False

    def _spread_over_links(self) -> None:
        """Report all names of an inode if one is reported, or if the names are shared otherwise than before.

        Names that are gone are no difference: the others stay as they were.
        """
        before = {path: frozenset(names) for names in self._names[0].values() for path in names}
        after = {path: frozenset(names) for names in self._names[1].values() for path in names}
        for path in before.keys() | after.keys():
            alone = frozenset([path])
            old, new = before.get(path, alone), after.get(path, alone)
            if old != new:
                self._changed |= old | new
        for names in self._names[1].values():
            if not self._changed.isdisjoint(names):
                self._changed.update(names)


class _Stream:
    """Content in pieces of the length asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def take(self, length: int) -> bytes:
        parts: list[bytes] = []
        while length > 0:
            if not self._rest:
                self._rest = next(self._pieces, b"")
                if not self._rest:
                    break
            part = self._rest[:length]
            self._rest = self._rest[len(part) :]
            parts.append(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_same(old: Inode, new: Inode) -> bool:
    """Whether two inodes are states of one: the number was not used anew."""
    return (old.number, old.generation, old.creation_time if old.extra_size >= 0x18 else 0) == (
        *(new.number, new.generation, new.creation_time if old.extra_size >= 0x18 else 0),
    )


def _facts(inode: Inode) -> tuple[int, ...]:
    """Return the facts about an inode that a layer keeps (but its times of creation and of access)."""
    size = 0 if is_folder(inode) else inode.size
    return (inode.mode, inode.uid, inode.gid, size, inode.write_time, inode.rdev)


def _join(path: str, name: bytes) -> str:
    return f"{path}/{name.decode('utf-8', 'surrogateescape')}"
