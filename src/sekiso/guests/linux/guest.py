"""The Linux guest family (Debian and Ubuntu), as the compositing engine sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sekiso.guests.booting import BootPlan, BootRequest, Generalization
from sekiso.guests.edits import FileAccess, TreeEdit
from sekiso.guests.exclusions import Exclusion
from sekiso.guests.importing import DiskContents, ImportPlan
from sekiso.guests.linux.alternatives import link_edits
from sekiso.guests.linux.boot import boot_plan
from sekiso.guests.linux.exclusions import CAPTURE_EXCLUSIONS
from sekiso.guests.linux.identity import identity_edits
from sekiso.guests.linux.mergers import LINUX_MERGERS
from sekiso.guests.linux.pending import pending_packages
from sekiso.guests.linux.recognise import recognise
from sekiso.guests.linux.tooling import first_boot_edits, tool_edits
from sekiso.guests.merging import StructuredMerger
from sekiso.model.layer import GuestFamily


class LinuxSupport:
    """Support of Debian, Ubuntu and systems made from them."""

    @property
    def family(self) -> GuestFamily:
        """Linux."""
        return GuestFamily.LINUX

    @property
    def case_sensitive(self) -> bool:
        """Linux tells names apart by case."""
        return True

    @property
    def root_filesystems(self) -> tuple[str, ...]:
        """Root volumes that can be read."""
        return ("ext4", "ext3", "ext2")

    def pending_work(self, read: Callable[[str], bytes | None]) -> tuple[str, ...]:
        """Return unfinished package work; see `GuestFamilySupport.pending_work`."""
        return pending_packages(read)

    def mergers(self) -> Sequence[StructuredMerger]:
        """Return the mergers; see `GuestFamilySupport.mergers`."""
        return LINUX_MERGERS

    def recognise(self, disk: DiskContents) -> ImportPlan:
        """Find the system on a disk; see `GuestFamilySupport.recognise`."""
        return recognise(disk)

    def import_edits(self, files: FileAccess) -> tuple[TreeEdit, ...]:
        """Return the guest tools; see `GuestFamilySupport.import_edits`."""
        return tool_edits(files)

    def capture_exclusions(self) -> tuple[Exclusion, ...]:
        """Return what captures leave out; see `GuestFamilySupport.capture_exclusions`."""
        return CAPTURE_EXCLUSIONS

    def generalize(self, files: FileAccess, generalization: Generalization) -> tuple[TreeEdit, ...]:
        """Return what takes the identity away; see `GuestFamilySupport.generalize`."""
        return identity_edits(files, generalization)

    def post_merge(self, files: FileAccess) -> tuple[TreeEdit, ...]:
        """Return links of alternatives, and what rebuilds left-out files at the first start."""
        return (*link_edits(files), *first_boot_edits(files))

    def boot_plan(self, files: FileAccess, request: BootRequest) -> BootPlan:
        """Work out the boot; see `GuestFamilySupport.boot_plan`."""
        return boot_plan(files, request)
