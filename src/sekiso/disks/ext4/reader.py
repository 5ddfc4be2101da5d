"""Reading an ext4 (ext3, ext2) file system as a tree, without mounting it."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence

from sekiso.disks.blocks import BlockReader, ByteRange
from sekiso.disks.ext4.files import Files, is_folder
from sekiso.disks.ext4.inodes import Inode
from sekiso.disks.ext4.journal import replayed
from sekiso.disks.ext4.layout import ROOT_INODE, S_IFLNK, S_IFREG
from sekiso.disks.ext4.selection import select
from sekiso.disks.ext4.superblock import check_clean, read_groups, read_superblock
from sekiso.disks.ext4.trees import TreeReader
from sekiso.disks.volume import VolumeFacts
from sekiso.errors import UnsupportedInputError
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.wim.blobs import BlobSink
from sekiso.wim.tree import Node

_MAX_LINKS = 40
LOST_AND_FOUND = "/lost+found"


class Ext4Volume:
    """An ext4 file system opened for reading; implements `disks.volume.Volume`.

    The folder `/lost+found`, which every mke2fs makes, is no content of a layer and is always left out.

    Attributes:
        files: reading by inode, for the packages' own use.
        replayed: parts of the volume that differ from the disk because the journal was replayed.
    """

    def __init__(self, blocks: BlockReader) -> None:
        sb = read_superblock(blocks)
        self.replayed: Sequence[ByteRange] = ()
        if sb.needs_recovery:
            blocks = overlay = replayed(blocks, sb)
            size = sb.block_size
            self.replayed = tuple(ByteRange(n * size, size) for n in overlay.changed_blocks)
            sb = read_superblock(blocks)
        check_clean(sb, blocks)
        self.files = Files(blocks, sb, read_groups(blocks, sb))
        self._dropped: list[str] = []
        root = self.files.inode(ROOT_INODE)
        if not is_folder(root):
            self.files.fail(root, "The root of the file system is no folder.")

    @property
    def facts(self) -> VolumeFacts:
        """What the file system says of itself."""
        sb = self.files.sb
        size = sb.blocks_count * sb.block_size
        return VolumeFacts(
            filesystem="ext4",
            uuid=sb.uuid,
            label=sb.label,
            size_bytes=size,
            used_bytes=max(0, size - sb.free_blocks * sb.block_size),
            clean=not sb.needs_recovery,
        )

    @property
    def dropped(self) -> Sequence[str]:
        """What of the content read so far a WIM cannot keep, in words, one line per path and kind."""
        return tuple(self._dropped)

    def read_file(self, path: str, *, limit_bytes: int = 64 << 20) -> bytes | None:
        """Return the content of a regular file (symbolic links followed inside the volume), None if absent.

        Raises:
            UnsupportedInputError: it is longer than `limit_bytes`, or encrypted.
            DamagedInputError: the volume is damaged.
        """
        inode = self.resolve(path)
        if inode is None or inode.kind != S_IFREG:
            return None
        self.files.refuse_encrypted(inode, path)
        if inode.size > limit_bytes:
            raise UnsupportedInputError(
                path=f"{self.files.blocks.name}: {path}",
                reason=f"The file is longer than {limit_bytes} bytes, the most expected here.",
                remedy="Look at what this file holds; it is not what its name says.",
            )
        return b"".join(self.files.content(inode))

    def _look_into_lost_and_found(self, only: Collection[str] | None) -> None:
        folder = self._child(self.files.inode(ROOT_INODE), b"lost+found") if only is None else None
        if folder is not None and is_folder(folder) and self.files.entries(folder):
            self._dropped.append(f"{LOST_AND_FOUND}: files that a repair found are left out")

    def is_directory(self, path: str) -> bool:
        """Whether `path` (exact spelling, no links followed) is a folder; False if it is absent."""
        here = self.files.inode(ROOT_INODE)
        for name in path.encode("utf-8", "surrogateescape").split(b"/"):
            kid = self._child(here, name) if name else here
            if kid is None:
                return False
            here = kid
        return is_folder(here)

    def resolve(self, path: str) -> Inode | None:
        """Return the inode at a path, symbolic links followed inside the volume; None if there is none."""
        here = [self.files.inode(ROOT_INODE)]
        parts = [p for p in reversed(path.encode("utf-8", "surrogateescape").split(b"/")) if p]
        links = 0
        while parts:
            name = parts.pop()
            if name == b"..":
                here = here[:-1] or here
            elif name != b".":
                inode = self._child(here[-1], name)
                if inode is None:
                    return None
                if inode.kind == S_IFLNK:
                    links += 1
                    if links > _MAX_LINKS:
                        return None
                    target = self.files.link_target(inode)
                    here = here[:1] if target.startswith(b"/") else here
                    parts += [p for p in reversed(target.split(b"/")) if p]
                else:
                    here.append(inode)
        return here[-1]

    def _child(self, folder: Inode, name: bytes) -> Inode | None:
        if not is_folder(folder):
            return None
        self.files.refuse_encrypted(folder, "")
        for entry in self.files.entries(folder):
            if entry.name == name:
                return self.files.inode(entry.inode)
        return None

    def tree(
        self,
        sink: BlobSink,
        *,
        only: Collection[str] | None = None,
        exclude: Container[str] = (),
        progress: Progress = NO_PROGRESS,
    ) -> Node:
        """Read the tree and hand every stream to `sink`; see `Volume.tree`.

        Raises:
            DamagedInputError: the volume is damaged.
            UnsupportedInputError: it holds content that cannot be read (encrypted) or kept.
            CanceledError: the work was canceled.
        """
        self._look_into_lost_and_found(only)
        left_out = _LeftOut(exclude)
        return TreeReader(self.files, self._dropped).read(select(only), left_out, sink, progress)


class _LeftOut:
    """What the caller leaves out, and the folder that every mke2fs makes."""

    def __init__(self, exclude: Container[str]) -> None:
        self._exclude = exclude

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and (path == LOST_AND_FOUND or path in self._exclude)


def open_ext4(blocks: BlockReader) -> Ext4Volume:
    """Open an ext4, ext3 or ext2 file system for reading.

    A journal with changes that are not in place yet is replayed in memory; the disk is never written.

    Args:
        blocks: the bytes of the volume; must stay open as long as the volume is used.

    Raises:
        DamagedInputError: there is no such file system, or it is damaged.
        DirtyVolumeError: it was not shut down cleanly and its journal cannot be replayed.
        UnsupportedInputError: it uses features that are not known here.
    """
    return Ext4Volume(blocks)
