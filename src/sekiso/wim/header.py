"""The fixed header of a WIM file and the headers of the resources in it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from sekiso.errors import DamagedInputError, UnsupportedInputError

# Source: [MS-WIM] 2.2 and 2.4; solid resources and LZMS (version 0xE00) as libwim 1.13.6 reads them.
MAGIC = b"MSWIM\0\0\0"
PIPABLE_MAGIC = b"WLPWM\0\0\0"
HEADER_BYTES = 208
VERSION = 0x10D00
VERSION_SOLID = 0xE00
MAX_IMAGES = 65535

FLAG_COMPRESSION = 0x2
FLAG_SPANNED = 0x8
FLAG_WRITE_IN_PROGRESS = 0x40
_COMPRESSION_FLAGS = {
    0x20000: 1,
    0x40000: 2,
    0x80000: 3,
}  # the numbers that libwim's API and solid resources use
_KNOWN_FLAGS = 0xFF | 0x20000 | 0x40000 | 0x80000
COMPRESSION_NAMES = ("none", "xpress", "lzx", "lzms")
_MIN_CHUNK_BYTES = 1 << 12
MAX_CHUNK_BYTES = 1 << 30

RESOURCE_FREE = 0x1
RESOURCE_METADATA = 0x2
RESOURCE_COMPRESSED = 0x4
RESOURCE_SPANNED = 0x8
RESOURCE_SOLID = 0x10

_START = struct.Struct("<8sIIII16sHHI")
_TAIL = struct.Struct("<QQ")


class ResourceHeader(NamedTuple):
    """Where a resource lies in a WIM file. A named tuple: a layer has a hundred thousand of them.

    Attributes:
        stored_bytes: its length in the file.
        flags: `RESOURCE_…` bits.
        offset: where it starts.
        size_bytes: its length when uncompressed.
    """

    stored_bytes: int
    flags: int
    offset: int
    size_bytes: int

    def pack(self) -> bytes:
        """Return the 24 bytes that stand for it in a WIM file."""
        return (
            self.stored_bytes.to_bytes(7, "little")
            + bytes([self.flags])
            + _TAIL.pack(self.offset, self.size_bytes)
        )


NO_RESOURCE = ResourceHeader(0, 0, 0, 0)


def unpack_resource(raw: bytes, at: int) -> ResourceHeader:
    """Read the 24 bytes of a resource header."""
    offset, size_bytes = _TAIL.unpack_from(raw, at + 8)
    return ResourceHeader(int.from_bytes(raw[at : at + 7], "little"), raw[at + 7], offset, size_bytes)


@dataclass(frozen=True, slots=True)
class Header:
    """What the first 208 bytes of a WIM file say.

    Attributes:
        compression: number of the compression (index of `COMPRESSION_NAMES`) of its compressed resources.
        chunk_bytes: uncompressed length of the chunks of those resources.
        guid: identifier of the file, 16 bytes.
        image_count: number of images.
        blob_table: where the table of blobs is.
        xml: where the XML data is.
        boot_index: number of the image marked as bootable, 0 for none.
    """

    compression: int
    chunk_bytes: int
    guid: bytes
    image_count: int
    blob_table: ResourceHeader
    xml: ResourceHeader
    boot_index: int = 0

    def pack(self) -> bytes:
        """Return the header of an uncompressed WIM file."""
        start = _START.pack(MAGIC, HEADER_BYTES, VERSION, 0, 0, self.guid, 1, 1, self.image_count)
        raw = start + self.blob_table.pack() + self.xml.pack() + NO_RESOURCE.pack()
        raw += struct.pack("<I", self.boot_index) + NO_RESOURCE.pack()
        return raw + bytes(HEADER_BYTES - len(raw))


def parse_header(raw: bytes, *, source: str) -> Header:
    """Read and check the header of a WIM file.

    Raises:
        DamagedInputError: it is no WIM file, or damaged.
        UnsupportedInputError: it is a kind of WIM that Sekiso does not take; says how to convert it.
    """
    if raw[:8] == PIPABLE_MAGIC:
        raise _unsupported(
            source, "It is a pipable WIM file.", "wimlib-imagex export IN all OUT --not-pipable"
        )
    if len(raw) < HEADER_BYTES or raw[:8] != MAGIC:
        raise DamagedInputError(path=source, offset=0, reason="It is not a WIM file: its header is missing.")
    _, size, version, flags, chunk_bytes, guid, part, parts, images = _START.unpack_from(raw)
    if size != HEADER_BYTES:
        raise DamagedInputError(path=source, offset=8, reason=f"The header claims a length of {size} bytes.")
    if version not in (VERSION, VERSION_SOLID):
        raise _unsupported(
            source, f"It has the unknown WIM version {version:#x}.", "wimlib-imagex export IN all OUT"
        )
    if flags & FLAG_SPANNED or (part, parts) != (1, 1):
        raise _unsupported(
            source, f"It is part {part} of {parts} of a split WIM.", "wimlib-imagex join OUT PARTS…"
        )
    if flags & FLAG_WRITE_IN_PROGRESS:
        raise DamagedInputError(path=source, offset=16, reason="The program that wrote it did not finish.")
    if flags & ~_KNOWN_FLAGS:
        unknown = flags & ~_KNOWN_FLAGS
        raise _unsupported(
            source, f"Its header has unknown flags ({unknown:#x}).", "wimlib-imagex export IN all OUT"
        )
    if images > MAX_IMAGES:
        raise DamagedInputError(path=source, offset=44, reason=f"The header claims {images} images.")
    return Header(
        compression=_compression(flags, chunk_bytes, source),
        chunk_bytes=chunk_bytes,
        guid=guid,
        image_count=images,
        blob_table=unpack_resource(raw, 0x30),
        xml=unpack_resource(raw, 0x48),
        boot_index=int.from_bytes(raw[0x78:0x7C], "little"),
    )


def _compression(flags: int, chunk_bytes: int, source: str) -> int:
    if not flags & FLAG_COMPRESSION:
        return 0
    kinds = [number for flag, number in _COMPRESSION_FLAGS.items() if flags & flag]
    if len(kinds) != 1:
        raise DamagedInputError(path=source, offset=16, reason="The header does not name one compression.")
    check_chunk_bytes(chunk_bytes, source=source, offset=20)
    return kinds[0]


def check_chunk_bytes(chunk_bytes: int, *, source: str, offset: int) -> None:
    """Refuse a chunk size that no compression has.

    Raises:
        DamagedInputError: it is not a power of two between 4 KiB and 1 GiB.
    """
    if not _MIN_CHUNK_BYTES <= chunk_bytes <= MAX_CHUNK_BYTES or chunk_bytes & (chunk_bytes - 1):
        raise DamagedInputError(
            path=source, offset=offset, reason=f"The chunk size of {chunk_bytes} bytes is not one."
        )


def _unsupported(source: str, reason: str, command: str) -> UnsupportedInputError:
    return UnsupportedInputError(
        path=source, reason=reason, remedy=f"Convert it first, for example with: {command}"
    )
