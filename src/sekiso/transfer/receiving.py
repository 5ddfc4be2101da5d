"""Receives a file in order, hashes it on the way, and keeps a durable prefix that survives power loss."""

from __future__ import annotations

from collections.abc import Sequence

from sekiso.transfer.manifest import HASH_BYTES, LEAF_BYTES, LeafHasher, Manifest, leaf_count
from sekiso.transfer.partial import Entry, PartFile

#: How often one leaf may arrive wrong before the whole transfer is given up.
LEAF_ATTEMPTS = 3


class PartLostError(Exception):
    """The data that the journal promises is not there: the transfer has to begin anew."""


class BadLeafError(Exception):
    """A leaf arrived with other content than promised; the receiver has gone back to where it begins.

    Attributes:
        leaf: number of the leaf, from 0.
        offset_bytes: where it begins.
        is_final: whether it has been wrong too often: the transfer has to be given up.
    """

    def __init__(self, leaf: int, *, is_final: bool) -> None:
        self.leaf, self.offset_bytes, self.is_final = leaf, leaf * LEAF_BYTES, is_final
        super().__init__(leaf)


class Receiver:
    """Takes the bytes of one file in order.

    `next_offset` counts what came; only what `checkpoint` has returned may be acknowledged.
    """

    def __init__(self, part: PartFile, expected: Manifest | None) -> None:
        """Go on where the journal of `part` says.

        Args:
            part: data and journal; its first entry is the caller's own.
            expected: what the file must hold; leaves are checked as they complete. None = not known yet.

        Raises:
            PartLostError: the data is shorter than the journal promises, or the journal is inconsistent.
        """
        self._part, self._expected = part, expected
        self._hasher, self._durable = _restore(part)
        self._recorded_leaves = len(self._hasher.leaves)
        self._bad: dict[int, int] = {}
        part.compact([*(e for e in part.entries if "next" not in e), self._entry(0)])

    @property
    def next_offset(self) -> int:
        """How many bytes came so far."""
        return self._hasher.size_bytes

    @property
    def durable_offset(self) -> int:
        """How many bytes survive a power loss."""
        return self._durable

    def expect(self, manifest: Manifest) -> None:
        """Learn what the file must hold, if that was not known before."""
        self._expected = manifest

    def feed(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write and hash the next bytes.

        Raises:
            BadLeafError: a leaf is wrong; `next_offset` is where it begins, what came after it is dropped.
        """
        self._part.write_at(self.next_offset, pieces)
        for piece in pieces:
            view = memoryview(piece)
            while view:
                head = view[: self._hasher.room_bytes()]
                self._hasher.update(head)
                self._check_if_complete()
                view = view[len(head) :]

    def _check_if_complete(self) -> None:
        size = self._hasher.size_bytes
        expected = self._expected
        if expected is None:
            return
        if size % LEAF_BYTES == 0:
            self._check(len(self._hasher.leaves) - 1, self._hasher.leaves[-1])
        elif size == expected.size_bytes:
            self._check(len(self._hasher.leaves), self._hasher.current())

    def _check(self, leaf: int, found: bytes) -> None:
        expected = self._expected
        if expected is None or (leaf < len(expected.leaves) and expected.leaves[leaf] == found):
            return
        self._bad[leaf] = self._bad.get(leaf, 0) + 1
        self._hasher.rewind()
        raise BadLeafError(leaf, is_final=self._bad[leaf] >= LEAF_ATTEMPTS)

    def checkpoint(self) -> int:
        """Make everything that came durable; return how many bytes that are."""
        if self.next_offset != self._durable:
            self._part.sync()
            self._recorded_leaves = min(self._recorded_leaves, len(self._hasher.leaves))
            self._part.record(self._entry(self._recorded_leaves))
            self._recorded_leaves = len(self._hasher.leaves)
            self._durable = self.next_offset
        return self._durable

    def _entry(self, first_leaf: int) -> Entry:
        fresh = b"".join(self._hasher.leaves[first_leaf:])
        return {"next": self.next_offset, "first_leaf": first_leaf, "leaves": fresh.hex()}

    def manifest(self) -> Manifest:
        """Return the manifest of what came."""
        return self._hasher.manifest()

    def first_difference(self, expected: Manifest) -> int | None:
        """Return the number of the first leaf that is not as promised; None if everything is."""
        found = self.manifest()
        if found == expected:
            return None
        pairs = zip(found.leaves, expected.leaves, strict=False)
        differing = (number for number, (a, b) in enumerate(pairs) if a != b)
        return next(differing, min(len(found.leaves), len(expected.leaves)))


def _restore(part: PartFile) -> tuple[LeafHasher, int]:
    leaves, next_offset = _replay(part.entries)
    if part.size_bytes() < next_offset or leaf_count(next_offset + 1) - 1 != len(leaves):
        raise PartLostError
    hasher = LeafHasher(leaves)
    while hasher.size_bytes < next_offset:
        piece = part.read_at(hasher.size_bytes, min(next_offset - hasher.size_bytes, 1 << 20))
        if not piece:
            raise PartLostError
        hasher.update(piece)
    return hasher, next_offset


def _replay(entries: Sequence[Entry]) -> tuple[list[bytes], int]:
    leaves: list[bytes] = []
    next_offset = 0
    for entry in entries:
        if "next" in entry:
            raw = bytes.fromhex(entry["leaves"])
            if entry["first_leaf"] > len(leaves) or len(raw) % HASH_BYTES:
                raise PartLostError
            del leaves[entry["first_leaf"] :]
            leaves += [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
            next_offset = entry["next"]
    return leaves, next_offset
