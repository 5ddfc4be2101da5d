"""Read the content of a VHDX or AVHDX file, its log replayed in memory, through its parents if it has any."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sekiso.disks.bitmap import SectorBits
from sekiso.disks.blocks import ByteRange
from sekiso.disks.mapped import DiskBlocks, Run, SourceFile, Where
from sekiso.disks.vhdx import bat as bat_module
from sekiso.disks.vhdx.bat import Bat
from sekiso.disks.vhdx.layout import (
    MAX_FILE_BYTES,
    SIGNATURE,
    Header,
    Metadata,
    ReadAt,
    Region,
    read_headers,
    read_metadata,
    read_regions,
)
from sekiso.disks.vhdx.log import Overlay, Replay, read_log
from sekiso.errors import DamagedInputError, UnsupportedInputError

_CACHED_BITMAPS = 16
#: Creators whose files are written by QEMU, which announces log entries before it writes the first.
_LAZY_CREATORS = ("QEMU", "Sekiso")


@dataclass(frozen=True, slots=True)
class VhdxFacts:
    """What the structures of a VHDX file say, its log replayed.

    Attributes:
        header: the header in force.
        header_index: which copy it is, 0 or 1.
        metadata: the disk's parameters.
        bat_region: where the block allocation table lies.
        metadata_region: where the metadata lies.
        replay: what the log still has to write; None for a file that was closed cleanly.
        file_bytes: length of the file after the replay.
        notes: things worth telling.
    """

    header: Header
    header_index: int
    metadata: Metadata
    bat_region: Region
    metadata_region: Region
    replay: Replay | None
    file_bytes: int
    notes: tuple[str, ...]


def read_facts(file: SourceFile) -> tuple[VhdxFacts, ReadAt]:
    """Return what the structures say, and a function that reads the replayed file.

    Raises:
        DamagedInputError: a structure is broken.
        UnsupportedInputError: the file uses what is not known here.
    """
    path = str(file.path)
    if file.read(0, 8) != SIGNATURE:
        raise DamagedInputError(path=path, offset=0, reason="The file does not begin as a VHDX file does.")
    if file.size_bytes > MAX_FILE_BYTES:
        raise UnsupportedInputError(path=path, reason="The file is longer than any VHDX can be.", remedy="")
    header, index, notes = read_headers(file.read, path)
    creator = file.read(8, 512).decode("utf-16-le", "replace")
    replay = read_log(
        file.read, path, header, file.size_bytes, unused_log_is_empty=creator.startswith(_LAZY_CREATORS)
    )
    read: ReadAt = file.read
    file_bytes = file.size_bytes
    if replay:
        overlay = Overlay(file.read, replay, file.size_bytes)
        read, file_bytes = overlay.read, overlay.size_bytes
        notes += (
            f"The file was not closed cleanly; {replay.entries} log entries were replayed for reading.",
        )
    bat_region, metadata_region, more = read_regions(read, path, file_bytes)
    metadata = read_metadata(read, path, metadata_region)
    notes += more + metadata.notes
    facts = VhdxFacts(
        header, index, metadata, bat_region, metadata_region, replay, file_bytes, notes
    )  # fmt: skip
    return facts, read


class VhdxBlocks(DiskBlocks):
    """The content of a VHDX file."""

    def __init__(self, path: Path) -> None:
        """Open and check the file; a parent is attached by `open_disk`.

        Raises:
            DamagedInputError: a structure is broken.
            UnsupportedInputError: the file uses what is not known here.
        """
        self.path = path
        self._file = SourceFile(path)
        try:
            self.facts, self._read = read_facts(self._file)
            meta = self.facts.metadata
            self._bat = Bat(self._read, str(path), self.facts.bat_region, meta)
            log = Region(self.facts.header.log_offset, self.facts.header.log_bytes)
            taken = [self.facts.bat_region, self.facts.metadata_region, log]
            self.held_blocks = self._bat.check(self.facts.file_bytes, taken)
        except BaseException:
            self._file.close()
            raise
        self._block_bytes = meta.block_bytes
        self._bitmaps: OrderedDict[int, SectorBits] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """Virtual size."""
        return self.facts.metadata.size_bytes

    @property
    def logical_sector_bytes(self) -> int:
        """Sector size that the guest sees."""
        return self.facts.metadata.logical_sector_bytes

    @property
    def blocks(self) -> int:
        """Payload blocks of the disk."""
        return self._bat.shape.blocks

    def locate(self, offset: int, limit: int) -> Run:
        """Return the run that begins at `offset`; neighbouring blocks are joined."""
        run = self._locate_in_block(offset, limit)
        while run.length < limit:
            at = offset + run.length
            if at % self._block_bytes:
                break
            more = self._locate_in_block(at, limit - run.length)
            follows = run.where is not Where.FILE or more.offset == run.offset + run.length
            if more.where is not run.where or not follows:
                break
            run = Run(run.where, run.offset, run.length + more.length)
        return run

    def _locate_in_block(self, offset: int, limit: int) -> Run:
        block, inside = divmod(offset, self._block_bytes)
        length = min(limit, self._block_bytes - inside)
        state, at = self._bat.payload(block)
        if state == bat_module.FULL:
            return Run(Where.FILE, at + inside, length)
        if state == bat_module.PARTIAL:
            return self._locate_by_bitmap(block, at, inside, length)
        if state == bat_module.NOT_PRESENT and self.facts.metadata.has_parent:
            return Run(Where.PARENT, 0, length)
        return Run(Where.ZERO, 0, length)

    def _locate_by_bitmap(self, block: int, at: int, inside: int, length: int) -> Run:
        """Sectors with their bit set lie in this file, the others in the parent.

        Source: [MS-VHDX] 2.4 (sector bitmap; the lowest bit of a byte is the first sector).
        """
        sector_bytes = self.logical_sector_bytes
        here, end = self._bitmap(block).run(inside // sector_bytes)
        length = min(length, end * sector_bytes - inside)
        return Run(Where.FILE, at + inside, length) if here else Run(Where.PARENT, 0, length)

    def _bitmap(self, block: int) -> SectorBits:
        """Return the bits of one block, from the bitmap of its whole chunk."""
        found = self._bitmaps.get(block)
        if found is None:
            base = self._bat.bitmap_offset(block)
            if base is None:
                raise DamagedInputError(
                    path=str(self.path),
                    offset=self.facts.bat_region.offset,
                    reason=f"Block {block} is present in part but its sector bitmap is missing.",
                )
            size = self._block_bytes // self.logical_sector_bytes // 8
            raw = self._read(base + (block % self._bat.shape.ratio) * size, size)
            found = self._bitmaps[block] = SectorBits(raw, bitorder="little")
            if len(self._bitmaps) > _CACHED_BITMAPS:
                self._bitmaps.popitem(last=False)
        return found

    def _fetch(self, offset: int, length: int) -> bytes:
        return self._read(offset, length)

    def top_ranges(self) -> Iterator[ByteRange]:
        """Yield what this file holds: whole blocks, and of blocks held in part the sectors present."""
        for blocks in self._bat.present_blocks():
            if not len(blocks):
                continue
            if self.facts.metadata.has_parent:
                for block in blocks.tolist():
                    yield from self._block_ranges(int(block))
                continue
            cuts = np.flatnonzero(np.diff(blocks) != 1) + 1
            for part in np.split(blocks, cuts):
                start = int(part[0]) * self._block_bytes
                end = min((int(part[-1]) + 1) * self._block_bytes, self.size_bytes)
                yield ByteRange(start, end - start)

    def _block_ranges(self, block: int) -> Iterator[ByteRange]:
        at = block * self._block_bytes
        length = min(self._block_bytes, self.size_bytes - at)
        if self._bat.payload(block)[0] == bat_module.FULL:
            yield ByteRange(at, length)
            return
        sector_bytes = self.logical_sector_bytes
        for start, end in self._bitmap(block).held(length // sector_bytes):
            yield ByteRange(at + start * sector_bytes, (end - start) * sector_bytes)

    def close(self) -> None:
        """Close the file and its parents."""
        self._file.close()
        if self.parent is not None:
            self.parent.close()
