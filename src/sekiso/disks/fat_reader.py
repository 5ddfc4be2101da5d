"""Read a FAT12, FAT16 or FAT32 file system, such as the ESP of a disk to import.

Source: Microsoft, "FAT: General Overview of On-Disk Format" 1.03 (2000); long names and checksum as there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sekiso.disks.blocks import BlockReader
from sekiso.disks.recognise import is_fat_boot_sector
from sekiso.errors import DamagedInputError, UnsupportedInputError

_READ_ONLY, _HIDDEN, _SYSTEM, _LABEL, _FOLDER, _LONG = 1, 2, 4, 8, 16, 15
_ENTRY = struct.Struct("<11sBBBHHHHHHHI")
_MAX_FAT_BYTES = 64 << 20
_MAX_FOLDER_BYTES = 2 << 20  # 65,536 entries of 32 bytes, the format's own limit
_MAX_ENTRIES = 200_000
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class FatEntry:
    """A file or folder.

    Attributes:
        path: `/`-separated, without a leading slash, in the spelling of the long name.
        is_folder: whether it is a folder.
        size_bytes: length of a file, 0 for a folder.
        modified: time of modification as FAT keeps it: year, month, day, hour, minute, second (local time).
        attributes: the attribute bits (1 read-only, 2 hidden, 4 system, 16 folder, 32 archive).
        first_cluster: where its content begins, 0 when empty.
    """

    path: str
    is_folder: bool
    size_bytes: int
    modified: tuple[int, int, int, int, int, int]
    attributes: int
    first_cluster: int


@dataclass(frozen=True, slots=True)
class FatFacts:
    """What the boot sector says.

    Attributes:
        fat_bits: 12, 16 or 32.
        cluster_bytes: unit of allocation.
        clusters: how many.
        volume_id: serial number.
        label: label of the boot sector, may be empty.
        hidden_sectors: start of the partition as the boot sector tells it.
    """

    fat_bits: int
    cluster_bytes: int
    clusters: int
    volume_id: int
    label: str
    hidden_sectors: int


class FatVolume:
    """A FAT file system."""

    def __init__(self, blocks: BlockReader) -> None:
        """Read the boot sector and the file allocation table.

        Raises:
            DamagedInputError: they are broken.
            UnsupportedInputError: it is no FAT file system.
        """
        self._blocks = blocks
        sector = blocks.read(0, 512)
        if not is_fat_boot_sector(sector):
            raise UnsupportedInputError(
                path=blocks.name,
                reason="It does not hold a FAT file system.",
                remedy="Choose another partition.",
            )
        self._read_layout(sector)

    def _damaged(self, offset: int, reason: str) -> DamagedInputError:
        return DamagedInputError(path=self._blocks.name, offset=offset, reason=reason)

    def _read_layout(self, sector: bytes) -> None:
        (
            sector_bytes, per_cluster, reserved, fats, roots, total16, _media, fat16,
            _sectors_per_track, _heads, hidden, total32,
        ) = struct.unpack_from("<HBHBHHBHHHII", sector, 11)  # fmt: skip
        wide = fat16 == 0
        fat_sectors = struct.unpack_from("<I", sector, 36)[0] if wide else fat16
        self._fat_offset = reserved * sector_bytes
        self._root_offset = self._fat_offset + fats * fat_sectors * sector_bytes
        self._root_bytes = roots * 32
        self._data_offset = self._root_offset + -(-self._root_bytes // sector_bytes) * sector_bytes
        self._cluster_bytes = sector_bytes * per_cluster
        total = (total16 or total32) * sector_bytes
        if total > self._blocks.size_bytes or self._data_offset > total:
            raise self._damaged(0, "The FAT file system is larger than its partition.")
        clusters = (total - self._data_offset) // self._cluster_bytes
        bits = 32 if wide else (12 if clusters < 4085 else 16)
        if fat_sectors * sector_bytes * 8 < (clusters + 2) * bits:
            raise self._damaged(0, "The file allocation table is too short for the file system.")
        at = 64 if wide else 36
        signed = sector[at + 2] in (0x28, 0x29)
        label = sector[at + 7 : at + 18].decode("cp437").rstrip() if sector[at + 2] == 0x29 else ""
        self.facts = FatFacts(
            bits, self._cluster_bytes, clusters,
            int.from_bytes(sector[at + 3 : at + 7], "little") if signed else 0,
            "" if label == "NO NAME" else label, hidden,
        )  # fmt: skip
        self._root_cluster = struct.unpack_from("<I", sector, 44)[0] if wide else 0
        self._fat = self._read_fat((clusters + 2) * bits)

    def _read_fat(self, bits: int) -> bytes:
        size = -(-bits // 8) + 1
        if size > _MAX_FAT_BYTES:
            raise UnsupportedInputError(
                path=self._blocks.name, reason="The FAT file system is larger than is read here.", remedy=""
            )
        return self._blocks.read(self._fat_offset, size).ljust(size + 4, b"\0")

    def _next(self, cluster: int) -> int:
        if self.facts.fat_bits == 32:
            return int.from_bytes(self._fat[4 * cluster : 4 * cluster + 4], "little") & 0x0FFFFFFF
        if self.facts.fat_bits == 16:
            return int.from_bytes(self._fat[2 * cluster : 2 * cluster + 2], "little")
        at = cluster + cluster // 2
        pair = int.from_bytes(self._fat[at : at + 2], "little")
        return pair >> 4 if cluster & 1 else pair & 0xFFF

    def _chain(self, first: int, limit: int) -> list[int]:
        """Return the clusters of a chain, at most `limit` of them.

        Raises:
            DamagedInputError: the chain leaves the file system or runs in a circle.
        """
        last_mark = (1 << min(self.facts.fat_bits, 28)) - 8
        found: list[int] = []
        cluster = first
        while cluster < last_mark and len(found) < limit:
            if not 2 <= cluster < self.facts.clusters + 2 or len(found) > self.facts.clusters:
                raise self._damaged(self._fat_offset, f"The chain of clusters from {first} is broken.")
            found.append(cluster)
            cluster = self._next(cluster)
        return found

    def _cluster_offset(self, cluster: int) -> int:
        return self._data_offset + (cluster - 2) * self._cluster_bytes

    def _folder_bytes(self, first_cluster: int) -> bytes:
        if first_cluster == 0:
            return self._blocks.read(self._root_offset, self._root_bytes)
        chain = self._chain(first_cluster, _MAX_FOLDER_BYTES // self._cluster_bytes + 1)
        return b"".join(self._blocks.read(self._cluster_offset(c), self._cluster_bytes) for c in chain)

    def walk(self) -> Iterator[FatEntry]:
        """Yield every file and folder, a folder before what it holds.

        Raises:
            DamagedInputError: a folder is broken or the tree runs in a circle.
        """
        seen = {self._root_cluster}
        stack: list[tuple[str, int, int]] = [("", self._root_cluster, 0)]
        count = 0
        while stack:
            prefix, first, depth = stack.pop()
            below: list[tuple[str, int, int]] = []
            for entry in self._entries(first, prefix):
                count += 1
                if count > _MAX_ENTRIES:
                    raise self._damaged(
                        self._data_offset, "The file system holds more files than is sensible."
                    )
                yield entry
                if entry.is_folder:
                    if entry.first_cluster in seen or depth >= _MAX_DEPTH:
                        raise self._damaged(self._data_offset, f"The folder {entry.path} contains itself.")
                    seen.add(entry.first_cluster)
                    below.append((entry.path + "/", entry.first_cluster, depth + 1))
            stack.extend(reversed(below))

    def _entries(self, first_cluster: int, prefix: str) -> Iterator[FatEntry]:
        raw = self._folder_bytes(first_cluster)
        long_parts: list[bytes] = []
        for at in range(0, len(raw) - 31, 32):
            if raw[at] == 0:
                return
            attributes = raw[at + 11]
            if raw[at] == 0xE5:
                long_parts = []
            elif attributes & 0x3F == _LONG:
                if raw[at] & 0x40:
                    long_parts = []
                long_parts.append(raw[at : at + 32])
            else:
                entry = self._entry(raw[at : at + 32], long_parts, prefix)
                long_parts = []
                if entry is not None:
                    yield entry

    def _entry(self, raw: bytes, long_parts: list[bytes], prefix: str) -> FatEntry | None:
        short, attributes, case, _t, _ct, _cd, _ad, high, time, date, low, size = _ENTRY.unpack(raw)
        if attributes & _LABEL or short[:1] == b".":
            return None
        name = _long_name(long_parts, short) or _short_name(short, case)
        if "/" in name or not name or "\0" in name:
            raise self._damaged(self._data_offset, "A file has a name that FAT does not allow.")
        cluster = low | (high << 16 if self.facts.fat_bits == 32 else 0)
        is_folder = bool(attributes & _FOLDER)
        if is_folder and cluster == 0:
            raise self._damaged(self._data_offset, f"The folder {prefix}{name} has no content.")
        modified = (
            1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, 2 * (time & 31)
        )  # fmt: skip
        return FatEntry(prefix + name, is_folder, 0 if is_folder else size, modified, attributes, cluster)

    def find(self, path: str) -> FatEntry | None:
        """Return the entry of a path, letter case ignored, None if there is none."""
        first, prefix, found = self._root_cluster, "", None
        for part in path.strip("/").split("/"):
            if found is not None and not found.is_folder:
                return None
            wanted = (prefix + part).casefold()
            found = next((e for e in self._entries(first, prefix) if e.path.casefold() == wanted), None)
            if found is None:
                return None
            first, prefix = found.first_cluster, found.path + "/"
        return found

    def read_file(self, path: str, *, limit_bytes: int = 64 << 20) -> bytes | None:
        """Return the content of a file, None if there is none of that path (letter case ignored).

        Raises:
            UnsupportedInputError: it is longer than `limit_bytes`.
            DamagedInputError: its chain of clusters is broken.
        """
        entry = self.find(path)
        if entry is None or entry.is_folder:
            return None
        if entry.size_bytes > limit_bytes:
            raise UnsupportedInputError(
                path=f"{self._blocks.name}: {entry.path}",
                reason=f"The file has {entry.size_bytes} bytes; up to {limit_bytes} are read.",
                remedy="",
            )
        return b"".join(self.chunks(entry))

    def chunks(self, entry: FatEntry) -> Iterator[bytes]:
        """Yield the content of a file in pieces of up to about 1 MiB.

        Raises:
            DamagedInputError: its chain of clusters is broken.
        """
        needed = -(-entry.size_bytes // self._cluster_bytes)
        if needed > self.facts.clusters:
            raise self._damaged(self._data_offset, f"{entry.path} claims to be larger than the file system.")
        chain = self._chain(entry.first_cluster, needed) if needed else []
        if len(chain) < needed:
            raise self._damaged(self._fat_offset, f"The chain of clusters of {entry.path} is too short.")
        left = entry.size_bytes
        for start, count in _runs(chain, max(1, (1 << 20) // self._cluster_bytes)):
            length = min(left, count * self._cluster_bytes)
            yield self._blocks.read(self._cluster_offset(start), length)
            left -= length


def _runs(chain: list[int], longest: int) -> Iterator[tuple[int, int]]:
    """Yield first cluster and count of neighbouring clusters."""
    start = 0
    for i in range(1, len(chain) + 1):
        if i == len(chain) or chain[i] != chain[i - 1] + 1 or i - start >= longest:
            yield chain[start], i - start
            start = i


def short_name_checksum(short: bytes) -> int:
    """Checksum of the 11 bytes of a short name, which its long name's parts repeat."""
    value = 0
    for byte in short:
        value = ((value & 1) << 7 | value >> 1) + byte & 0xFF
    return value


def _long_name(parts: list[bytes], short: bytes) -> str:
    """Join the parts of a long name; empty if they do not belong to this short name."""
    checksum = short_name_checksum(short)
    text = b""
    for expected, part in enumerate(reversed(parts), 1):
        if part[0] & 0x3F != expected or part[13] != checksum:
            return ""
        text += part[1:11] + part[14:26] + part[28:32]
    return text.decode("utf-16-le", "surrogatepass" if _has_surrogates(text) else "strict").split("\0", 1)[0]


def _has_surrogates(text: bytes) -> bool:
    return any(byte & 0xF8 == 0xD8 for byte in text[1::2])


def _short_name(short: bytes, case: int) -> str:
    """Source: Windows NT keeps two bits of letter case in the reserved byte (8: base, 16: extension)."""
    base = (b"\xe5" + short[1:8] if short[0] == 5 else short[:8]).decode("cp437").rstrip(" ")
    extension = short[8:].decode("cp437").rstrip(" ")
    base = base.lower() if case & 8 else base
    extension = extension.lower() if case & 16 else extension
    return f"{base}.{extension}" if extension else base
