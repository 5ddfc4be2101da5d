r"""Windows guests, as far as no registry, boot configuration and boot files are needed.

The content of an NTFS system volume can be imported, captured and composed as a data volume. Making a disk
that starts needs merged registry hives, a boot configuration store and boot files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sekiso.disks.volume import Volume
from sekiso.errors import UnsupportedInputError
from sekiso.guests.booting import BootPlan, BootRequest, Generalization
from sekiso.guests.edits import FileAccess, TreeEdit
from sekiso.guests.exclusions import Exclusion
from sekiso.guests.importing import (
    DiskContents,
    DiskVolume,
    ImportPlan,
    MountedVolume,
    Refusal,
    SkippedVolume,
)
from sekiso.guests.merging import LayerChange, Merged, StructuredMerger
from sekiso.model.layer import BootFacts, GuestFamily
from sekiso.model.machine import Generation

NOT_BOOTABLE = (
    "Composing a bootable Windows disk comes with registry merge and boot files; NTFS content can be "
    "imported, captured and composed as a data volume."
)
_REMEDY = "Compose it as a data volume, or use Linux layers for a disk that starts."

#: Files that tell a Windows system volume from one that only has a folder of that name.
SYSTEM_FILES = ("/Windows/System32/ntoskrnl.exe", "/Windows/System32/config/SYSTEM")
_PENDING_FILE = "/Windows/WinSxS/pending.xml"
_PROBE_BYTES = 1

_DISM = "Microsoft: DISM configuration list (WimScript.ini), [ExclusionList] by default"
_SYSPREP = "Microsoft: Windows Setup, files it makes again"
_MOUNT = "Microsoft: Volume Shadow Copy Service and NTFS"


def _exclusions(rows: Sequence[tuple[str, str, str]]) -> tuple[Exclusion, ...]:
    return tuple(Exclusion(pattern, reason, source) for pattern, reason, source in rows)


#: What no layer of Windows holds.
IMPORT_EXCLUSIONS = _exclusions(
    (
        ("/pagefile.sys", "Swapped-out memory of the running machine; made again at its start.", _DISM),
        ("/swapfile.sys", "Swapped-out memory of store apps; made again at its start.", _DISM),
        ("/hiberfil.sys", "Memory of a hibernated machine; must never be resumed elsewhere.", _DISM),
        ("/System Volume Information", "Restore points and indexes of one volume.", _DISM),
        ("/$Recycle.Bin", "Deleted files of the users of one machine.", _DISM),
        ("/RECYCLER", "Deleted files of the users of one machine (before Windows Vista).", _DISM),
        ("/Windows/CSC", "Cache of offline files, bound to one machine.", _DISM),
        ("/$ntfs.log", "Journal of the file system.", _DISM),
        ("/DumpStack.log", "Place for memory dumps of one machine.", "Microsoft: memory dump file options"),
        (
            "/DumpStack.log.tmp",
            "Place for memory dumps of one machine.",
            "Microsoft: memory dump file options",
        ),
        ("/Windows/MEMORY.DMP", "Memory of a crashed machine.", "Microsoft: memory dump file options"),
        ("/Windows/Minidump/**", "Memory of a crashed machine.", "Microsoft: memory dump file options"),
        ("/Windows/LiveKernelReports/**", "Memory of a machine in trouble.", "Microsoft: live kernel dumps"),
        ("/Windows/Temp/**", "Temporary files.", "Microsoft: Disk Cleanup, temporary files"),
        ("/Users/*/AppData/Local/Temp/**", "Temporary files.", "Microsoft: Disk Cleanup, temporary files"),
        (
            "/Windows/ServiceProfiles/*/AppData/Local/Temp/**",
            "Temporary files of services.",
            "Microsoft: Disk Cleanup, temporary files",
        ),
    )
)

#: What a capture of a packaging machine leaves out besides: traces of its running, not of the installation.
CAPTURE_EXCLUSIONS = (
    *IMPORT_EXCLUSIONS,
    *_exclusions(
        (
            ("/Windows/Prefetch/**", "Says what ran on the packaging machine.", "Microsoft: SysMain service"),
            ("/Windows/bootstat.dat", "Says how the last start went.", "Microsoft: boot status data log"),
            (
                "/Windows/SoftwareDistribution/Download/**",
                "Downloaded updates, fetched again when needed.",
                "Microsoft: Windows Update, reset of its components",
            ),
            (
                "/Windows/SoftwareDistribution/DataStore/Logs/**",
                "Journal of the update database of one machine.",
                "Microsoft: Windows Update, reset of its components",
            ),
            (
                "/Windows/System32/winevt/Logs/**",
                "Event logs of the packaging machine.",
                "Microsoft: Windows Event Log",
            ),
            (
                "/Windows/System32/LogFiles/WMI/RtBackup/**",
                "Traces of the running machine.",
                "Microsoft: Event Tracing for Windows",
            ),
            (
                "/Windows/System32/sru/**",
                "Which programs used how much of the packaging machine.",
                "Microsoft: System Resource Usage Monitor",
            ),
            (
                "/ProgramData/Microsoft/Windows/WER/**",
                "Error reports of the packaging machine.",
                "Microsoft: Windows Error Reporting",
            ),
            (
                "/ProgramData/Microsoft/Search/Data/**",
                "Search index of one machine, built again.",
                "Microsoft: Windows Search",
            ),
            (
                "/ProgramData/Microsoft/Windows Defender/Scans/**",
                "Results of virus scans of one machine.",
                "Microsoft: Defender Antivirus",
            ),
            (
                "/Users/*/AppData/Local/Microsoft/Windows/INetCache/**",
                "Cache of web content.",
                "Microsoft: Disk Cleanup, temporary internet files",
            ),
            ("/$WINDOWS.~BT", "Working folder of Windows Setup.", _SYSPREP),
            ("/$WinREAgent", "Working folder of an update of the recovery environment.", _SYSPREP),
        )
    ),
)

_HIVES = re.compile(
    r"/windows/system32/config/(?:bbi|components|default|drivers|elam|sam|security|software|system)"
    r"|/windows/appcompat/programs/amcache\.hve"
    r"|/users/[^/]+/ntuser\.(?:dat|man)"
    r"|/users/[^/]+/appdata/local/microsoft/windows/usrclass\.dat",
    re.IGNORECASE,
)

#: What a partition is for, by its type: GPT GUID or MBR number.
_TYPES = {
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "The EFI system partition is made anew for every image.",
    "ef": "The EFI system partition is made anew for every image.",
    "e3c9e316-0b5c-4db8-817d-f92df00215ae": "The Microsoft reserved partition holds no files.",
    "de94bba4-06d1-4d40-a16a-bfd50179d6ac": "The recovery partition belongs to one machine.",
    "27": "The recovery partition belongs to one machine.",
}


class HiveGuard:
    """Stands in for the merge of registry hives: passes what needs no merge, refuses what does.

    A later layer's hive must never silently replace another layer's.
    """

    @property
    def name(self) -> str:
        """`registry`."""
        return "registry"

    def claims(self, path: str) -> bool:
        """Whether the file is a registry hive that layers change."""
        return _HIVES.fullmatch(path) is not None

    def merge(self, path: str, current: bytes | None, changes: Sequence[LayerChange]) -> Merged:
        """Return the hive of the one layer that changed it; see `StructuredMerger.merge`.

        Raises:
            UnsupportedInputError: two layers changed it, or one was captured against another state of it.
        """
        result = current
        for change in changes:
            if change.content in (change.base, result):
                continue
            if result != change.base:
                raise UnsupportedInputError(
                    path=path,
                    reason=f"{change.layer} changes the registry, and so does another layer. {NOT_BOOTABLE}",
                    remedy="Use one layer that changes the registry.",
                )
            result = change.content
        return Merged(result)


class WindowsSupport:
    """Support of Windows; see the module's text for what it does not do."""

    @property
    def family(self) -> GuestFamily:
        """Windows."""
        return GuestFamily.WINDOWS

    @property
    def case_sensitive(self) -> bool:
        """Windows does not tell names apart by case."""
        return False

    @property
    def root_filesystems(self) -> tuple[str, ...]:
        """Root volumes that can be read."""
        return ("ntfs",)

    def pending_work(self, read: Callable[[str], bytes | None]) -> tuple[str, ...]:
        """Return unfinished servicing; see `GuestFamilySupport.pending_work`.

        What only the registry knows (renames at the next start) is not seen here.
        """
        if read(_PENDING_FILE) is None:
            return ()
        return ("Windows has servicing work that is finished at the next start (WinSxS/pending.xml).",)

    def mergers(self) -> Sequence[StructuredMerger]:
        """Return the guard of the registry hives."""
        return (HiveGuard(),)

    def recognise(self, disk: DiskContents) -> ImportPlan:
        """Find Windows on a disk; see `GuestFamilySupport.recognise`."""
        return recognise(disk)

    def import_edits(self, files: FileAccess) -> tuple[TreeEdit, ...]:
        """Add nothing: a service is registered in the registry."""
        return ()

    def capture_exclusions(self) -> tuple[Exclusion, ...]:
        """Return what captures leave out."""
        return CAPTURE_EXCLUSIONS

    def generalize(self, files: FileAccess, generalization: Generalization) -> tuple[TreeEdit, ...]:
        """Do nothing for `NONE`; anything else lies in the registry.

        Raises:
            UnsupportedInputError: a generalized image was asked for.
        """
        if generalization is Generalization.NONE:
            return ()
        raise UnsupportedInputError(path="The Windows image", reason=NOT_BOOTABLE, remedy=_REMEDY)

    def post_merge(self, files: FileAccess) -> tuple[TreeEdit, ...]:
        """Add nothing: no file of Windows outside the registry derives from the whole tree."""
        return ()

    def boot_plan(self, files: FileAccess, request: BootRequest) -> BootPlan:
        """Refuse.

        Raises:
            UnsupportedInputError: always.
        """
        raise UnsupportedInputError(path="The Windows image", reason=NOT_BOOTABLE, remedy=_REMEDY)


