"""Reading WIM files: header, blob table, XML data, image trees and blobs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from sekiso.errors import DamagedInputError, NotFoundError, UnsupportedInputError
from sekiso.wim.blobtable import BlobLocation, BlobTable, locate, parse_blob_table
from sekiso.wim.client import Worker
from sekiso.wim.header import HEADER_BYTES, ResourceHeader, parse_header
from sekiso.wim.metadata import parse_metadata
from sekiso.wim.tree import NO_BLOB, Node
from sekiso.wim.xmldata import MAX_XML_BYTES, ImageInfo, parse_xml

_PIECE_BYTES = 1 << 20
# What a compressed resource may claim to become, in multiples of the file: guards against bombs. Blob tables
# are hashes and do not shrink; metadata of many small files does.
_MAX_TABLE_RATIO = 8
_MAX_METADATA_RATIO = 64


class WimFile:
    """A WIM file opened for reading. Use as a context manager, or call `close`.

    Attributes:
        path: the file.
        header: its header.
        images: name and properties of each image, in order.
    """

    def __init__(self, path: Path, *, check_table: bool = True) -> None:
        self.path = path
        self._worker: Worker | None = None
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._read()
            if check_table:
                _ = self._table
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        self.file_bytes = os.lseek(self._fd, 0, os.SEEK_END)
        self.header = parse_header(os.pread(self._fd, HEADER_BYTES, 0), source=str(self.path))
        xml = self.header.xml
        if xml.size_bytes > MAX_XML_BYTES:
            raise self._damaged(xml.offset, f"The XML data claims {xml.size_bytes} bytes.")
        self.images: tuple[ImageInfo, ...] = parse_xml(
            self._special(xml, "The XML data"),
            image_count=self.header.image_count,
            source=str(self.path),
            offset=xml.offset,
        )

    @cached_property
    def _table(self) -> BlobTable:
        raw = self._special(self.header.blob_table, "The blob table")
        return parse_blob_table(
            raw, self.path, self.header, file_bytes=self.file_bytes, read_at=self._read_at
        )

    @property
    def blobs(self) -> Mapping[bytes, BlobLocation]:
        """Location of each blob by its SHA-1. The blobs of an image may lie in other files.

        Raises:
            DamagedInputError: the blob table is damaged, if it was not checked when the file was opened.
        """
        return self._table.blobs

    @classmethod
    def open(cls, path: Path, *, check_table: bool = True) -> Self:
        """Open a WIM file.

        Args:
            path: the file.
            check_table: False leaves the blob table, which may be long, until it is needed.

        Raises:
            FileNotFoundError: there is no such file (and other `OSError` as they come).
            DamagedInputError: it is no WIM file, or a damaged one.
            UnsupportedInputError: it is split, pipable, encrypted or of an unknown version.
        """
        return cls(path, check_table=check_table)

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    @property
    def image_count(self) -> int:
        """Number of images."""
        return self.header.image_count

    def properties(self, image: int = 1) -> Mapping[str, str]:
        """Return the XML values of an image by path, such as `NAME` or `SEKISO/MANIFEST`.

        Raises:
            NotFoundError: there is no such image.
        """
        self._check_image(image)
        return self.images[image - 1].properties

    def read_metadata(self, image: int = 1) -> bytes:
        """Return the metadata resource of an image, its hash checked.

        Raises:
            NotFoundError: there is no such image.
            DamagedInputError: it is damaged.
        """
        self._check_image(image)
        sha1, location = self._table.metadata[image - 1]
        self._check_ratio(location, "The image metadata", _MAX_METADATA_RATIO)
        raw = b"".join(self._pieces(location))
        if hashlib.sha1(raw, usedforsecurity=False).digest() != sha1:
            raise self._damaged(location.offset, "The image metadata does not have the hash it should have.")
        return raw

    def read_tree(self, image: int = 1) -> Node:
        """Return the tree of an image.

        Raises:
            NotFoundError: there is no such image.
            DamagedInputError: its metadata is damaged.
        """
        return parse_metadata(self.read_metadata(image), source=str(self.path))

    def read_blob(self, sha1: bytes, *, limit_bytes: int = 64 << 20) -> bytes:
        """Return a blob, its hash checked; `NO_BLOB` is empty.

        Raises:
            NotFoundError: the file does not have it.
            UnsupportedInputError: it is longer than `limit_bytes`.
            DamagedInputError: it is damaged.
        """
        if sha1 == NO_BLOB:
            return b""
        size_bytes = self.locate_blob(sha1).size_bytes
        if size_bytes > limit_bytes:
            raise UnsupportedInputError(
                path=self.path,
                reason=f"Content of {size_bytes} bytes is longer than the {limit_bytes} expected here.",
                remedy="Check that the right file was named.",
            )
        return b"".join(self.blob_chunks(sha1))

    def blob_chunks(self, sha1: bytes) -> Iterator[bytes]:
        """Yield a blob in pieces of about 1 MiB; its hash is checked when the last one has been yielded.

        Raises:
            NotFoundError: the file does not have it.
            DamagedInputError: it is damaged.
        """
        if sha1 == NO_BLOB:
            return
        location = self.locate_blob(sha1)
        digest = hashlib.sha1(usedforsecurity=False)
        for piece in self._pieces(location):
            digest.update(piece)
            yield piece
        if digest.digest() != sha1:
            raise self._damaged(
                location.offset, f"The content {sha1.hex()} does not have the hash it should have."
            )

    def locate_blob(self, sha1: bytes) -> BlobLocation:
        """Return where a blob lies.

        Raises:
            NotFoundError: the file does not have it.
        """
        location = self.blobs.get(sha1)
        if location is None:
            raise NotFoundError(
                what="The content", name=sha1.hex(), remedy=f"Use a file that holds it; {self.path} does not."
            )
        return location

    def _check_image(self, image: int) -> None:
        if not 1 <= image <= self.header.image_count:
            raise NotFoundError(
                what="The image", name=image, remedy=f"{self.path} has {self.header.image_count} images."
            )

    def _special(self, resource: ResourceHeader, what: str) -> bytes:
        location = locate(self.path, self.header, resource, file_bytes=self.file_bytes, what=what)
        self._check_ratio(location, what, _MAX_TABLE_RATIO)
        return b"".join(self._pieces(location))

    def _check_ratio(self, location: BlobLocation, what: str, ratio: int) -> None:
        if location.size_bytes > ratio * self.file_bytes + _PIECE_BYTES:
            raise self._damaged(location.offset, f"{what} claims {location.size_bytes} bytes.")

    def _pieces(self, location: BlobLocation) -> Iterator[bytes]:
        if location.compressed:
            yield from self._decompressed(location)
            return
        at, end = location.offset, location.offset + location.size_bytes
        while at < end:
            piece = self._read_at(at, min(_PIECE_BYTES, end - at))
            at += len(piece)
            yield piece

    def _decompressed(self, location: BlobLocation) -> Iterator[bytes]:
        if self._worker is None:
            self._worker = Worker()
        yield from self._worker.decompress(location)

    def _read_at(self, offset: int, length: int) -> bytes:
        raw = os.pread(self._fd, length, offset)
        if len(raw) != length:
            raise self._damaged(offset, "The file became shorter while it was read.")
        return raw

    def _damaged(self, offset: int, reason: str) -> DamagedInputError:
        return DamagedInputError(path=self.path, offset=offset, reason=reason)
