"""What a file must hold: its size, the hash of each 8 MiB of it, and one hash over all of that.

BITS promises size and time, not content; a manifest travels over the API and each leaf is checked while the
file is received, so that a bad one is named and fetched again instead of the whole file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from sekiso.errors import DamagedInputError
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled

#: Bytes of the file that one leaf covers; the last leaf covers what is left.
LEAF_BYTES = 8 << 20
#: BLAKE3's own output size.
HASH_BYTES = 32
_READ_BYTES = 1 << 20
_ROOT_CONTEXT = "sekiso 2026-11 file manifest root v1"
_FORMAT = "sekiso-file-manifest"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Size and content of one version of a file.

    Attributes:
        size_bytes: size of the file.
        leaves: BLAKE3 of each `LEAF_BYTES` of it, 32 bytes each; none for an empty file.
    """

    size_bytes: int
    leaves: tuple[bytes, ...]

    @property
    def root(self) -> str:
        """One hash for the whole file, lower-case hexadecimal.

        BLAKE3 in key-derivation mode over the size (8 bytes, little-endian) and the leaves in order.
        """
        size = self.size_bytes.to_bytes(8, "little")
        return blake3(size + b"".join(self.leaves), derive_key_context=_ROOT_CONTEXT).hexdigest()

    @property
    def etag(self) -> str:
        """The strong entity tag of the file version, quotes included."""
        return f'"b3-{self.root}"'

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON-serialisable data."""
        return {
            "format": _FORMAT,
            "version": 1,
            "size_bytes": self.size_bytes,
            "leaf_bytes": LEAF_BYTES,
            "leaves": b"".join(self.leaves).hex(),
            "root": self.root,
        }

    @classmethod
    def from_dict(cls, data: object, *, path: str = "manifest") -> Manifest:
        """Read what `to_dict` wrote.

        Args:
            data: the data, from anywhere.
            path: what to name in an error.

        Raises:
            DamagedInputError: it is no manifest, or its root does not fit its leaves.
        """
        fields: dict[str, Any] = data if isinstance(data, dict) else {}  # pyright: ignore[reportUnknownVariableType, reportAssignmentType]
        known = (fields.get("format"), fields.get("version"), fields.get("leaf_bytes"))
        if known != (_FORMAT, 1, LEAF_BYTES):
            raise DamagedInputError(path=path, offset=0, reason="This is no manifest of a file.")
        size, text = fields.get("size_bytes"), fields.get("leaves")
        if type(size) is not int or size < 0 or not isinstance(text, str):
            raise DamagedInputError(path=path, offset=0, reason="The manifest lacks its size or its hashes.")
        if len(text) != leaf_count(size) * HASH_BYTES * 2:
            raise DamagedInputError(
                path=path, offset=0, reason="The manifest has not as many hashes as its size asks for."
            )
        found = cls(size, _split(text, path))
        if found.root != fields.get("root"):
            raise DamagedInputError(
                path=path, offset=0, reason="The manifest does not fit its own root hash."
            )
        return found


def _split(text: str, path: str) -> tuple[bytes, ...]:
    try:
        raw = bytes.fromhex(text)
    except ValueError as exc:
        raise DamagedInputError(path=path, offset=0, reason="A hash in the manifest is malformed.") from exc
    if len(raw) % HASH_BYTES:
        raise DamagedInputError(path=path, offset=0, reason="A hash in the manifest is malformed.")
    return tuple(raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES))


def leaf_count(size_bytes: int) -> int:
    """Return how many leaves a file of this size has."""
    return -(-size_bytes // LEAF_BYTES)


def hash_file(path: Path, *, progress: Progress = NO_PROGRESS) -> Manifest:
    """Read a whole file and return its manifest.

    Raises:
        CanceledError: the work was canceled.
    """
    hasher = LeafHasher()
    with path.open("rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        progress.step("Hashing the file", total=size)
        buffer = memoryview(bytearray(_READ_BYTES))
        while count := stream.readinto(buffer):
            hasher.update(buffer[:count])
            progress.advance(hasher.size_bytes)
            check_canceled(progress)
    return hasher.manifest()


class LeafHasher:
    """Makes the leaves of a file whose bytes arrive in order.

    Attributes:
        leaves: hashes of the leaves that are complete.
        size_bytes: how many bytes came so far.
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        """Begin after the leaves that are known already."""
        self.leaves = list(leaves)
        self.size_bytes = len(self.leaves) * LEAF_BYTES
        self._current = blake3()

    def room_bytes(self) -> int:
        """Return how many bytes the current leaf still lacks."""
        return LEAF_BYTES - self.size_bytes % LEAF_BYTES

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            piece = view[: self.room_bytes()]
            self._current.update(piece)
            self.size_bytes += len(piece)
            if self.size_bytes % LEAF_BYTES == 0:
                self.leaves.append(self._current.digest())
                self._current = blake3()
            view = view[len(piece) :]

    def current(self) -> bytes:
        """Return the hash of the leaf that is not complete yet."""
        return self._current.digest()

    def rewind(self) -> int:
        """Forget the leaf that came last, complete or not; return the offset where it begins."""
        if self.size_bytes % LEAF_BYTES == 0 and self.leaves:
            self.leaves.pop()
        self.size_bytes = len(self.leaves) * LEAF_BYTES
        self._current = blake3()
        return self.size_bytes

    def manifest(self) -> Manifest:
        """Return the manifest of a file that ends here."""
        rest = [self.current()] if self.size_bytes % LEAF_BYTES else []
        return Manifest(self.size_bytes, (*self.leaves, *rest))
