"""What the compositing engine asks of a guest family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sekiso.guests.booting import BootPlan, BootRequest, Generalization
from sekiso.guests.edits import FileAccess, TreeEdit
from sekiso.guests.exclusions import Exclusion
from sekiso.guests.importing import DiskContents, ImportPlan
from sekiso.guests.merging import StructuredMerger
from sekiso.model.layer import GuestFamily


class GuestFamilySupport(Protocol):
    """Everything that is special about one family of guest operating systems."""

    @property
    def family(self) -> GuestFamily:
        """Which family this is."""
        ...

    @property
    def case_sensitive(self) -> bool:
        """Whether two names that differ in case only are two files."""
        ...

    @property
    def root_filesystems(self) -> tuple[str, ...]:
        """File systems its root volume may have, as blkid names them."""
        ...

    def pending_work(self, read: Callable[[str], bytes | None]) -> tuple[str, ...]:
        """Return what is unfinished on a disk at rest, one full sentence each (LY-8); empty when nothing is.

        Args:
            read: returns the content of a file by path, None if it is absent.
        """
        ...

    def mergers(self) -> Sequence[StructuredMerger]:
        """Return the mergers; the first that claims a path has it."""
        ...

    def recognise(self, disk: DiskContents) -> ImportPlan:
        """Find the operating system on a disk and how its volumes form one tree.

        Raises:
            DamagedInputError: a volume is damaged.
        """
        ...

    def import_edits(self, files: FileAccess) -> tuple[TreeEdit, ...]:
        """Return what an import adds to the tree: the guest tools."""
        ...

    def capture_exclusions(self) -> tuple[Exclusion, ...]:
        """Return what a capture of a packaging disk leaves out."""
        ...

    def generalize(self, files: FileAccess, generalization: Generalization) -> tuple[TreeEdit, ...]:
        """Return what gives an image no identity of its own, or (`NONE`) only what must never be shared."""
        ...

    def post_merge(self, files: FileAccess) -> tuple[TreeEdit, ...]:
        """Return the edits for files that derive from the whole tree (caches, indexes)."""
        ...

    def boot_plan(self, files: FileAccess, request: BootRequest) -> BootPlan:
        """Work out how the tree boots on a disk of a generation.

        Raises:
            UnsupportedInputError: the tree lacks what it needs to boot; the remedy names it.
            ToolMissingError: a program that makes boot files is not installed.
        """
        ...
