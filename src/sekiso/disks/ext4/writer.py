"""Filling a fresh ext4 file system in a raw file with a whole tree, without mounting it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sekiso.disks.blocks import FileBlocks
from sekiso.disks.ext4.allocate import FreeSpace
from sekiso.disks.ext4.bodies import Bodies, Body
from sekiso.disks.ext4.collector import paused_collector
from sekiso.disks.ext4.content import BlobProvider, Sources
from sekiso.disks.ext4.copying import Copier
from sekiso.disks.ext4.files import Files
from sekiso.disks.ext4.layout import ROOT_INODE, S_IFDIR, STATE_VALID, Incompat, RoCompat
from sekiso.disks.ext4.plan import LOST_AND_FOUND, Item, Planner
from sekiso.disks.ext4.superblock import Superblock, read_groups, read_superblock
from sekiso.disks.ext4.tables import write_tables
from sekiso.errors import UnsupportedInputError
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled
from sekiso.wim.tree import Node

_NEEDED_INCOMPAT = Incompat.FILETYPE | Incompat.EXTENTS
_ALLOWED_INCOMPAT = (
    _NEEDED_INCOMPAT | Incompat.BITS64 | Incompat.FLEX_BG | Incompat.META_BG | Incompat.CSUM_SEED
)
_ALLOWED_RO = (
    RoCompat.SPARSE_SUPER
    | RoCompat.LARGE_FILE
    | RoCompat.HUGE_FILE
    | RoCompat.DIR_NLINK
    | RoCompat.EXTRA_ISIZE
    | RoCompat.METADATA_CSUM
)
_MIN_INODE_SIZE = 256


@dataclass(frozen=True, slots=True)
class FillStats:
    """What was written.

    Attributes:
        inodes: inodes made (the root included).
        folders: folders among them.
        content_bytes: content of files that was copied.
        blocks: blocks taken.
        block_size: bytes per block.
        free_blocks: blocks left.
        free_inodes: inodes left.
    """

    inodes: int
    folders: int
    content_bytes: int
    blocks: int
    block_size: int
    free_blocks: int
    free_inodes: int


def fill_ext4(
    path: Path,
    *,
    offset_bytes: int,
    root: Node,
    blobs: BlobProvider,
    progress: Progress = NO_PROGRESS,
) -> FillStats:
    """Fill the fresh file system that `format_ext4` made.

    Everything is planned and checked before the first byte is written; the same tree and file system
    always give the same bytes. The folder `lost+found` of the file system stays.

    Args:
        path: the raw file.
        offset_bytes: where the file system starts in it.
        root: the tree; every node but the root needs Linux data.
        blobs: where its content lies.
        progress: counts bytes of content.

    Raises:
        UnsupportedInputError: the tree holds what ext4 cannot, or the file system is not a fresh one.
        NoSpaceError: the file system is too small.
        NotFoundError: content is missing.
        DamagedInputError: the file system or a source file is damaged.
        CanceledError: the work was canceled; the file system is unusable then.
    """
    with FileBlocks(path, offset=offset_bytes) as blocks, Sources() as sources:
        fill = _Fill(blocks, sources, blobs, progress)
        with paused_collector():
            fill.prepare(root)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return fill.write(fd, offset_bytes)
        finally:
            os.close(fd)


class _Fill:
    """One filling: what is known of the file system, and what is to be written."""

    def __init__(self, blocks: FileBlocks, sources: Sources, blobs: BlobProvider, progress: Progress) -> None:
        self._blocks = blocks
        self._sources = sources
        self._blobs = blobs
        self._progress = progress
        self._sb = read_superblock(blocks)
        self._groups = read_groups(blocks, self._sb)
        self._files = Files(blocks, self._sb, self._groups)
        self._free = FreeSpace(blocks, self._sb, self._groups)
        self._lost_and_found = self._check_fresh()
        self._bodies: list[Body] = []

    def _check_fresh(self) -> int:
        """Return the inode of `lost+found`, the only thing a fresh file system holds."""
        sb = self._sb
        usable = (
            sb.incompat & _NEEDED_INCOMPAT == _NEEDED_INCOMPAT
            and not sb.incompat & ~_ALLOWED_INCOMPAT
            and not sb.ro_compat & ~_ALLOWED_RO
            and sb.has_metadata_checksums
            and sb.inode_size >= _MIN_INODE_SIZE
            and sb.u16(0x3A) & STATE_VALID
        )
        if not usable:
            raise self._refuse("It has features with which Sekiso does not write.")
        entries = self._files.entries(self._files.inode(ROOT_INODE))
        first = sb.first_ordinary_inode
        fresh = [(e.name, e.inode) for e in entries] == [(LOST_AND_FOUND.encode(), first)]
        if not fresh or sb.u32(0x10) != sb.inodes_count - first:
            raise self._refuse("It is not a fresh file system.")
        return first

    def _refuse(self, reason: str) -> UnsupportedInputError:
        return UnsupportedInputError(
            path=self._blocks.name, reason=reason, remedy="Format it with Sekiso and fill it then."
        )

    def prepare(self, root: Node) -> None:
        """Plan every inode and every block.

        Raises:
            UnsupportedInputError: the tree holds what ext4 cannot, or more than there are inodes.
            NoSpaceError: there are not enough blocks.
        """
        first = self._sb.first_ordinary_inode + 1
        items = Planner(
            self._blocks.name, root, first_inode=first, lost_and_found_inode=self._lost_and_found
        ).plan()
        last = max(item.number for item in items)
        if last > self._sb.inodes_count:
            raise self._refuse(f"It has {self._sb.inodes_count} inodes, but {last} are needed.")
        bodies = Bodies(self._files, self._free, self._sources, self._blobs)
        self._bodies = self._lay_out(bodies, items)

    def _lay_out(self, bodies: Bodies, items: list[Item]) -> list[Body]:
        """Give folders their blocks first, together; then everything else in the order of the tree."""
        made: dict[int, Body] = {}
        for folders in (True, False):
            for item in items:
                if (item.kind == S_IFDIR) == folders:
                    check_canceled(self._progress)
                    made[item.number] = bodies.make(item)
        bodies.finish_folders()
        return list(made.values())

    def write(self, fd: int, base: int) -> FillStats:
        """Write content, then the tables that make it visible, the superblock last."""
        content = sum(body.content_bytes for body in self._bodies)
        self._progress.step("writing the content of the file system", total=content)
        copier = Copier(fd, base, self._sb.block_size, self._sources)
        done = 0
        for body in self._bodies:
            check_canceled(self._progress)
            for number, data in body.blocks:
                copier.write(number, data)
            if body.blob is not None:
                copier.copy(body.blob, body.extents)
                done += body.content_bytes
                self._progress.advance(done)
            for number, data in body.trailing_blocks:
                copier.write(number, data)
        copier.flush()
        records = {body.number: body.record for body in self._bodies}
        folders = np.array([b.number for b in self._bodies if b.is_folder], np.int64)
        sb = write_tables(fd, base, self._sb, self._groups, self._free, records, folders)
        return self._stats(sb, content, len(folders))

    def _stats(self, sb: Superblock, content: int, folders: int) -> FillStats:
        return FillStats(
            inodes=len(self._bodies),
            folders=folders,
            content_bytes=content,
            blocks=self._free.taken,
            block_size=sb.block_size,
            free_blocks=sb.free_blocks,
            free_inodes=sb.u32(0x10),
        )
