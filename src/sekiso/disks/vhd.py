"""The structures of a VHD file: footer, dynamic header, block table.

Source: "Virtual Hard Disk Image Format Specification" 1.0 (Microsoft, 2006). All integers are big-endian.
"""

from __future__ import annotations

import enum
import struct
import uuid
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sekiso.disks.blocks import ByteRange
from sekiso.disks.identity import DiskIds
from sekiso.disks.mapped import SourceFile
from sekiso.disks.sizes import SECTOR, Geometry, vhd_geometry
from sekiso.errors import DamagedInputError, UnsupportedInputError

FOOTER_BYTES = 512
HEADER_BYTES = 1024
FOOTER_COOKIE = b"conectix"
HEADER_COOKIE = b"cxsparse"
UNUSED = 0xFFFFFFFF
#: 2040 GiB in blocks of 256 KiB; real files have blocks of 512 KiB or 2 MiB.
MAX_BLOCKS = 8 << 20
#: 2000-01-01 in UTC: where the time stamps of a VHD begin.
EPOCH_2000_S = 946_684_800
DEFAULT_BLOCK_BYTES = 2 << 20

_FOOTER = struct.Struct(">8sIIQI4sI4sQQHBBII16sB")
_HEADER = struct.Struct(">8sQQIIII16sII512s")
_LOCATOR = struct.Struct(">4sIIIQ")

Table = npt.NDArray[np.uint32]


class VhdType(enum.IntEnum):
    """Kinds of VHD that exist."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


@dataclass(frozen=True, slots=True)
class VhdFooter:
    """The last 512 bytes of every VHD file.

    Attributes:
        kind: fixed, dynamic or differencing.
        size_bytes: virtual size ("current size").
        geometry: cylinders, heads, sectors: an approximation of the size.
        disk_id: unique id, which a differencing disk names as that of its parent.
        header_offset: where the dynamic header lies; meaningless in a fixed disk.
        created_s: seconds since 1970 in UTC.
        creator: four characters that tell the program.
        saved_state: whether the disk belongs to a machine in saved state.
    """

    kind: VhdType
    size_bytes: int
    geometry: Geometry
    disk_id: uuid.UUID
    header_offset: int
    created_s: int
    creator: str
    saved_state: bool


@dataclass(frozen=True, slots=True)
class VhdHeader:
    """The dynamic header of a dynamic or differencing disk.

    Attributes:
        table_offset: where the block table lies.
        blocks: its entries.
        block_bytes: content per block.
        parent_id: unique id of the parent.
        parent_name: name of the parent's file as the footer tells it.
        locators: platform code and place of each parent locator.
    """

    table_offset: int
    blocks: int
    block_bytes: int
    parent_id: uuid.UUID
    parent_name: str
    locators: tuple[tuple[bytes, ByteRange], ...]

    @property
    def bitmap_bytes(self) -> int:
        """Length of the sector bitmap in front of each block, in whole sectors."""
        return -(-self.block_bytes // SECTOR // 8 // SECTOR) * SECTOR or SECTOR


def checksum(block: bytes, field_offset: int) -> int:
    """One's complement of the sum of all bytes, the checksum field left out."""
    return ~(sum(block) - sum(block[field_offset : field_offset + 4])) & 0xFFFFFFFF


def pack_footer(kind: VhdType, size_bytes: int, ids: DiskIds) -> bytes:
    """Return the footer of a new disk.

    The creator is Windows' own mark: programs (QEMU among them) believe the size field of such a footer
    and take the rounded geometry of others for the size.
    """
    geometry = vhd_geometry(size_bytes)
    block = bytearray(FOOTER_BYTES)
    _FOOTER.pack_into(
        block, 0, FOOTER_COOKIE, 2, 0x00010000,
        0xFFFFFFFFFFFFFFFF if kind is VhdType.FIXED else FOOTER_BYTES,
        max(0, ids.created_s - EPOCH_2000_S) & 0xFFFFFFFF, b"win ", 0x000A0000, b"Wi2k",
        size_bytes, size_bytes, *geometry, int(kind), 0, ids.disk_id.bytes, 0,
    )  # fmt: skip
    struct.pack_into(">I", block, 64, checksum(bytes(block), 64))
    return bytes(block)


