"""Read the content of a qcow2 file: QEMU's packaging disks, and disks that users bring.

Source: QEMU's docs/interop/qcow2.txt (version 2 and 3). All integers are big-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sekiso.disks.blocks import ByteRange
from sekiso.disks.mapped import DiskBlocks, Run, SourceFile, Where
from sekiso.errors import DamagedInputError, UnsupportedInputError

MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_OFFSET_MASK = 0x00FFFFFFFFFFFE00
_COMPRESSED = 1 << 62
_ZERO = 1
_DIRTY, _CORRUPT, _EXTERNAL, _COMPRESSION, _EXTENDED_L2 = 1, 2, 4, 8, 16
_MAX_L1_BYTES = 32 << 20
_MAX_SIZE_BYTES = 64 << 40
_CACHED_L2_BYTES = 32 << 20
_CACHED_CLUSTERS = 16
_REMEDY = "Convert it first: qemu-img convert -O qcow2 OLD NEW"

L2 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Qcow2Header:
    """What the header says.

    Attributes:
        size_bytes: virtual size.
        cluster_bits: clusters have 2 to this power bytes.
        l1_offset: where the first-level table lies.
        l1_entries: its entries.
        backing_file: name of the disk below, empty for a disk of its own.
        backing_format: its format as the header tells it, may be empty.
        snapshots: internal snapshots.
        dirty: whether it was not closed cleanly (reference counts only; content is not affected).
    """

    size_bytes: int
    cluster_bits: int
    l1_offset: int
    l1_entries: int
    backing_file: str
    backing_format: str
    snapshots: int
    dirty: bool


def read_header(file: SourceFile) -> Qcow2Header:
    """Return the header.

    Raises:
        DamagedInputError: it is broken.
        UnsupportedInputError: the file uses a feature that is not read here.
    """
    path = str(file.path)
    (magic, version, name_at, name_len, bits, size, crypt, l1_entries, l1_at, _rt, _rc, snapshots, _so) = (
        _HEADER.unpack(file.read(0, 72))
    )
    if magic != MAGIC:
        raise DamagedInputError(path=path, offset=0, reason="The file does not begin as a qcow2 file does.")
    if version not in (2, 3):
        raise _unsupported(path, f"The qcow2 file has the unknown version {version}.")
    features = int.from_bytes(file.read(72, 8), "big") if version == 3 else 0
    _refuse_features(path, features, crypt)
    if not 9 <= bits <= 21:
        raise DamagedInputError(
            path=path, offset=20, reason=f"A cluster size of 2^{bits} bytes is not allowed."
        )
    per_l2 = 1 << (2 * bits - 3)
    if size > _MAX_SIZE_BYTES:
        raise _unsupported(path, f"The virtual size of {size} bytes is more than 64 TiB.")
    if l1_entries < -(-size // per_l2) or 8 * l1_entries > _MAX_L1_BYTES:
        raise DamagedInputError(path=path, offset=36, reason="The first-level table does not fit the disk.")
    backing = ""
    if name_at:
        if name_len > 1023:
            raise DamagedInputError(path=path, offset=16, reason="The name of the disk below is too long.")
        backing = file.read(name_at, name_len).decode("utf-8", "replace")
    fmt = _backing_format(file, version) if backing else ""
    dirty = bool(features & _DIRTY)
    return Qcow2Header(size, bits, l1_at, -(-size // per_l2), backing, fmt, snapshots, dirty)


def _unsupported(path: str, reason: str) -> UnsupportedInputError:
    return UnsupportedInputError(path=path, reason=reason, remedy=_REMEDY)


def _refuse_features(path: str, features: int, crypt: int) -> None:
    if crypt:
        raise _unsupported(path, "The qcow2 file is encrypted.")
    if features & _CORRUPT:
        raise DamagedInputError(path=path, offset=72, reason="QEMU marked the file as corrupt.")
    for bit, words in (
        (_EXTERNAL, "keeps its content in another file"),
        (_COMPRESSION, "is compressed by another method than zlib"),
        (_EXTENDED_L2, "uses extended second-level tables"),
    ):
        if features & bit:
            raise _unsupported(path, f"The qcow2 file {words}.")
    if features & ~31:
        raise _unsupported(path, f"The qcow2 file uses unknown features ({features:#x}).")


def _backing_format(file: SourceFile, version: int) -> str:
    """Find the header extension that names the format of the disk below."""
    at = int.from_bytes(file.read(100, 4), "big") if version == 3 else 72
    for _ in range(64):
        if at + 8 > file.size_bytes:
            break
        kind, length = struct.unpack(">II", file.read(at, 8))
        if kind == 0 or length > 65536:
            break
        if kind == 0xE2792ACA:
            return file.read(at + 8, min(length, 64)).decode("ascii", "replace")
        at += 8 + -(-length // 8) * 8
    return ""


class Qcow2Blocks(DiskBlocks):
    """The content of a qcow2 file; the disk below is attached by `open_disk`."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            DamagedInputError: the header or the first-level table is broken.
            UnsupportedInputError: the file uses a feature that is not read here.
        """
        self.path = path
        self._file = SourceFile(path)
        try:
            self.header = read_header(self._file)
            raw = self._file.read(self.header.l1_offset, 8 * self.header.l1_entries)
        except BaseException:
            self._file.close()
            raise
        self._l1 = np.frombuffer(raw, dtype=">u8").astype(np.uint64)
        self._check_l1()
        self._cluster = 1 << self.header.cluster_bits
        self._l2_entries = self._cluster // 8
        self._l2: OrderedDict[int, L2] = OrderedDict()
        self._unpacked: OrderedDict[int, bytes] = OrderedDict()

    def _check_l1(self) -> None:
        """Tables that are shared or out of place would make a small file look like endless work."""
        places = self._l1 & np.uint64(_OFFSET_MASK)
        places = places[places != 0]
        last = max(0, self._file.size_bytes - 1)
        bad = (places > np.uint64(last)).any() or (places % np.uint64(1 << self.header.cluster_bits)).any()
        if bad or len(np.unique(places)) != len(places):
            self._file.close()
            raise DamagedInputError(
                path=str(self.path),
                offset=self.header.l1_offset,
                reason="A second-level table is out of place or used twice.",
            )

    @property
    def size_bytes(self) -> int:
        """Virtual size."""
        return self.header.size_bytes

    @property
    def logical_sector_bytes(self) -> int:
        """A qcow2 file does not say; 512 is what machines give it."""
        return 512

    @property
    def _hole(self) -> Where:
        return Where.PARENT if self.header.backing_file else Where.ZERO

    def _table(self, index: int) -> L2 | None:
        at = int(self._l1[index]) & _OFFSET_MASK
        if not at:
            return None
        found = self._l2.get(index)
        if found is None:
            raw = self._file.read(at, self._cluster)
            found = self._l2[index] = np.frombuffer(raw, dtype=">u8").astype(np.uint64)
            if len(self._l2) * self._cluster > _CACHED_L2_BYTES and len(self._l2) > 1:
                self._l2.popitem(last=False)
        return found

    def locate(self, offset: int, limit: int) -> Run:
        """Return the run that begins at `offset`; neighbouring clusters are joined."""
        run = self._locate_in_cluster(offset, limit)
        while run.length < limit:
            at = offset + run.length
            more = self._locate_in_cluster(at, limit - run.length)
            follows = run.where is not Where.FILE or more.offset == run.offset + run.length
            if more.where is not run.where or not follows or run.offset < 0:
                break
            run = Run(run.where, run.offset, run.length + more.length)
        return run

    def _locate_in_cluster(self, offset: int, limit: int) -> Run:
        cluster, inside = divmod(offset, self._cluster)
        index, slot = divmod(cluster, self._l2_entries)
        table = self._table(index)
        if table is None:
            whole = self._cluster * self._l2_entries
            return Run(self._hole, 0, min(limit, whole - offset % whole))
        length = min(limit, self._cluster - inside)
        entry = int(table[slot])
        if entry & _COMPRESSED:
            return Run(Where.FILE, -1 - offset, length)  # below zero: by disk offset, see _fetch
        if entry & _ZERO:
            return Run(Where.ZERO, 0, length)
        at = entry & _OFFSET_MASK
        return Run(Where.FILE, at + inside, length) if at else Run(self._hole, 0, length)

    def _fetch(self, offset: int, length: int) -> bytes:
        if offset >= 0:
            return self._read_padded(offset, length)
        cluster, inside = divmod(-1 - offset, self._cluster)
        return self._unpack(cluster)[inside : inside + length]

    def _read_padded(self, offset: int, length: int) -> bytes:
        """QEMU leaves the last cluster of a file short; what is missing of it is zeros."""
        short = offset + length - self._file.size_bytes
        if 0 < short < self._cluster and offset < self._file.size_bytes:
            return self._file.read(offset, length - short) + bytes(short)
        return self._file.read(offset, length)

    def _unpack(self, cluster: int) -> bytes:
        """Return one compressed cluster, unpacked.

        Source: qcow2.txt, "Compressed Clusters Descriptor".
        """
        found = self._unpacked.get(cluster)
        if found is not None:
            return found
        index, slot = divmod(cluster, self._l2_entries)
        table = self._table(index)
        assert table is not None
        split = 62 - (self.header.cluster_bits - 8)
        entry = int(table[slot])
        at = entry & ((1 << split) - 1)
        sectors = (entry >> split) & ((1 << (62 - split)) - 1)
        length = min((sectors + 1) * 512 - at % 512, self._file.size_bytes - at)
        unpacker = zlib.decompressobj(wbits=-12)
        try:
            data = unpacker.decompress(self._file.read(at, max(0, length)), self._cluster)
        except zlib.error as exc:
            raise DamagedInputError(
                path=str(self.path), offset=at, reason="A compressed cluster cannot be unpacked."
            ) from exc
        if len(data) != self._cluster:
            raise DamagedInputError(
                path=str(self.path), offset=at, reason="A compressed cluster is shorter than it must be."
            )
        self._unpacked[cluster] = data
        if len(self._unpacked) > _CACHED_CLUSTERS:
            self._unpacked.popitem(last=False)
        return data

    def top_ranges(self) -> Iterator[ByteRange]:
        """Yield what this file says about: data, and clusters that it sets to zero over a disk below."""
        for index in np.flatnonzero(self._l1 & np.uint64(_OFFSET_MASK)).tolist():
            table = self._table(int(index))
            assert table is not None
            held = np.flatnonzero(table & np.uint64(_OFFSET_MASK | _COMPRESSED | _ZERO))
            base = int(index) * self._l2_entries
            for part in np.split(held, np.flatnonzero(np.diff(held) != 1) + 1):
                if len(part):
                    start = (base + int(part[0])) * self._cluster
                    end = min((base + int(part[-1]) + 1) * self._cluster, self.size_bytes)
                    if start < end:
                        yield ByteRange(start, end - start)

    def close(self) -> None:
        """Close the file and those below it."""
        self._file.close()
        if self.parent is not None:
            self.parent.close()
