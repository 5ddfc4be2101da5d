"""An NTFS volume opened for reading."""

from __future__ import annotations

import struct
from collections.abc import Collection, Container, Sequence
from functools import cached_property

import numpy as np

from sekiso.disks.blocks import BlockReader
from sekiso.disks.ntfs import health
from sekiso.disks.ntfs.content import Stream, read_all, read_chunks
from sekiso.disks.ntfs.geometry import VolumeBytes
from sekiso.disks.ntfs.inode import FileTable, Inode
from sekiso.disks.ntfs.objectids import OBJECT_ID_BYTES, read_births
from sekiso.disks.ntfs.paths import ROOT_RECORD, PathIndex
from sekiso.disks.ntfs.security import SECURE_RECORD, SecurityStore, trim_descriptor
from sekiso.disks.ntfs.tree import TreeReader
from sekiso.disks.volume import VolumeFacts
from sekiso.errors import UnsupportedInputError
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.wim.blobs import BlobSink
from sekiso.wim.tree import (
    ENCRYPTED,
    REPARSE_POINT,
    REPARSE_TAG_MOUNT_POINT,
    REPARSE_TAG_SYMLINK,
    Node,
)

REPARSE_TAG_WOF = 0x80000017
REPARSE_TAG_DEDUP = 0x80000013
_BITMAP_RECORD = 6
_EXTEND_RECORD = 11
_MAX_LINKS = 40
_MAX_REPARSE_BYTES = 16 << 10
_MAX_DESCRIPTOR_BYTES = 64 << 10


def open_ntfs(blocks: BlockReader) -> NtfsVolume:
    """Open an NTFS volume for reading. The caller keeps `blocks` open as long as the volume is used.

    Args:
        blocks: the bytes of the volume.

    Raises:
        DamagedInputError: it is no NTFS volume or a damaged one.
        DirtyVolumeError: it was not shut down cleanly, or Windows is hibernated on it.
        UnsupportedInputError: it is encrypted with BitLocker, or larger than Sekiso handles.
    """
    volume = NtfsVolume(VolumeBytes(blocks))
    health.require_clean(volume.table, volume.paths)
    return volume


