"""Content of attributes: resident, in clusters, sparse or compressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sekiso.disks.ntfs import lznt1
from sekiso.disks.ntfs.extents import HOLE, Extent
from sekiso.disks.ntfs.geometry import VolumeBytes
from sekiso.errors import UnsupportedInputError

PIECE_BYTES = 1 << 20
#: Content longer than this is refused: a sparse file may claim any size, and every byte has to be hashed.
MAX_STREAM_BYTES = 1 << 40
_ZEROS = bytes(PIECE_BYTES)


@dataclass(frozen=True, slots=True)
class Stream:
    """Content of one attribute.

    Attributes:
        size_bytes: its length.
        value: the content itself if it lies in the file record, else None.
        extents: where it lies otherwise.
        initialized_bytes: everything after this reads as zeros.
        unit_clusters: clusters of a compression unit; 0 if it is not compressed.
        encrypted: whether it is encrypted.
    """

    size_bytes: int
    value: bytes | None = None
    extents: tuple[Extent, ...] = ()
    initialized_bytes: int = 0
    unit_clusters: int = 0
    encrypted: bool = False


def read_chunks(access: VolumeBytes, stream: Stream) -> Iterator[bytes]:
    """Yield the content in order, in pieces of at most about 2 MiB; empty content yields nothing.

    Raises:
        DamagedInputError: the volume ends early, or compressed data is broken.
        UnsupportedInputError: the content is longer than Sekiso handles.
    """
    if stream.size_bytes > MAX_STREAM_BYTES:
        raise UnsupportedInputError(
            path=access.name,
            reason=f"A file in it claims {stream.size_bytes} bytes, more than Sekiso handles in one file.",
            remedy="Remove or shorten the file.",
        )
    if stream.value is not None:
        if stream.value:
            yield stream.value
        return
    live = min(stream.initialized_bytes, stream.size_bytes)
    yield from _compressed(access, stream, live) if stream.unit_clusters else _plain(access, stream, live)
    yield from _zeros(stream.size_bytes - live)


def read_all(access: VolumeBytes, stream: Stream, limit_bytes: int) -> bytes:
    """Return the whole content of a stream that must be short.

    Raises:
        DamagedInputError: it is longer than `limit_bytes`, or broken.
    """
    if stream.size_bytes > limit_bytes:
        raise access.damaged(0, f"An attribute that must be short claims {stream.size_bytes} bytes.")
    return b"".join(read_chunks(access, stream))


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield _ZEROS if count >= PIECE_BYTES else _ZEROS[:count]
        count -= PIECE_BYTES


def _plain(access: VolumeBytes, stream: Stream, live: int) -> Iterator[bytes]:
    size = access.geometry.cluster_size_bytes
    for vcn, lcn, clusters in stream.extents:
        length = min(clusters * size, live - vcn * size)
        if length <= 0:
            return
        if lcn == HOLE:
            yield from _zeros(length)
            continue
        for offset in range(0, length, PIECE_BYTES):
            yield access.read(lcn * size + offset, min(PIECE_BYTES, length - offset))


def _compressed(access: VolumeBytes, stream: Stream, live: int) -> Iterator[bytes]:
    """Yield compressed content unit by unit.

    A unit with all its clusters is stored plain, one without any is zeros, one with fewer is LZNT1.
    Source: Linux-NTFS documentation, "Compression"; [MS-XCA] 2.5.
    """
    size = access.geometry.cluster_size_bytes
    unit_bytes = stream.unit_clusters * size
    done = 0
    for vcn, parts in _units(stream.extents, stream.unit_clusters):
        if done >= live:
            return
        want = min(parts * unit_bytes if isinstance(parts, int) else unit_bytes, live - done)
        if isinstance(parts, int):
            yield from _zeros(want)
        else:
            data = b"".join(access.read_clusters(part.lcn, part.clusters) for part in parts)
            yield _unit_content(access, data, unit_bytes, parts[0].lcn * size, vcn)[:want].ljust(want, b"\0")
        done += want


def _unit_content(access: VolumeBytes, data: bytes, unit_bytes: int, offset: int, vcn: int) -> bytes:
    if len(data) == unit_bytes:
        return data
    try:
        return lznt1.decompress(data, unit_bytes)
    except ValueError as exc:
        raise access.damaged(offset, f"{exc} (compression unit at cluster {vcn} of the file)") from exc


def _units(extents: Sequence[Extent], unit: int) -> Iterator[tuple[int, int | list[Extent]]]:
    """Yield the first cluster and the extents of each compression unit, or how many in a row are empty."""
    parts: list[Extent] = []
    filled = 0  # clusters of the current unit that have been seen, holes included
    for vcn, lcn, clusters in extents:
        at, left, place = vcn, clusters, lcn
        while left:
            if lcn == HOLE and filled == 0 and left >= unit:
                yield at, left // unit
                at, left = at + left // unit * unit, left % unit
                continue
            take = min(left, unit - filled)
            if lcn != HOLE:
                parts.append(Extent(at, place, take))
                place += take
            filled, at, left = filled + take, at + take, left - take
            if filled == unit:
                yield at - unit, parts or 1
                parts, filled = [], 0
    if filled:
        yield extents[-1].vcn + extents[-1].clusters - filled, parts or 1