def is_windows_volume(volume: Volume) -> bool:
    r"""Whether a volume holds Windows itself, by what lies in \Windows\System32.

    Raises:
        DamagedInputError: the volume is damaged.
    """
    return volume.facts.filesystem == "ntfs" and all(_exists(volume, path) for path in SYSTEM_FILES)


def recognise(disk: DiskContents) -> ImportPlan:
    """Find the Windows system on a disk; see `GuestFamilySupport.recognise`.

    Raises:
        DamagedInputError: a volume is damaged.
    """
    systems = [(item, item.volume) for item in disk.volumes if item.volume and is_windows_volume(item.volume)]
    if len(systems) != 1:
        return ImportPlan("", (), (), None, (), _why_none(disk, [item for item, _ in systems]))
    root, volume = systems[0]
    generation, notes = guess_generation(disk.scheme)
    return ImportPlan(
        os_name="Windows",
        mounts=(
            MountedVolume(root.index, "/", "It holds \\Windows\\System32 with its kernel and registry."),
        ),
        skipped=tuple(_skipped(item) for item in disk.volumes if item.index != root.index),
        boot=BootFacts(
            generation=generation,
            boot_loader="bootmgr",
            root_uuid=volume.facts.uuid,
            root_label=volume.facts.label,
            root_filesystem="ntfs",
            root_size_bytes=volume.facts.size_bytes,
            used_bytes=volume.facts.used_bytes,
        ),
        exclusions=IMPORT_EXCLUSIONS,
        notes=(*notes, NOT_BOOTABLE),
    )


