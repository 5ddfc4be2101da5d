"""How content gets into a WIM: readers of volumes hand it to a sink and get its hash back."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha1
from typing import Protocol

from sekiso.wim.tree import NO_BLOB


class BlobSink(Protocol):
    """Takes the content of streams. The WIM writer is one; a hasher that stores nothing is another."""

    def add(self, chunks: Iterable[bytes | memoryview], size_bytes: int) -> bytes:
        """Store one stream and return its SHA-1 (`NO_BLOB` when empty); equal content is kept once.

        Args:
            chunks: the content in order, in pieces of any length (about 1 MiB is good).
            size_bytes: total length; a stream that turns out otherwise is an error of the caller.

        Raises:
            ValueError: the chunks do not add up to `size_bytes`.
        """
        ...


class HashSink:
    """A sink that keeps no content: for comparing a volume with a tree."""

    def add(self, chunks: Iterable[bytes | memoryview], size_bytes: int) -> bytes:
        """Return the SHA-1 of one stream; see `BlobSink.add`."""
        digest = sha1()
        total = 0
        for chunk in chunks:
            digest.update(chunk)
            total += len(chunk)
        if total != size_bytes:
            raise ValueError(f"{size_bytes} bytes were announced, {total} came")
        return digest.digest() if total else NO_BLOB