class NtfsVolume:
    """An NTFS volume; implements `sekiso.disks.volume.Volume`. Made by `open_ntfs`.

    Attributes:
        access: bytes of the volume.
        table: its file records.
        paths: its names and paths.
    """

    def __init__(self, access: VolumeBytes) -> None:
        self.access = access
        self.table = FileTable(access)
        self.paths = PathIndex(self.table)
        self._dropped: dict[str, None] = {}

    @property
    def facts(self) -> VolumeFacts:
        """What the volume says of itself."""
        return self._facts

    @cached_property
    def _facts(self) -> VolumeFacts:
        geometry = self.access.geometry
        return VolumeFacts(
            filesystem="ntfs",
            uuid=f"{geometry.serial_number:016X}",
            label=health.volume_label(self.table),
            size_bytes=geometry.size_bytes,
            used_bytes=self._used_bytes(),
            clean=True,
        )

    @property
    def dropped(self) -> Sequence[str]:
        """What of the content read so far a WIM cannot keep, one line per path and kind."""
        return tuple(self._dropped)

    def note_dropped(self, line: str) -> None:
        """Add a line to `dropped`; harmless when repeated."""
        self._dropped.setdefault(line)

    @cached_property
    def security(self) -> SecurityStore:
        """The descriptors of $Secure."""
        if not self.table.exists(SECURE_RECORD):
            return SecurityStore(self.access, None)
        return SecurityStore(self.access, self.table.load(SECURE_RECORD).streams.get("$SDS"))

    def descriptor(self, inode: Inode) -> bytes | None:
        """Return the security descriptor of a file, None if it has none.

        Raises:
            DamagedInputError: it refers to one that is not there.
        """
        if inode.security_id:
            found = self.security.get(inode.security_id)
            if found is None:
                reason = f"The security descriptor {inode.security_id} is missing or damaged."
                raise self.access.damaged(self.table.offset_of(inode.number), reason)
            return found
        if inode.security is None:
            return None
        return trim_descriptor(read_all(self.access, inode.security, _MAX_DESCRIPTOR_BYTES))

    def reparse_data(self, inode: Inode) -> tuple[int, int, bytes] | None:
        """Return tag, reserved bits and data of a reparse point, None if the file is none.

        Raises:
            DamagedInputError: it is marked as one but has none, or a broken one.

        Source: [MS-FSCC] 2.1.2.2.
        """
        if not inode.attributes & REPARSE_POINT:
            return None
        content = b"" if inode.reparse is None else read_all(self.access, inode.reparse, _MAX_REPARSE_BYTES)
        if len(content) < 8:
            reason = "A file is marked as a reparse point but has no data for it."
            raise self.access.damaged(self.table.offset_of(inode.number), reason)
        tag, _, reserved = struct.unpack_from("<IHH", content)
        return tag, reserved, content[8:]

    @cached_property
    def _births(self) -> dict[tuple[int, int], bytes]:
        extend = self.paths.entries(_EXTEND_RECORD)
        found = [entry.owner for entry in extend if entry.name == "$ObjId"]
        return read_births(self.table, found[0]) if found else {}

    def object_id(self, inode: Inode) -> bytes | None:
        """Return the object id of a file, None if it has none: 16 bytes, or 64 with its birth ids.

        The file itself keeps only the first 16 bytes, the rest lies in the index of all object ids.
        """
        if inode.object_id is None:
            return None
        content = read_all(self.access, inode.object_id, OBJECT_ID_BYTES)
        if len(content) == 16:
            content += self._births.get((inode.number, inode.sequence), b"")
        if len(content) < 16:
            return None
        return content.ljust(OBJECT_ID_BYTES, b"\0") if any(content[16:]) else content[:16]

    def tree(
        self,
        sink: BlobSink,
        *,
        only: Collection[str] | None = None,
        exclude: Container[str] = (),
        progress: Progress = NO_PROGRESS,
    ) -> Node:
        """Read the tree and hand every stream to `sink`; see `sekiso.disks.volume.Volume.tree`.

        The paths in `only` are compared as the volume compares names; `exclude` is asked for each path as it
        is spelled on the volume.

        Raises:
            DamagedInputError: the volume is damaged.
            UnsupportedInputError: a file is encrypted or deduplicated; leave it out by `exclude`.
            CanceledError: the work was canceled.
        """
        self.table.require_sound()
        return TreeReader(self, sink, only=only, exclude=exclude, progress=progress).read()

    def read_file(self, path: str, *, limit_bytes: int = 64 << 20) -> bytes | None:
        """Return the content of a file; see `sekiso.disks.volume.Volume.read_file`.

        Names are compared as the volume compares them. Symbolic links and junctions are followed, a drive
        letter in their target is taken for this volume.

        Raises:
            UnsupportedInputError: it is longer than `limit_bytes`, encrypted, deduplicated or compressed by
                Windows' overlay filter.
            DamagedInputError: the volume is damaged.
        """
        inode = self._resolve(path)
        if inode is None or inode.is_directory:
            return None
        stream = inode.streams.get("", Stream(0, b""))
        reason = self._unreadable(inode)
        if stream.size_bytes > limit_bytes:
            reason = f"It has {stream.size_bytes} bytes, the limit here is {limit_bytes}."
        if reason:
            where = f"{self.access.name}: {path}"
            raise UnsupportedInputError(path=where, reason=reason, remedy="Store the file plainly.")
        return b"".join(read_chunks(self.access, stream))

    def is_directory(self, path: str) -> bool:
        """Whether `path` (exact spelling, no links followed) is a folder; False if it is absent."""
        parts = [part for part in path.split("/") if part]
        entry = self.paths.lookup(path)
        if entry is None:
            return not parts
        exact = any(found == path for found, _ in self.paths.paths_of(entry.owner))
        return exact and self.table.load(entry.owner).is_directory

    def _unreadable(self, inode: Inode) -> str:
        if inode.attributes & ENCRYPTED:
            return "It is encrypted with EFS."
        reparse = self.reparse_data(inode)
        if reparse is None:
            return ""
        if reparse[0] == REPARSE_TAG_WOF:
            return "It is compressed by Windows' overlay filter (compact /exe)."
        return "It is deduplicated." if reparse[0] == REPARSE_TAG_DEDUP else ""

    def _resolve(self, path: str) -> Inode | None:
        """Return the file at a path, following links in every part of it."""
        parts = [part for part in path.split("/") if part]
        done: list[str] = []
        hops = 0
        inode = self.table.load(ROOT_RECORD)
        while parts:
            part = parts.pop(0)
            if part in (".", ".."):
                del done[len(done) - (part == "..") :]
                continue
            entry = self.paths.lookup("/".join([*done, part]))
            if entry is None:
                return None
            inode = self.table.load(entry.owner)
            target = self._link_target(inode)
            if target is None:
                done.append(part)
                continue
            hops += 1
            if hops > _MAX_LINKS:
                return None
            relative, names = target
            done = done if relative else []
            parts = names + parts
            inode = self.table.load(ROOT_RECORD)
        return inode if done else None

    def _link_target(self, inode: Inode) -> tuple[bool, list[str]] | None:
        """Return whether the target is relative, and its parts; None if the file is no link.

        Source: [MS-FSCC] 2.1.2.4 and 2.1.2.5.
        """
        reparse = self.reparse_data(inode)
        if reparse is None or reparse[0] not in (REPARSE_TAG_SYMLINK, REPARSE_TAG_MOUNT_POINT):
            return None
        data = reparse[2]
        names_at = 12 if reparse[0] == REPARSE_TAG_SYMLINK else 8
        if len(data) < names_at:
            return None
        offset, length = struct.unpack_from("<HH", data)
        relative = names_at == 12 and bool(struct.unpack_from("<I", data, 8)[0] & 1)
        text = data[names_at + offset : names_at + offset + length].decode("utf-16-le", "replace")
        parts = [part for part in text.replace("/", "\\").split("\\") if part]
        if not relative:
            while parts and (parts[0] in ("??", "?") or parts[0].endswith(":")):
                parts.pop(0)
        return relative, parts

    def _used_bytes(self) -> int:
        stream = (
            self.table.load(_BITMAP_RECORD).streams.get("") if self.table.exists(_BITMAP_RECORD) else None
        )
        if stream is None:
            return 0
        clusters = self.access.geometry.cluster_count
        used = done = 0
        for chunk in read_chunks(self.access, stream):
            bits = np.unpackbits(np.frombuffer(chunk, np.uint8), bitorder="little")
            # the bits after the last cluster are set so that nothing is allocated there
            used += int(bits[: clusters - done].sum(dtype=np.int64))
            done += len(bits)
            if done >= clusters:
                break
        return used * self.access.geometry.cluster_size_bytes
