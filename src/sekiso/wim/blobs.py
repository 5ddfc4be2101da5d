"""How content gets into a WIM: readers of volumes hand it to a sink and get its hash back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


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
