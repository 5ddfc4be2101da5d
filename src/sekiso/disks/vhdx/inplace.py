"""Turn a raw disk file into a dynamic VHDX where it lies: no content is copied.

The blocks that hold nothing are taken out of the file, room for the structures is inserted in front, and the
block table says where each block has come to lie.
"""

from __future__ import annotations

import os
from pathlib import Path

from sekiso.disks.identity import DiskIds
from sekiso.disks.shifting import collapse_range, insert_range
from sekiso.disks.vhdx.writer import DEFAULT_BLOCK_BYTES, VhdxWriter


def raw_becomes_vhdx(path: Path, *, ids: DiskIds, block_bytes: int = DEFAULT_BLOCK_BYTES) -> bool:
    """Turn a raw disk file into a dynamic VHDX of the same content.

    Args:
        path: the raw file, whole sectors long; nobody else has it open.
        ids: identifiers of the VHDX.
        block_bytes: its payload block size.

    Returns:
        False if the file system cannot move parts of a file; the file is unchanged then.

    Raises:
        OSError: reading or writing failed; the file is unusable then.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size_bytes = os.fstat(fd).st_size
        writer = VhdxWriter(fd, size_bytes, fixed=False, ids=ids, block_bytes=block_bytes)
        if not insert_range(fd, 0, writer.structures_bytes):
            return False
        used = _used_blocks(fd, writer.structures_bytes, block_bytes)
        _drop_holes(fd, writer.structures_bytes, used, block_bytes)
        for block in used:
            writer.adopt(block)
        writer.finish()
        os.fsync(fd)
        return True
    finally:
        os.close(fd)


def _used_blocks(fd: int, start: int, block_bytes: int) -> list[int]:
    """Return the numbers of the blocks that hold data, ascending."""
    end = os.fstat(fd).st_size
    used: list[int] = []
    at = start
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole up to the end
            break
        hole = os.lseek(fd, at, os.SEEK_HOLE)
        first, last = (at - start) // block_bytes, (hole - 1 - start) // block_bytes
        used.extend(range(max(first, used[-1] + 1 if used else 0), last + 1))
        at = hole
    return used


def _drop_holes(fd: int, start: int, used: list[int], block_bytes: int) -> None:
    """Take the unused blocks out, from the end of the file on, so that earlier offsets stay true."""
    os.ftruncate(fd, start + (used[-1] + 1 if used else 0) * block_bytes)
    for after, before in reversed(list(zip(used, [-1, *used], strict=False))):
        missing = after - before - 1
        if missing and not collapse_range(fd, start + (before + 1) * block_bytes, missing * block_bytes):
            raise OSError(f"{missing} unused blocks could be inserted but not taken out")
