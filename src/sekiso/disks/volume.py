"""What every file-system reader offers: the whole tree for an import, the changes for a capture."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from typing import Protocol

from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.wim.blobs import BlobSink
from sekiso.wim.tree import Node


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """What a file system says of itself.

    Attributes:
        filesystem: `ext4` or `ntfs`.
        uuid: its identifier in its own usual notation (ext4: a UUID, NTFS: 16 hexadecimal digits).
        label: its label, may be empty.
        size_bytes: its size.
        used_bytes: bytes in use.
        clean: whether it was shut down cleanly; a volume that was not is refused by `open_…`.
    """

    filesystem: str
    uuid: str
    label: str
    size_bytes: int
    used_bytes: int
    clean: bool


@dataclass(frozen=True, slots=True)
class VolumeChanges:
    """What differs between two states of one volume. Paths as in `wim.tree.walk`, sorted.

    Attributes:
        changed: every path that was added or whose inode or content changed; every name of a changed inode.
        deleted: paths that are gone, topmost only.
        replaced: folders that were deleted and made anew under the same path.
        compared_bytes: content that had to be read and compared to decide.
    """

    changed: tuple[str, ...]
    deleted: tuple[str, ...]
    replaced: tuple[str, ...] = ()
    compared_bytes: int = 0


class Volume(Protocol):
    """A file system opened for reading, without mounting it."""

    @property
    def facts(self) -> VolumeFacts:
        """What the file system says of itself."""
        ...

    @property
    def dropped(self) -> Sequence[str]:
        """What of the content read so far a WIM cannot keep, in words, one line per path and kind."""
        ...

    def read_file(self, path: str, *, limit_bytes: int = 64 << 20) -> bytes | None:
        """Return the content of a regular file (symbolic links followed inside the volume), None if absent.

        Raises:
            UnsupportedInputError: it is longer than `limit_bytes`.
            DamagedInputError: the volume is damaged.
        """
        ...

    def is_directory(self, path: str) -> bool:
        """Whether `path` (exact spelling, no links followed) is a folder; False if it is absent."""
        ...

    def tree(
        self,
        sink: BlobSink,
        *,
        only: Collection[str] | None = None,
        exclude: Container[str] = (),
        progress: Progress = NO_PROGRESS,
    ) -> Node:
        """Read the tree and hand every stream to `sink`.

        Args:
            sink: takes the content.
            only: read just these paths, and the folders above them (those without their other content);
                None reads everything.
            exclude: says of a path whether it is left out, with all below it.
            progress: counts bytes of content.

        Raises:
            DamagedInputError: the volume is damaged.
            CanceledError: the work was canceled.
        """
        ...
