"""Windows guests: what is found on a disk, what is left out, what is refused."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence

import pytest

from sekiso.disks.volume import VolumeFacts
from sekiso.errors import UnsupportedInputError
from sekiso.guests.base import GuestFamilySupport
from sekiso.guests.booting import BootRequest, DiskIdentifiers, Generalization
from sekiso.guests.exclusions import ExclusionMatcher
from sekiso.guests.importing import DiskContents, DiskVolume
from sekiso.guests.merging import LayerChange
from sekiso.guests.windows import CAPTURE_EXCLUSIONS, IMPORT_EXCLUSIONS, HiveGuard, WindowsSupport
from sekiso.model.layer import GuestFamily
from sekiso.model.machine import Generation
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.wim.blobs import BlobSink
from sekiso.wim.tree import Node, new_root

HIVE = "/Windows/System32/config/SOFTWARE"


class MemoryVolume:
    """A volume of a few files; one whose content is None is there but cannot be read."""

    def __init__(self, files: dict[str, bytes | None], filesystem: str = "ntfs") -> None:
        self._files = {path.lower(): content for path, content in files.items()}
        self.facts = VolumeFacts(filesystem, "0123456789ABCDEF", "System", 1 << 30, 1 << 20, clean=True)

    @property
    def dropped(self) -> Sequence[str]:
        return ()

    def read_file(self, path: str, *, limit_bytes: int = 64 << 20) -> bytes | None:
        if path.lower() not in self._files:
            return None
        content = self._files[path.lower()]
        if content is None or len(content) > limit_bytes:
            raise UnsupportedInputError(path=path, reason="Too long.", remedy="")
        return content

    def is_directory(self, path: str) -> bool:
        return False

    def tree(
        self,
        sink: BlobSink,
        *,
        only: Collection[str] | None = None,
        exclude: Container[str] = (),
        progress: Progress = NO_PROGRESS,
    ) -> Node:
        return new_root()


SYSTEM = MemoryVolume(
    {"/Windows/System32/ntoskrnl.exe": None, "/WINDOWS/system32/config/SYSTEM": b"regf" * 9}
)


def volume(
    index: int, held: MemoryVolume | None = None, *, signature: str = "", type_id: str = "", problem: str = ""
) -> DiskVolume:
    found = signature or ("" if held is None else held.facts.filesystem)
    return DiskVolume(
        index, index << 20, 1 << 20, volume=held, signature=found, type_id=type_id, problem=problem
    )


def test_usual_disk_of_generation_2() -> None:
    disk = DiskContents(
        "win.vhdx",
        "gpt",
        (
            volume(1, signature="vfat", type_id="c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
            volume(2, type_id="e3c9e316-0b5c-4db8-817d-f92df00215ae"),
            volume(3, SYSTEM, type_id="ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),
            volume(4, MemoryVolume({}), type_id="de94bba4-06d1-4d40-a16a-bfd50179d6ac"),
            volume(5, MemoryVolume({"/data": b"x"})),
        ),
    )
    plan = WindowsSupport().recognise(disk)
    facts = plan.require("win.vhdx")
    assert (facts.generation, facts.root_filesystem, facts.boot_loader) == (Generation.TWO, "ntfs", "bootmgr")
    assert [(mount.index, mount.mount_point) for mount in plan.mounts] == [(3, "/")]
    reasons = {item.index: item.reason for item in plan.skipped}
    assert reasons.keys() == {1, 2, 4, 5}
    assert "EFI" in reasons[1]
    assert "recovery" in reasons[4]
    assert "holds no Windows" in reasons[5]
    assert plan.exclusions == IMPORT_EXCLUSIONS
    assert any("data volume" in note for note in plan.notes)


def test_usual_disk_of_generation_1() -> None:
    reserved = MemoryVolume({"/bootmgr": None, "/Boot/BCD": b"regf"})
    plan = WindowsSupport().recognise(DiskContents("w", "mbr", (volume(1, reserved), volume(2, SYSTEM))))
    assert plan.require("w").generation is Generation.ONE
    assert "system reserved" in plan.skipped[0].reason


def test_volume_without_a_partition_table() -> None:
    plan = WindowsSupport().recognise(DiskContents("w", "none", (volume(0, SYSTEM),)))
    assert plan.require("w").generation is Generation.ONE
    assert any("guess" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("volumes", "code"),
    [
        ((), "no-os"),
        ((volume(1, MemoryVolume({"/Windows/System32/ntoskrnl.exe": None})),), "no-os"),
        ((volume(1, MemoryVolume({"/Windows/System32/ntoskrnl.exe": b"", HIVE: b""}, "ext4")),), "no-os"),
        ((volume(1, SYSTEM), volume(2, SYSTEM)), "several-systems"),
        ((volume(1, signature="BitLocker"),), "bitlocker"),
        ((volume(1, signature="ReFS"),), "refs"),
        ((volume(1, signature="ntfs", problem="It is dirty."),), "dirty"),
    ],
)
def test_refused_disks(volumes: tuple[DiskVolume, ...], code: str) -> None:
    plan = WindowsSupport().recognise(DiskContents("w", "gpt", volumes))
    assert [refusal.code for refusal in plan.refusals] == [code]
    assert all(refusal.reason and refusal.remedy for refusal in plan.refusals)
    with pytest.raises(UnsupportedInputError):
        plan.require("w")


@pytest.mark.parametrize(
    ("path", "imported", "captured"),
    [
        ("/pagefile.sys", False, False),
        ("/PageFile.SYS", False, False),
        ("/System Volume Information/tracking.log", False, False),
        ("/$Recycle.Bin/S-1-5-18/desktop.ini", False, False),
        ("/Windows/Temp", True, True),
        ("/windows/temp/x/y", False, False),
        ("/Users/ann/AppData/Local/Temp/setup.log", False, False),
        ("/Users/ann/AppData/Local/Tempo", True, True),
        ("/Windows/Prefetch/A.pf", True, False),
        ("/Windows/System32/winevt/Logs/System.evtx", True, False),
        ("/Program Files/App/pagefile.sys", True, True),
        (HIVE, True, True),
    ],
)
def test_exclusions(path: str, imported: bool, captured: bool) -> None:
    for rules, kept in ((IMPORT_EXCLUSIONS, imported), (CAPTURE_EXCLUSIONS, captured)):
        assert (ExclusionMatcher(rules, case_sensitive=False).match(path) is None) is kept


def test_every_exclusion_says_why_and_by_which_rule() -> None:
    assert len({rule.pattern for rule in CAPTURE_EXCLUSIONS}) == len(CAPTURE_EXCLUSIONS)
    for rule in CAPTURE_EXCLUSIONS:
        assert rule.pattern.startswith("/")
        assert rule.reason.endswith(".")
        assert rule.source


def test_hives_are_guarded() -> None:
    guard = HiveGuard()
    assert guard.claims(HIVE.lower())
    assert guard.claims("/Users/ann/NTUSER.DAT")
    assert not guard.claims("/Windows/System32/config/SOFTWARE.LOG1")
    assert guard.merge(HIVE, b"os", ()).content == b"os"
    assert guard.merge(HIVE, b"os", [LayerChange("app", b"os", b"new")]).content == b"new"
    assert guard.merge(HIVE, None, [LayerChange("app", None, b"new")]).content == b"new"
    same = [LayerChange("a", b"os", b"new"), LayerChange("b", b"os", b"new"), LayerChange("c", b"os", b"os")]
    assert guard.merge(HIVE, b"os", same).content == b"new"
    for changes in (
        [LayerChange("a", b"os", b"one"), LayerChange("b", b"os", b"two")],
        [LayerChange("a", b"older os", b"one")],
    ):
        with pytest.raises(UnsupportedInputError, match="changes the registry"):
            guard.merge(HIVE, b"os", changes)


def test_what_needs_registry_or_boot_files_is_refused() -> None:
    support: GuestFamilySupport = WindowsSupport()
    assert (support.family, support.case_sensitive) == (GuestFamily.WINDOWS, False)

    class Files:
        def read(self, path: str) -> bytes | None:
            return None

        def exists(self, path: str) -> bool:
            return False

        def list(self, path: str) -> Sequence[str]:
            return ()

        def link_target(self, path: str) -> str | None:
            return None

    files = Files()
    assert support.import_edits(files) == support.post_merge(files) == ()
    assert support.generalize(files, Generalization.NONE) == ()
    request = BootRequest(Generation.TWO, DiskIdentifiers(1, "", "", "", "", "", 2))
    for call in (
        lambda: support.generalize(files, Generalization.OFFLINE),
        lambda: support.boot_plan(files, request),
    ):
        with pytest.raises(UnsupportedInputError, match="composed as a data volume"):
            call()


def test_pending_servicing() -> None:
    support = WindowsSupport()
    assert support.pending_work({"/Windows/WinSxS/pending.xml": b"<x/>"}.get) != ()
    assert support.pending_work({}.get) == ()
