"""Finding a Linux system on a disk."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence

import pytest

from sekiso.disks.volume import VolumeFacts
from sekiso.errors import UnsupportedInputError
from sekiso.guests.access import MemoryFiles
from sekiso.guests.exclusions import ExclusionMatcher
from sekiso.guests.importing import DiskContents, DiskVolume
from sekiso.guests.linux import LinuxSupport
from sekiso.guests.linux.fstab import parse_fstab, rewrite_fstab
from sekiso.guests.linux.recognise import find_device, os_release
from sekiso.model.machine import Generation
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.wim.blobs import BlobSink
from sekiso.wim.tree import Node, new_root

SUPPORT = LinuxSupport()
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
OS_RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'


class MemoryVolume:
    """A volume whose files are in memory."""

    dropped: Sequence[str] = ()

    def __init__(self, uuid: str, files: dict[str, bytes], links: dict[str, str] | None = None) -> None:
        self.facts = VolumeFacts("ext4", uuid, f"label-{uuid}", 1 << 30, 1 << 20, clean=True)
        self.files = MemoryFiles(files, links)

    def read_file(self, path: str, *, limit_bytes: int = 64 << 20) -> bytes | None:
        del limit_bytes
        return self.files.read(path)

    def is_directory(self, path: str) -> bool:
        return self.files.exists(path) and self.files.read(path) is None

    def tree(
        self,
        sink: BlobSink,
        *,
        only: Collection[str] | None = None,
        exclude: Container[str] = (),
        progress: Progress = NO_PROGRESS,
    ) -> Node:
        del sink, only, exclude, progress
        return new_root()


def root_volume(
    fstab: str = "UUID=u1 / ext4 defaults 0 1\n", more: dict[str, bytes] | None = None
) -> MemoryVolume:
    files = {"/etc/fstab": fstab.encode(), "/usr/lib/os-release": OS_RELEASE, "/var/lib/dpkg/status": b""}
    return MemoryVolume("u1", {**files, **(more or {})}, {"/etc/os-release": "../usr/lib/os-release"})


def partition(
    index: int,
    volume: MemoryVolume | None = None,
    *,
    signature: str = "ext4",
    type_id: str = "",
    name: str = "",
    problem: str = "",
) -> DiskVolume:
    return DiskVolume(
        index,
        index << 20,
        1 << 30,
        type_id=type_id,
        partition_guid=f"g{index}",
        name=name,
        signature=signature,
        volume=volume,
        problem=problem,
    )


def disk(*volumes: DiskVolume, boot_sectors: bytes = b"") -> DiskContents:
    return DiskContents("debian.vhdx", "gpt", volumes, boot_sectors)


def test_a_generation_2_disk_is_recognised() -> None:
    plan = SUPPORT.recognise(
        disk(partition(1, type_id=ESP, signature="vfat"), partition(2, root_volume(), name="root"))
    )
    assert plan.os_name == "Debian GNU/Linux 12 (bookworm)"
    assert [(m.index, m.mount_point) for m in plan.mounts] == [(2, "/")]
    assert [s.index for s in plan.skipped] == [1]
    facts = plan.require("debian.vhdx")
    assert (facts.generation, facts.root_uuid, facts.root_filesystem) == (Generation.TWO, "u1", "ext4")


def test_a_generation_1_disk_with_grub_is_recognised() -> None:
    plan = SUPPORT.recognise(disk(partition(1, root_volume()), boot_sectors=b"\xeb\x63GRUB \x00"))
    facts = plan.require("x")
    assert (facts.generation, facts.boot_loader) == (Generation.ONE, "grub")


def test_missing_boot_files_are_noted_early() -> None:
    plan = SUPPORT.recognise(disk(partition(1, root_volume(more={"/usr/lib/shim/shimx64.efi.signed": b"x"}))))
    assert plan.notes == ("Generation 1 images cannot start from this layer: the system lacks grub-pc-bin.",)


def test_volumes_of_fstab_become_one_tree_by_depth() -> None:
    fstab = (
        "UUID=u1 / ext4 defaults 0 1\n/dev/sda4 /home/shared ext4 defaults\nPARTUUID=g3 /home ext4 defaults\n"
        "LABEL=label-boot /boot ext4 defaults\nUUID=AAAA-BBBB /boot/efi vfat umask=0077\n"
        "tmpfs /tmp tmpfs defaults\nserver:/x /srv nfs defaults\nUUID=sw none swap sw\n"
        "UUID=gone /media/usb ext4 noauto\n"
    )
    plan = SUPPORT.recognise(
        disk(
            partition(1, type_id=ESP, signature="vfat"),
            partition(2, root_volume(fstab)),
            partition(3, MemoryVolume("home", {})),
            partition(4, MemoryVolume("shared", {})),
            partition(5, MemoryVolume("boot", {})),
            partition(6, signature="swap"),
        )
    )
    assert plan.refusals == ()
    assert [(m.index, m.mount_point) for m in plan.mounts] == [
        (2, "/"),
        (5, "/boot"),
        (3, "/home"),
        (4, "/home/shared"),
    ]
    assert {s.index for s in plan.skipped} == {1, 6}
    assert any("/media/usb" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("volume", "code"),
    [
        (partition(1, signature="LVM2_member"), "lvm"),
        (partition(1, signature="crypto_LUKS"), "luks"),
        (partition(1, signature="btrfs"), "btrfs"),
        (partition(1, signature="xfs"), "xfs"),
        (partition(1, signature="linux_raid_member"), "raid"),
        (partition(1, signature="ext4", problem="It was not shut down cleanly."), "dirty"),
        (partition(1, signature="ntfs"), "no-os"),
        (partition(1, MemoryVolume("u", {})), "no-os"),
    ],
)
def test_disks_that_cannot_be_imported_say_why(volume: DiskVolume, code: str) -> None:
    plan = SUPPORT.recognise(disk(volume))
    assert [r.code for r in plan.refusals] == [code]
    assert plan.refusals[0].remedy
    with pytest.raises(UnsupportedInputError, match=r"debian\.vhdx"):
        plan.require("debian.vhdx")


def test_a_volume_that_must_be_there_is_missed() -> None:
    fstab = "UUID=u1 / ext4 defaults 0 1\nUUID=elsewhere /data ext4 defaults 0 2\n"
    plan = SUPPORT.recognise(disk(partition(1, root_volume(fstab))))
    assert [r.code for r in plan.refusals] == ["missing-volume"]
    assert plan.boot is None


def test_a_mounted_volume_that_is_dirty_is_named() -> None:
    fstab = "UUID=u1 / ext4 defaults 0 1\n/dev/sda2 /home ext4 defaults 0 2\n"
    plan = SUPPORT.recognise(
        disk(partition(1, root_volume(fstab)), partition(2, signature="ext4", problem="Not clean."))
    )
    assert [r.code for r in plan.refusals] == ["dirty"]


def test_two_systems_on_one_disk_are_refused() -> None:
    plan = SUPPORT.recognise(disk(partition(1, root_volume()), partition(2, root_volume())))
    assert [r.code for r in plan.refusals] == ["several-systems"]


def test_other_families_of_linux_are_refused_by_name() -> None:
    files = {"/etc/fstab": b"", "/etc/os-release": b'PRETTY_NAME="Fedora Linux 41"\n'}
    plan = SUPPORT.recognise(disk(partition(1, MemoryVolume("f", files))))
    assert [r.code for r in plan.refusals] == ["not-debian"]
    assert "Fedora Linux 41" in plan.refusals[0].reason


@pytest.mark.parametrize(
    ("spec", "index"),
    [
        ("UUID=U1", 1),
        ('UUID="u1"', 1),
        ("LABEL=label-u1", 1),
        ("PARTUUID=G1", 1),
        ("PARTLABEL=root", 1),
        ("/dev/disk/by-uuid/u1", 1),
        ("/dev/sda1", 1),
        ("/dev/nvme0n1p1", 1),
        ("/dev/sdb1", None),
        ("/dev/mapper/vg-root", None),
        ("UUID=other", None),
        ("NONSENSE=x", None),
    ],
)
def test_devices_of_fstab(spec: str, index: int | None) -> None:
    found = find_device(disk(partition(1, root_volume(), name="root")), spec)
    assert (found.index if found else None) == index


def test_os_release_is_read_as_a_shell_would() -> None:
    text = b'NAME=\'A B\'\nVERSION="1\\"2"\n# c\nbad line\nID=x\nBROKEN="open\n'
    assert os_release(text) == {"NAME": "A B", "VERSION": '1"2', "ID": "x", "BROKEN": "open"}


def test_fstab_escapes_and_comments() -> None:
    (entry,) = parse_fstab(b"# c\nUUID=x /with\\040space/ ext4\nshort line\n")
    assert (entry.mount_point, entry.options) == ("/with space", ("defaults",))


def test_fstab_is_written_for_the_new_disk() -> None:
    old = (
        b"# comment\nUUID=old / ext4 noatime 0 1\nUUID=b /boot ext4 defaults 0 2\n"
        b"UUID=A-B /boot/efi vfat x 0 1\n"
        b"UUID=s none swap sw 0 0\n/swap2 none swap sw 0 0\ntmpfs /tmp tmpfs size=1G 0 0\n"
        b"server:/x /srv nfs defaults 0 0\nLABEL=usb /media/usb vfat nofail 0 0\n"
        b"/srv/a /srv/b none bind 0 0\n"
    )
    text, dropped = rewrite_fstab(old, root_uuid="new", esp_uuid="1234-5678")
    assert text.decode().split("\n") == [
        "UUID=new / ext4 noatime 0 1",
        "UUID=1234-5678 /boot/efi vfat umask=0077,nofail 0 1",
        "# comment",
        "/swap2 none swap sw 0 0",
        "tmpfs /tmp tmpfs size=1G 0 0",
        "server:/x /srv nfs defaults 0 0",
        "LABEL=usb /media/usb vfat nofail 0 0",
        "/srv/a /srv/b none bind 0 0",
        "",
    ]
    assert len(dropped) == 4
    again, _ = rewrite_fstab(text, root_uuid="new", esp_uuid="1234-5678")
    assert again == text


@pytest.mark.parametrize(
    ("path", "excluded"),
    [
        ("/proc/1/status", True),
        ("/proc", False),
        ("/tmp/x", True),
        ("/var/log/journal/abc/system.journal", True),
        ("/var/log/journal", False),
        ("/var/log/nginx/access.log", False),
        ("/etc/machine-id", True),
        ("/etc/ssh/ssh_host_rsa_key.pub", True),
        ("/etc/ssh/sshd_config", False),
        ("/etc/passwd-", True),
        ("/etc/passwd", False),
        ("/var/lib/dpkg/status-old", True),
        ("/var/lib/dpkg/status", False),
        ("/home/lost+found", True),
        ("/home/a/lost+found", False),
        ("/var/cache/apt/archives/x.deb", True),
        ("/var/cache/apt/archives/partial", False),
        ("/var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_InRelease", True),
        ("/var/lib/apt/lists/partial", False),
        ("/boot/grub/grub.cfg", True),
        ("/home/u/.bash_history", True),
    ],
)
def test_what_a_capture_leaves_out(path: str, excluded: bool) -> None:
    found = ExclusionMatcher(SUPPORT.capture_exclusions()).match(path)
    assert (found is not None) is excluded
    assert found is None or (found.reason and found.source)


def test_an_import_keeps_what_belongs_to_the_machine() -> None:
    plan = SUPPORT.recognise(disk(partition(1, root_volume())))
    matcher = ExclusionMatcher(plan.exclusions)
    assert matcher.match("/etc/machine-id") is None
    assert matcher.match("/run/x") is not None
