"""Writing WIM files: uncompressed, standard, all or nothing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import struct
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sekiso.errors import AlreadyExistsError, NoSpaceError, NotFoundError
from sekiso.wim.file import WimFile
from sekiso.wim.header import HEADER_BYTES, RESOURCE_METADATA, Header, ResourceHeader
from sekiso.wim.metadata import serialize_metadata
from sekiso.wim.tree import NO_BLOB, Node, blobs_of, walk
from sekiso.wim.xmldata import ImageInfo, ImageStatistics, format_xml

_TAIL = struct.Struct("<HI20s")
_UNIX_EPOCH_S = 11644473600
_BUFFER_BYTES = 1 << 20


class WimWriter:
    """Writes one WIM file; a `BlobSink`. Use as a context manager: without `commit` nothing is left.

    The file is written beside its target and gets its name when `commit` has everything on disk. It may
    hold any number of images (none too), images whose blobs lie in other files, and blobs that no image
    names.

    Attributes:
        path: the target.
        blobs: length of each blob added so far, by SHA-1.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        """Begin a file.

        Args:
            path: the target; its folder must exist.
            replace: take the place of a file that is there already.

        Raises:
            AlreadyExistsError: the target exists and `replace` is not set.
        """
        self.path = path
        self.blobs: dict[bytes, int] = {}
        self._replace = replace
        self._check_target()
        self._table: list[tuple[ResourceHeader, bytes]] = []
        self._places: dict[bytes, int] = {}
        self._metadata: list[tuple[ResourceHeader, bytes]] = []
        self._images: list[tuple[ImageInfo, ImageStatistics]] = []
        self._references: Counter[bytes] = Counter()
        self._temporary: Path | None = path.parent / f".{path.name[:64]}.{secrets.token_hex(8)}.part"
        self._file = self._temporary.open("xb", buffering=_BUFFER_BYTES)
        self._at = HEADER_BYTES
        self._file.write(bytes(HEADER_BYTES))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Throw away what was written; harmless after `commit` and when repeated."""
        with contextlib.suppress(OSError):  # the buffer may not find room any more; it is not wanted
            self._file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def add(self, chunks: Iterable[bytes | memoryview], size_bytes: int) -> bytes:
        """Store one blob and return its SHA-1; see `BlobSink.add`.

        Raises:
            ValueError: the chunks do not add up to `size_bytes`; the writer can go on.
            NoSpaceError: the disk is full.
        """
        start, digest, done = self._at, hashlib.sha1(usedforsecurity=False), 0
        try:
            for chunk in chunks:
                done += len(chunk)
                if done > size_bytes:
                    break
                digest.update(chunk)
                self._write(chunk)
        except BaseException:
            self._rewind(start)
            raise
        if done != size_bytes:
            self._rewind(start)
            raise ValueError(f"a blob of {size_bytes} bytes was announced, {done} or more came")
        sha1 = digest.digest() if size_bytes else NO_BLOB
        if not size_bytes or sha1 in self.blobs:
            self._rewind(start)
            return sha1
        self._register(sha1, start, size_bytes)
        return sha1

    def add_bytes(self, content: bytes) -> bytes:
        """Store one blob that is in memory and return its SHA-1."""
        return self.add((content,) if content else (), len(content))

    def copy_blob(self, source: WimFile, sha1: bytes) -> None:
        """Store a blob of another WIM file, its hash checked; one that is here already is not read.

        Raises:
            NotFoundError: `source` does not have it.
            DamagedInputError: it is damaged.
        """
        if sha1 == NO_BLOB or sha1 in self.blobs:
            return
        start, size_bytes = self._at, source.locate_blob(sha1).size_bytes
        try:
            for chunk in source.blob_chunks(sha1):
                self._write(chunk)
        except BaseException:
            self._rewind(start)
            raise
        self._register(sha1, start, size_bytes)

    def read_back(self, sha1: bytes) -> bytes:
        """Return a blob that was added.

        Raises:
            NotFoundError: it was not.
        """
        if sha1 == NO_BLOB:
            return b""
        place = self._places.get(sha1)
        if place is None or self._temporary is None:
            raise NotFoundError(what="The blob", name=sha1.hex(), remedy="")
        self._file.flush()
        with self._temporary.open("rb") as file:
            file.seek(place)
            return file.read(self.blobs[sha1])

    def add_image(
        self,
        root: Node,
        *,
        name: str,
        properties: Mapping[str, str] | None = None,
        sizes: Mapping[bytes, int] | None = None,
        filetime: int | None = None,
    ) -> bytes:
        """Add an image.

        Args:
            root: its tree; blobs that are not in this file must be found elsewhere by who reads it.
            name: its name, unique in the file.
            properties: XML values by path (`SEKISO/MANIFEST`, `DESCRIPTION`).
            sizes: lengths of blobs that lie in other files, for the numbers in the XML data.
            filetime: its time of creation (100 ns since 1601); now if left out.

        Returns:
            The metadata resource as stored; its SHA-256 identifies the tree.

        Raises:
            UnsupportedInputError: the tree holds a name that WIM cannot keep.
            ValueError: a property cannot be XML.
        """
        stats = self._statistics(root, {**(sizes or {}), **self.blobs}, filetime)
        info = ImageInfo(name, dict(properties or {}))
        format_xml([(info, stats)], total_bytes=0)  # refuses bad properties now, not at the end
        raw = serialize_metadata(root)
        sha1 = hashlib.sha1(raw, usedforsecurity=False).digest()
        self._metadata.append((ResourceHeader(len(raw), RESOURCE_METADATA, self._at, len(raw)), sha1))
        self._write(raw)
        self._images.append((info, stats))
        for node in _nodes(root):
            self._references.update(blobs_of(node))
        return raw

    def commit(self) -> None:
        """Write tables and header, bring everything to disk, and give the file its name.

        Raises:
            AlreadyExistsError: the target has appeared meanwhile and `replace` is not set.
            NoSpaceError: the disk is full.
        """
        if self._temporary is None:
            raise ValueError("the WIM file was committed or abandoned before")
        table = b"".join(self._entries())
        xml = format_xml(self._images, total_bytes=self._at + len(table))
        header = Header(
            compression=0,
            chunk_bytes=0,
            guid=hashlib.sha256(table + xml).digest()[:16],
            image_count=len(self._images),
            blob_table=ResourceHeader(len(table), RESOURCE_METADATA, self._at, len(table)),
            xml=ResourceHeader(len(xml), RESOURCE_METADATA, self._at + len(table), len(xml)),
        )
        self._write(table)
        self._write(xml)
        with self._room():
            self._file.truncate()
            self._file.seek(0)
            self._file.write(header.pack())
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        self._check_target()
        self._temporary.replace(self.path)
        self._temporary = None
        sync_folder(self.path.parent)

    def _entries(self) -> Iterator[bytes]:
        for resource, sha1 in self._metadata:
            yield resource.pack() + _TAIL.pack(1, 1, sha1)
        for resource, sha1 in self._table:
            yield resource.pack() + _TAIL.pack(1, max(1, self._references[sha1]), sha1)

    def _statistics(self, root: Node, sizes: Mapping[bytes, int], filetime: int | None) -> ImageStatistics:
        dirs = files = total = linked = 0
        seen: set[int] = set()
        for node in _nodes(root):
            size = sum(sizes.get(sha1, 0) for sha1 in blobs_of(node))
            total += size
            if node.is_directory and node.reparse is None:
                dirs += 1
                continue
            files += 1
            if node.link_group:
                linked += size if node.link_group in seen else 0
                seen.add(node.link_group)
        return ImageStatistics(dirs, files, total, linked, filetime_now() if filetime is None else filetime)

    def _register(self, sha1: bytes, start: int, size_bytes: int) -> None:
        self.blobs[sha1] = size_bytes
        self._places[sha1] = start
        self._table.append((ResourceHeader(size_bytes, 0, start, size_bytes), sha1))

    def _write(self, chunk: bytes | memoryview) -> None:
        with self._room():
            self._file.write(chunk)
        self._at += len(chunk)

    def _rewind(self, offset: int) -> None:
        with self._room():
            if self._file.tell() != offset:
                self._file.seek(offset)
        self._at = offset

    def _check_target(self) -> None:
        if not self._replace and self.path.exists():
            raise AlreadyExistsError(
                what="The file", name=self.path, remedy="Choose another name or remove it."
            )

    @contextlib.contextmanager
    def _room(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            folder = self.path.parent
            raise NoSpaceError(
                path=folder, needed_bytes=self._at, free_bytes=shutil.disk_usage(folder).free
            ) from exc


def write_metadata_wim(
    path: Path,
    root: Node,
    *,
    name: str,
    properties: Mapping[str, str] | None = None,
    sizes: Mapping[bytes, int] | None = None,
    replace: bool = False,
) -> bytes:
    """Write a WIM file of one image without any blob; whoever applies it names the files that hold them.

    Returns and arguments as `WimWriter.add_image`.

    Raises:
        AlreadyExistsError: the file exists and `replace` is not set.
    """
    with WimWriter(path, replace=replace) as writer:
        raw = writer.add_image(root, name=name, properties=properties, sizes=sizes)
        writer.commit()
    return raw


def filetime_now() -> int:
    """Return the present time as a FILETIME (100 ns since 1601-01-01 UTC)."""
    return time.time_ns() // 100 + _UNIX_EPOCH_S * 10**7


def sync_folder(folder: Path) -> None:
    """Bring the entries of a folder to disk, so that a rename in it survives a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _nodes(root: Node) -> Iterator[Node]:
    yield root
    for _, node in walk(root):
        yield node