def guess_generation(scheme: str) -> tuple[Generation, tuple[str, ...]]:
    """Return the generation a disk starts as, by its partition scheme (`gpt`, `mbr`, `none`), and notes.

    Source: Windows starts from GPT with UEFI and from MBR with BIOS only.
    """
    if scheme == "gpt":
        return Generation.TWO, ()
    if scheme == "mbr":
        return Generation.ONE, ()
    note = "The disk has no partition table, so its generation is a guess: 1."
    return Generation.ONE, (note,)


def _exists(volume: Volume, path: str) -> bool:
    try:
        return volume.read_file(path, limit_bytes=_PROBE_BYTES) is not None
    except UnsupportedInputError:
        return True  # longer than the probe, or compressed by the overlay filter: it is there


def _why_none(disk: DiskContents, systems: Sequence[DiskVolume]) -> tuple[Refusal, ...]:
    if systems:
        numbers = ", ".join(str(item.index) for item in systems)
        reason = f"The disk holds more than one Windows system: partitions {numbers}."
        return (Refusal("several-systems", reason, "Import a disk with one system only."),)
    problems = tuple(refusal for item in disk.volumes if (refusal := _problem(item)) is not None)
    return problems or (
        Refusal(
            "no-os",
            "No Windows was found on the disk: no NTFS volume has a kernel in \\Windows\\System32.",
            "Choose the disk that the machine starts from.",
        ),
    )


def _problem(item: DiskVolume) -> Refusal | None:
    """Say why a volume that may hold Windows cannot be read; None if it can be, or is something else."""
    if item.signature == "BitLocker":
        return Refusal(
            "bitlocker",
            f"Partition {item.index} is encrypted with BitLocker.",
            "Turn BitLocker off in the guest, wait until it is decrypted, shut it down, and import it again.",
        )
    if item.signature == "ReFS":
        return Refusal(
            "refs",
            f"Partition {item.index} is formatted with ReFS.",
            "Install Windows on NTFS, then import it.",
        )
    if item.signature == "ntfs" and item.problem:
        return Refusal(
            "dirty",
            f"Partition {item.index} cannot be read: {item.problem}",
            "Start the machine once, shut it down completely, then import the disk again.",
        )
    return None


def _skipped(item: DiskVolume) -> SkippedVolume:
    reason = _TYPES.get(item.type_id)
    if reason is None and item.volume is not None and _exists(item.volume, "/bootmgr"):
        reason = "The system reserved partition holds boot files, which are made anew for every image."
    if reason is None:
        reason = f"It holds no Windows ({item.signature or 'no known content'}); an image has one volume."
    return SkippedVolume(item.index, reason)