def reseal_footer(raw: bytes, *, size_bytes: int | None = None, disk_id: uuid.UUID | None = None) -> bytes:
    """Return a footer with another size or unique id, everything else kept."""
    block = bytearray(raw)
    if size_bytes is not None:
        geometry = vhd_geometry(size_bytes)
        struct.pack_into(">QHBB", block, 48, size_bytes, *geometry)
    if disk_id is not None:
        block[68:84] = disk_id.bytes
    struct.pack_into(">I", block, 64, checksum(bytes(block), 64))
    return bytes(block)


def pack_dynamic_header(table_offset: int, blocks: int, block_bytes: int) -> bytes:
    """Return the dynamic header of a disk without a parent."""
    block = bytearray(HEADER_BYTES)
    _HEADER.pack_into(
        block, 0, HEADER_COOKIE, 0xFFFFFFFFFFFFFFFF, table_offset, 0x00010000, blocks, block_bytes, 0,
        bytes(16), 0, 0, bytes(512),
    )  # fmt: skip
    struct.pack_into(">I", block, 36, checksum(bytes(block), 36))
    return bytes(block)


def _damaged(file: SourceFile, offset: int, reason: str) -> DamagedInputError:
    return DamagedInputError(path=str(file.path), offset=offset, reason=reason)


def is_footer(block: bytes) -> bool:
    """Whether these 512 bytes are an intact footer."""
    if len(block) != FOOTER_BYTES or block[:8] != FOOTER_COOKIE:
        return False
    return checksum(block, 64) == int.from_bytes(block[64:68], "big")


def read_footer(file: SourceFile) -> tuple[VhdFooter, tuple[str, ...]]:
    """Return the footer, or its copy at the start where the footer is broken, and notes.

    Raises:
        DamagedInputError: there is no intact footer, or it contradicts itself.
        UnsupportedInputError: the version or kind is unknown.
    """
    if file.size_bytes < FOOTER_BYTES:
        raise _damaged(file, 0, "The file is too short for a VHD.")
    end = file.size_bytes - FOOTER_BYTES
    last = file.read(end, FOOTER_BYTES)
    if is_footer(last):
        return _parse_footer(last, file, end), ()
    first = file.read(0, FOOTER_BYTES)
    if is_footer(first):
        footer = _parse_footer(first, file, 0)
        if footer.kind is not VhdType.FIXED:
            return footer, ("The footer is broken; its copy at the start of the file was used.",)
    raise _damaged(file, end, "The file has no intact VHD footer.")


def _parse_footer(block: bytes, file: SourceFile, at: int) -> VhdFooter:
    (
        _cookie, _features, version, header_offset, stamp, creator, _creator_version, _host, _original,
        size, cyl, heads, sectors, kind, _checksum, uid, saved,
    ) = _FOOTER.unpack_from(block)  # fmt: skip
    if version >> 16 != 1 or kind not in list(VhdType):
        raise UnsupportedInputError(
            path=str(file.path),
            reason=f"The VHD has the format version {version:#x} and the kind {kind}; one is unknown.",
            remedy="Convert it on a Hyper-V server with Convert-VHD.",
        )
    if not 0 < size <= 1 << 42 or size % SECTOR:
        raise _damaged(file, at, f"The virtual size of {size} bytes is not allowed.")
    return VhdFooter(
        VhdType(kind), size, Geometry(cyl, heads, sectors), uuid.UUID(bytes=uid), header_offset,
        stamp + EPOCH_2000_S, creator.decode("latin-1"), bool(saved),
    )  # fmt: skip


