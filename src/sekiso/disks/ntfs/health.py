"""Whether a volume was shut down cleanly."""

from __future__ import annotations

import struct

from sekiso.disks.ntfs import scan
from sekiso.disks.ntfs.content import Stream
from sekiso.disks.ntfs.inode import FileTable
from sekiso.disks.ntfs.paths import PathIndex
from sekiso.disks.ntfs.records import read_extents
from sekiso.errors import DirtyVolumeError

VOLUME_RECORD = 3
_LOG_RECORD = 2
_DIRTY = 0x1
_RESTART_CLEAN = 0x2
_NO_CLIENT = 0xFFFF
_REMEDY_SHUTDOWN = (
    "Start the machine, shut it down completely (in Windows: shutdown /s /f /t 0; fast startup off: "
    "powercfg /h off), and try again."
)
_REMEDY_CHECK = (
    "Start the machine so that Windows checks the volume (chkdsk /f), shut it down, and try again."
)


def require_clean(table: FileTable, paths: PathIndex) -> None:
    """Refuse a volume that was not shut down cleanly.

    Raises:
        DirtyVolumeError: it is marked dirty, hibernated, or its journal has open work.
        DamagedInputError: the volume is damaged.
    """
    name = table.access.name
    if volume_information(table)[2] & _DIRTY:
        raise DirtyVolumeError(path=name, reason="The volume is marked as dirty.", remedy=_REMEDY_CHECK)
    if _is_hibernated(table, paths):
        reason = "Windows is hibernated on it, or was shut down with fast startup."
        raise DirtyVolumeError(path=name, reason=reason, remedy=_REMEDY_SHUTDOWN)
    if not _journal_is_clean(table):
        raise DirtyVolumeError(
            path=name,
            reason="Its journal holds changes that have not reached the files yet.",
            remedy=_REMEDY_SHUTDOWN,
        )


def volume_information(table: FileTable) -> tuple[int, int, int]:
    """Return major version, minor version and flags of the volume.

    Raises:
        DamagedInputError: the volume has no such information.

    Source: Linux-NTFS documentation, "$VOLUME_INFORMATION".
    """
    value = _resident(table, VOLUME_RECORD, scan.VOLUME_INFORMATION)
    if len(value) < 12:
        raise table.access.damaged(table.offset_of(VOLUME_RECORD), "The volume information is missing.")
    return struct.unpack_from("<BBH", value, 8)


def volume_label(table: FileTable) -> str:
    """Return the label of the volume, empty if it has none."""
    return _resident(table, VOLUME_RECORD, scan.VOLUME_NAME).decode("utf-16-le", "replace")


def _resident(table: FileTable, number: int, kind: int) -> bytes:
    row = table.records.row_of(number)
    if row < 0:
        raise table.access.damaged(table.offset_of(number), f"The system file record {number} is missing.")
    attributes = table.attributes
    for index in range(int(attributes.first[row]), int(attributes.first[row + 1])):
        if int(attributes.kind[index]) == kind and not attributes.nonresident[index]:
            at = int(attributes.offset[index])
            record = table.records.rows[row].tobytes()
            size, value = struct.unpack_from("<IH", record, at + 16)
            return record[at + value : at + value + size]
    return b""


def _is_hibernated(table: FileTable, paths: PathIndex) -> bool:
    """Look for an active hibernation file.

    Source: libntfs-3g's rule: its first page begins with `hibr` (or `HIBR`).
    """
    entry = paths.lookup("/hiberfil.sys")
    stream = table.load(entry.owner).streams.get("") if entry is not None else None
    if stream is None or stream.size_bytes < 4:
        return False
    return _head(table, stream, 4).lower() == b"hibr"


def _head(table: FileTable, stream: Stream, length: int) -> bytes:
    if stream.value is not None:
        return stream.value[:length]
    return read_extents(table.access, stream.extents, 0, min(length, stream.size_bytes))


def _journal_is_clean(table: FileTable) -> bool:
    """Read the two restart pages of $LogFile; the newer one decides.

    Source: Linux-NTFS documentation, "$LogFile". Journals of version 2 (Windows 8 and later) are converted
    to version 1.1 when a volume is taken off cleanly, so there only the clean mark counts.
    """
    stream = table.load(_LOG_RECORD).streams.get("")
    if stream is None or stream.size_bytes < 512:
        return True
    pages = [page for at in (0, *_page_places(stream)) if (page := _restart_page(table, stream, at))]
    if pages:
        _, clients, flags, major = max(pages)
        return bool(flags & _RESTART_CLEAN) or (clients == _NO_CLIENT and major < 2)
    first = read_extents(table.access, stream.extents, 0, 4) if stream.value is None else stream.value[:4]
    return first in (b"\xff\xff\xff\xff", bytes(4))


def _page_places(stream: Stream) -> list[int]:
    return [at for at in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536) if at + 512 <= stream.size_bytes]


def _restart_page(table: FileTable, stream: Stream, at: int) -> tuple[int, int, int, int] | None:
    """Return sequence number, first client, flags and major version of a restart page, None if it is none."""
    if stream.value is not None:
        return None
    page = read_extents(table.access, stream.extents, at, 512)
    if page[:4] not in (b"RSTR", b"CHKD"):
        return None
    area, _, major = struct.unpack_from("<HHH", page, 24)
    if area + 16 > 510:
        return None
    lsn, _, _, clients, flags = struct.unpack_from("<QHHHH", page, area)
    return lsn, clients, flags, major
