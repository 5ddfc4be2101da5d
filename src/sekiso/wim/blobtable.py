"""The blob table of a WIM file: where the content of each stream lies."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sekiso.errors import DamagedInputError, UnsupportedInputError
from sekiso.wim.header import (
    COMPRESSION_NAMES,
    RESOURCE_COMPRESSED,
    RESOURCE_FREE,
    RESOURCE_METADATA,
    RESOURCE_SOLID,
    RESOURCE_SPANNED,
    Header,
    ResourceHeader,
    check_chunk_bytes,
    unpack_resource,
)
from sekiso.wim.tree import NO_BLOB

ENTRY_BYTES = 50
_ENTRY_TAIL = struct.Struct("<HI20s")  # part number, reference count, hash
_SOLID_MAGIC = 0x100000000  # in place of the size: this entry is a solid resource, not a blob in one
_SOLID_HEADER = struct.Struct("<QII")  # uncompressed size, chunk size, compression


class BlobLocation(NamedTuple):
    """Where one resource of a WIM file lies. A named tuple: a layer has a hundred thousand of them.

    Attributes:
        path: the WIM file.
        offset: where the resource starts in the file.
        stored_bytes: its length there.
        size_bytes: length of the blob itself.
        compressed: whether it must be decompressed; if not, the blob is the bytes at `offset`.
        compression: one of `COMPRESSION_NAMES`.
        chunk_bytes: uncompressed length of a chunk, 0 if not compressed.
        solid_bytes: uncompressed length of the solid resource it is part of, 0 if it is not in one.
        solid_offset: where in that resource the blob starts.
        reference_count: how often the images of the file name it, as the file claims.
    """

    path: Path
    offset: int
    stored_bytes: int
    size_bytes: int
    compressed: bool
    compression: str = "none"
    chunk_bytes: int = 0
    solid_bytes: int = 0
    solid_offset: int = 0
    reference_count: int = 0


@dataclass(frozen=True, slots=True)
class BlobTable:
    """The table, taken apart.

    Attributes:
        blobs: location of each blob by its SHA-1.
        metadata: hash and location of the metadata resource of each image, in the order of the images.
    """

    blobs: dict[bytes, BlobLocation]
    metadata: tuple[tuple[bytes, BlobLocation], ...]


def locate(
    path: Path, header: Header, resource: ResourceHeader, *, file_bytes: int, what: str
) -> BlobLocation:
    """Check one resource header against the file and return where the resource is.

    Raises:
        DamagedInputError: it does not lie in the file.
        UnsupportedInputError: it is part of a split WIM.
    """
    if resource.offset + resource.stored_bytes > file_bytes:
        raise _damaged(path, resource.offset, f"{what} runs past the end of the file.")
    if resource.flags & RESOURCE_SPANNED:
        raise UnsupportedInputError(
            path=path,
            reason=f"{what} is spread over several files.",
            remedy="Join the parts of the split WIM first.",
        )
    compressed = bool(resource.flags & RESOURCE_COMPRESSED)
    if not compressed:
        if resource.stored_bytes != resource.size_bytes:
            raise _damaged(
                path, resource.offset, f"{what} is not compressed but claims two different lengths."
            )
        return BlobLocation(
            path, resource.offset, resource.stored_bytes, resource.size_bytes, compressed=False
        )
    if not header.compression:
        raise _damaged(path, resource.offset, f"{what} is compressed in a file that names no compression.")
    chunks = -(-resource.size_bytes // header.chunk_bytes)
    if chunks > resource.stored_bytes + 1:
        raise _damaged(path, resource.offset, f"{what} claims more chunks than it has bytes.")
    return BlobLocation(
        path,
        resource.offset,
        resource.stored_bytes,
        resource.size_bytes,
        compressed=True,
        compression=COMPRESSION_NAMES[header.compression],
        chunk_bytes=header.chunk_bytes,
    )


def parse_blob_table(
    raw: bytes, path: Path, header: Header, *, file_bytes: int, read_at: Callable[[int, int], bytes]
) -> BlobTable:
    """Read a blob table.

    Args:
        raw: the table itself.
        path: the WIM file.
        header: its header.
        file_bytes: its length.
        read_at: reads bytes of the file by offset and length; solid resources keep their size there.

    Raises:
        DamagedInputError: an entry breaks the format.
        UnsupportedInputError: the file is part of a split WIM.
    """
    if len(raw) % ENTRY_BYTES:
        raise _damaged(path, header.blob_table.offset, "the blob table ends inside an entry.")
    blobs: dict[bytes, BlobLocation] = {}
    metadata: list[tuple[bytes, BlobLocation]] = []
    solid: list[BlobLocation] | None = None
    for at in range(0, len(raw), ENTRY_BYTES):
        resource = unpack_resource(raw, at)
        part, references, sha1 = _ENTRY_TAIL.unpack_from(raw, at + 24)
        if not resource.flags & RESOURCE_SOLID:
            solid = None
        if resource.flags & RESOURCE_FREE:
            continue
        if part != 1:
            raise _damaged(path, header.blob_table.offset + at, f"a blob claims to be in part {part}.")
        if resource.flags & RESOURCE_SOLID:
            if solid is None:
                solid = _solid_run(raw, at, path, file_bytes, read_at)
            if resource.size_bytes == _SOLID_MAGIC:
                continue
            location = _in_solid(path, resource, solid)
        else:
            location = locate(path, header, resource, file_bytes=file_bytes, what="A blob")
        if resource.flags & RESOURCE_METADATA:
            metadata.append((sha1, location))
        elif sha1 != NO_BLOB and location.size_bytes:
            blobs.setdefault(sha1, location._replace(reference_count=references))
    if len(metadata) != header.image_count:
        reason = f"it has {header.image_count} images but metadata of {len(metadata)}."
        raise _damaged(path, header.blob_table.offset, reason)
    return BlobTable(blobs, tuple(metadata))


def _solid_run(
    raw: bytes, at: int, path: Path, file_bytes: int, read_at: Callable[[int, int], bytes]
) -> list[BlobLocation]:
    """Return the solid resources that the run of solid entries from `at` on names."""
    found: list[BlobLocation] = []
    for entry in range(at, len(raw), ENTRY_BYTES):
        resource = unpack_resource(raw, entry)
        if not resource.flags & RESOURCE_SOLID:
            break
        if resource.size_bytes != _SOLID_MAGIC:
            continue
        if resource.stored_bytes < _SOLID_HEADER.size or resource.offset + resource.stored_bytes > file_bytes:
            raise _damaged(path, resource.offset, "a solid resource runs past the end of the file.")
        raw_header = read_at(resource.offset, _SOLID_HEADER.size)
        size_bytes, chunk_bytes, number = _SOLID_HEADER.unpack(raw_header)
        kind: int = number
        check_chunk_bytes(chunk_bytes, source=str(path), offset=resource.offset + 8)
        if kind >= len(COMPRESSION_NAMES):
            raise _damaged(
                path, resource.offset + 12, f"a solid resource has the unknown compression {kind}."
            )
        if -(-size_bytes // chunk_bytes) > resource.stored_bytes // 4:
            raise _damaged(path, resource.offset, "a solid resource claims more chunks than it has bytes.")
        found.append(
            BlobLocation(
                path,
                resource.offset,
                resource.stored_bytes,
                size_bytes,
                compressed=True,
                compression=COMPRESSION_NAMES[kind],
                chunk_bytes=chunk_bytes,
                solid_bytes=size_bytes,
            )
        )
    return found


def _in_solid(path: Path, resource: ResourceHeader, solid: list[BlobLocation]) -> BlobLocation:
    """Find the solid resource of a run that holds a blob; its offset counts through all of them."""
    offset = resource.offset
    for whole in solid:
        if offset + resource.stored_bytes <= whole.solid_bytes:
            return whole._replace(size_bytes=resource.stored_bytes, solid_offset=offset)
        if offset < whole.solid_bytes:
            break
        offset -= whole.solid_bytes
    raise _damaged(path, resource.offset, "a blob does not lie in a solid resource.")


def _damaged(path: Path, offset: int, reason: str) -> DamagedInputError:
    return DamagedInputError(path=path, offset=offset, reason=reason[:1].upper() + reason[1:])