def read_dynamic_header(file: SourceFile, footer: VhdFooter) -> VhdHeader:
    """Return the dynamic header.

    Raises:
        DamagedInputError: it is broken or does not fit the file or the footer.
    """
    at = footer.header_offset
    block = file.read(at, HEADER_BYTES)
    if block[:8] != HEADER_COOKIE or checksum(block, 36) != int.from_bytes(block[36:40], "big"):
        raise _damaged(file, at, "The dynamic header of the VHD is broken.")
    _c, _next, table, version, blocks, block_bytes, _ck, parent, _t, _r, name = _HEADER.unpack_from(block)
    if version >> 16 != 1:
        raise _damaged(file, at, f"The dynamic header has the unknown version {version:#x}.")
    if block_bytes & (block_bytes - 1) or not 64 << 10 <= block_bytes <= 256 << 20:
        raise _damaged(file, at, f"A block size of {block_bytes} bytes is not allowed.")
    needed = -(-footer.size_bytes // block_bytes)
    if not needed <= blocks or needed > MAX_BLOCKS:
        raise _damaged(file, at, f"The block table has {blocks} entries; the disk needs {needed}.")
    if table + 4 * needed > file.size_bytes:
        raise _damaged(file, at, "The block table lies outside of the file.")
    text = name.decode("utf-16-be", "replace").split("\0", 1)[0]
    locators = tuple(_locators(block))
    return VhdHeader(table, needed, block_bytes, uuid.UUID(bytes=parent), text, locators)


def _locators(block: bytes) -> list[tuple[bytes, ByteRange]]:
    found: list[tuple[bytes, ByteRange]] = []
    for i in range(8):
        code, _space, length, _reserved, offset = _LOCATOR.unpack_from(block, 576 + 24 * i)
        if code.strip(b"\0"):
            found.append((code, ByteRange(offset, length)))
    return found


def read_table(file: SourceFile, header: VhdHeader) -> Table:
    """Return the block table (sector numbers), checked.

    Raises:
        DamagedInputError: a block lies outside of the file, or on top of something else.
    """
    raw = file.read(header.table_offset, 4 * header.blocks)
    table = np.frombuffer(raw, dtype=">u4").astype(np.uint32)
    used = table[table != UNUSED]
    length = header.bitmap_bytes + header.block_bytes
    starts = np.sort(used.astype(np.int64) * SECTOR)
    if len(starts) and int(starts[-1]) + length > file.size_bytes:
        raise _damaged(file, header.table_offset, "A block of the disk lies outside of the file.")
    if (np.diff(starts) < length).any():
        raise _damaged(file, header.table_offset, "Two blocks of the disk share the same place in the file.")
    end = file.size_bytes
    fixed = ((0, FOOTER_BYTES), (header.table_offset, 4 * header.blocks))
    if is_footer(file.read(end - FOOTER_BYTES, FOOTER_BYTES)):
        fixed = (*fixed, (end - FOOTER_BYTES, FOOTER_BYTES))
    for start, size in fixed:
        if ((starts < start + size) & (starts + length > start)).any():
            raise _damaged(
                file, header.table_offset, "A block of the disk lies on top of the file's own structures."
            )
    return table


def parent_names(file: SourceFile, header: VhdHeader) -> tuple[str, ...]:
    """Return the paths by which a differencing disk names its parent, most useful first.

    Source: VHD specification, "Parent Locator Entry" (W2ru: relative, W2ku: absolute, UTF-16 little-endian).
    """
    names: list[str] = []
    for code, place in sorted(header.locators, key=lambda item: item[0] != b"W2ru"):
        if code in (b"W2ru", b"W2ku") and place.length <= 64 << 10:
            text = file.read(place.start, place.length).decode("utf-16-le", "replace")
            names.append(text.split("\0", 1)[0])
    names.append(header.parent_name)
    return tuple(n for n in names if n)
