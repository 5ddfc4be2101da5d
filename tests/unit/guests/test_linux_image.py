"""What the Linux family does to a composed tree: tools, identity, alternatives, boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekiso.errors import UnsupportedInputError
from sekiso.guests.access import FolderFiles, MemoryFiles
from sekiso.guests.booting import BootRequest, DiskIdentifiers, Generalization, PartitionRole, PartitionScheme
from sekiso.guests.edits import Remove, WriteFile, WriteSymlink
from sekiso.guests.linux import LinuxSupport
from sekiso.guests.linux.dpkg import package_list, packages, unmet
from sekiso.guests.linux.grub_bios import MODULES, dependencies
from sekiso.guests.linux.grub_efi import vendor
from sekiso.guests.linux.kernels import assignments, grub_settings
from sekiso.guests.linux.versions import compare_versions
from sekiso.model.machine import Generation

SUPPORT = LinuxSupport()
IDS = DiskIdentifiers(1, "d", "e", "m", "r", "11111111-2222-3333-4444-555555555555", 0xDEADBEEF)
GRUB_EFI = b"MZ....\x00/EFI/debian\x00...."


def debian(**more: bytes) -> dict[str, bytes]:
    files = {
        "/boot/vmlinuz-6.1.0-9-amd64": b"k",
        "/boot/initrd.img-6.1.0-9-amd64": b"i",
        "/boot/vmlinuz-6.1.0-10-amd64": b"k",
        "/boot/initrd.img-6.1.0-10-amd64": b"i",
        "/boot/vmlinuz-6.9.0-1-amd64": b"no initramfs",
        "/boot/vmlinuz-evil\n}": b"k",
        "/boot/initrd.img-evil\n}": b"i",
        "/usr/lib/modules/evil\n}/x": b"",
        "/usr/lib/modules/6.1.0-9-amd64/modules.dep": b"",
        "/usr/lib/modules/6.1.0-10-amd64/modules.dep": b"",
        "/usr/lib/systemd/systemd": b"",
        "/usr/lib/shim/shimx64.efi.signed": b"shim",
        "/usr/lib/shim/mmx64.efi.signed": b"mm",
        "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": GRUB_EFI,
        "/etc/default/grub": b'GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX="console=ttyS0 root=UUID=old"\n'
        b"GRUB_CMDLINE_LINUX_DEFAULT=quiet\n",
        "/etc/initramfs-tools/initramfs.conf": b"MODULES=most\n",
        "/usr/lib/os-release": b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "/etc/ld.so.cache": b"cache",
    }
    return {**files, **more}


def tree(**more: bytes) -> MemoryFiles:
    return MemoryFiles(
        debian(**{k.replace("__", "/"): v for k, v in more.items()}),
        {"/lib": "usr/lib", "/etc/os-release": "../usr/lib/os-release"},
    )


# --- boot ---


def test_generation_2_has_the_guests_own_signed_loader() -> None:
    plan = SUPPORT.boot_plan(tree(), BootRequest(Generation.TWO, IDS))
    assert plan.scheme is PartitionScheme.GPT
    assert [p.role for p in plan.partitions] == [PartitionRole.ESP, PartitionRole.ROOT]
    assert plan.partitions[-1].size_bytes is None
    assert plan.secure_boot
    files = {f.path: f.content for f in plan.esp_files}
    assert files["/EFI/BOOT/BOOTX64.EFI"] == b"shim"
    assert files["/EFI/BOOT/grubx64.efi"] == GRUB_EFI
    assert files["/EFI/debian/shimx64.efi"] == b"shim"
    assert IDS.root_filesystem.encode() in files["/EFI/debian/grub.cfg"]
    assert not any("fbx64" in path for path in files)


def test_the_boot_menu_has_the_newest_kernel_first_and_the_administrators_options() -> None:
    plan = SUPPORT.boot_plan(tree(), BootRequest(Generation.TWO, IDS))
    edits = {e.path: e for e in plan.edits}
    menu = edits["/boot/grub/grub.cfg"]
    assert isinstance(menu, WriteFile)
    text = menu.content.decode()
    assert text.index("vmlinuz-6.1.0-10") < text.index("vmlinuz-6.1.0-9")
    assert "set timeout=0" in text
    linux = next(line for line in text.split("\n") if "vmlinuz-6.1.0-10" in line)
    assert linux.endswith(f"root=UUID={IDS.root_filesystem} ro console=ttyS0 quiet")
    assert "6.9.0" not in text
    assert "evil" not in text
    assert any("6.9.0" in w for w in plan.warnings)
    fstab = edits["/etc/fstab"]
    assert isinstance(fstab, WriteFile)
    assert b"UUID=DEAD-BEEF /boot/efi vfat" in fstab.content


@pytest.mark.parametrize(
    ("generation", "package"), [(1, "grub-pc-bin"), (2, "shim-signed grub-efi-amd64-signed")]
)
def test_without_boot_files_the_packages_are_named(generation: int, package: str) -> None:
    files = tree()
    for path in [p for p in files.files if "/shim/" in p or "/grub/x86" in p]:
        del files.files[path]
    with pytest.raises(UnsupportedInputError, match=package):
        SUPPORT.boot_plan(files, BootRequest(Generation(generation), IDS))


def test_without_a_kernel_nothing_can_start() -> None:
    files = tree()
    for path in [p for p in files.files if p.startswith("/boot/initrd")]:
        del files.files[path]
    with pytest.raises(UnsupportedInputError, match="no initramfs"):
        SUPPORT.boot_plan(files, BootRequest(Generation.TWO, IDS))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"__etc__initramfs-tools__conf.d__x": b"MODULES=dep\n"}, "MODULES=dep"),
        ({"__etc__initramfs-tools__conf.d__x": b"MODULES=list\n"}, "hv_storvsc"),
        ({"__boot__config-6.1.0-10-amd64": b"CONFIG_HYPERV_STORAGE is not set\n"}, "Hyper-V storage"),
    ],
)
def test_missing_hyper_v_drivers_are_told(more: dict[str, bytes], words: str) -> None:
    plan = SUPPORT.boot_plan(tree(**more), BootRequest(Generation.TWO, IDS))
    assert any(words in w for w in plan.warnings)


def test_an_initramfs_that_would_wait_for_swap_does_not() -> None:
    files = tree(**{"__etc__initramfs-tools__conf.d__resume": b"RESUME=UUID=gone\n"})
    plan = SUPPORT.boot_plan(files, BootRequest(Generation.TWO, IDS))
    menu = next(e for e in plan.edits if e.path == "/boot/grub/grub.cfg")
    assert isinstance(menu, WriteFile)
    assert b" noresume\n" in menu.content


def test_a_grub_without_a_built_in_folder_is_taken_for_debians() -> None:
    assert vendor(b"x/EFI/ubuntu\x00") == "ubuntu"
    assert vendor(b"") == "debian"


def test_module_names_cannot_lead_out_of_the_folder() -> None:
    found = dependencies("ext2: fshelp ../../etc/passwd\nfshelp:\n")
    assert "fshelp" in found
    assert not any("/" in name for name in found)
    assert set(MODULES) <= set(found)


def test_grub_settings_follow_variables_and_skip_commands() -> None:
    files = MemoryFiles(
        {
            "/etc/default/grub": b'GRUB_DISTRIBUTOR=`lsb_release -i`\nGRUB_CMDLINE_LINUX="a b"\nX=$(id)\n',
            "/etc/default/grub.d/50.cfg": b'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX c"\nGRUB_TIMEOUT=-1\n',
        }
    )
    settings = grub_settings(files, os_name="A 'quoted' {name}")
    assert settings.options == ("a", "b", "c")
    assert settings.timeout_s == 5
    assert settings.distributor == "A quoted name"
    assert assignments(b'A="open\nB=1 # c\n') == {"B": "1"}


# --- identity ---


def test_an_image_that_is_not_generalized_loses_only_shared_secrets() -> None:
    files = tree(**{"__var__lib__systemd__random-seed": b"x", "__etc__machine-id": b"id\n"})
    assert [e.path for e in SUPPORT.generalize(files, Generalization.NONE)] == [
        "/var/lib/systemd/random-seed"
    ]


def test_an_absent_machine_id_is_made_empty() -> None:
    (edit,) = SUPPORT.generalize(tree(), Generalization.NONE)
    assert edit == WriteFile("/etc/machine-id", b"", 0o444, reason="Filled in at the first start.")


def test_a_generalized_image_has_no_identity() -> None:
    files = tree(
        **{
            "__etc__machine-id": b"id\n",
            "__var__lib__dbus__machine-id": b"id\n",
            "__etc__hostname": b"old\n",
            "__etc__hosts": b"127.0.0.1 localhost\n127.0.1.1 old\n",
            "__etc__ssh__sshd_config": b"",
            "__etc__ssh__ssh_host_rsa_key": b"secret",
            "__etc__ssh__ssh_host_rsa_key.pub": b"",
            "__var__lib__dhcp__dhclient.eth0.leases": b"",
            "__var__log__journal__abc__system.journal": b"",
            "__etc__iscsi__initiatorname.iscsi": b"InitiatorName=iqn.1",
        }
    )
    edits = SUPPORT.generalize(files, Generalization.OFFLINE)
    assert all(e.reason for e in edits)
    files.apply(edits)
    assert files.read("/etc/machine-id") == b""
    assert files.links["/var/lib/dbus/machine-id"] == "/etc/machine-id"
    assert files.read("/etc/hosts") == b"127.0.0.1 localhost\n"
    assert files.read("/etc/iscsi/initiatorname.iscsi") == b"GenerateName=yes\n"
    for gone in ("/etc/hostname", "/etc/ssh/ssh_host_rsa_key", "/var/log/journal/abc"):
        assert not files.exists(gone)
    assert files.exists("/usr/lib/systemd/system/sekiso-ssh-keys.service")
    assert not [e for e in SUPPORT.generalize(files, Generalization.OFFLINE) if isinstance(e, Remove)]


# --- guest tools ---


def test_the_tools_are_installed_and_enabled() -> None:
    files = tree()
    files.apply(SUPPORT.import_edits(files))
    assert files.read("/usr/sbin/sekiso-finalize") == files.read("/usr/lib/sekiso/finalize")
    for name in ("report", "gate", "run-once", "finalize", "first-boot"):
        assert (files.read(f"/usr/lib/sekiso/{name}") or b"").startswith(b"#!/bin/sh\n")
    link = "/etc/systemd/system/multi-user.target.wants/sekiso-guest.service"
    assert files.read(link) == files.read("/usr/lib/systemd/system/sekiso-guest.service")
    assert files.exists("/etc/sekiso/report.d")


def test_without_systemd_there_are_no_units() -> None:
    edits = SUPPORT.import_edits(MemoryFiles())
    assert not any("systemd" in e.path for e in edits)


def test_a_missing_loader_cache_is_made_again_even_without_tools() -> None:
    files = tree()
    assert SUPPORT.post_merge(files) == ()
    del files.files["/etc/ld.so.cache"]
    files.apply(SUPPORT.post_merge(files))
    assert files.exists("/usr/lib/sekiso/first-boot")
    assert SUPPORT.post_merge(files) == ()


# --- alternatives ---


def test_links_follow_the_best_choice_that_exists() -> None:
    group = (
        b"auto\n/usr/bin/editor\neditor.1.gz\n/usr/share/man/man1/editor.1.gz\n\n"
        b"/bin/nano\n40\n/m/nano.1.gz\n/bin/vim\n50\n/m/vim.1.gz\n/bin/gone\n90\n\n\n"
    )
    files = MemoryFiles(
        {
            "/var/lib/dpkg/alternatives/editor": group,
            "/bin/nano": b"",
            "/bin/vim": b"",
            "/m/vim.1.gz": b"",
            "/usr/share/man/man1/x": b"",
        },
        {"/etc/alternatives/editor": "/bin/nano", "/usr/bin/editor": "/etc/alternatives/editor"},
    )
    edits = SUPPORT.post_merge(files)
    assert [(e.path, e.target) for e in edits if isinstance(e, WriteSymlink)] == [
        ("/etc/alternatives/editor", "/bin/vim"),
        ("/etc/alternatives/editor.1.gz", "/m/vim.1.gz"),
        ("/usr/share/man/man1/editor.1.gz", "/etc/alternatives/editor.1.gz"),
    ]
    files.apply(edits)
    assert SUPPORT.post_merge(files) == ()


def test_a_manual_choice_is_left_alone() -> None:
    group = b"manual\n/usr/bin/editor\n\n/bin/nano\n40\n/bin/vim\n50\n\n"
    files = MemoryFiles(
        {"/var/lib/dpkg/alternatives/editor": group, "/bin/nano": b"", "/bin/vim": b""},
        {"/etc/alternatives/editor": "/bin/nano"},
    )
    assert SUPPORT.post_merge(files) == ()


# --- packages and versions ---


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0", "1.1"),
        ("1.0~rc1", "1.0"),
        ("1.0", "1.0a"),
        ("9", "10"),
        ("1.0-1", "1.0-2"),
        ("2.0", "1:1.0"),
        ("1.0-1", "1.0-1+deb12u1"),
        ("1.2.3~a~b", "1.2.3~a"),
        ("6.1.0-9-amd64", "6.1.0-10-amd64"),
        ("1.0+b", "1.0.b"),
    ],
)
def test_versions_are_ordered(older: str, newer: str) -> None:
    assert compare_versions(older, newer) < 0 < compare_versions(newer, older)
    assert compare_versions(older, older) == 0


STATUS = (
    b"Package: libc6\nStatus: install ok installed\nMulti-Arch: same\nArchitecture: amd64\nVersion: 2.36\n\n"
    b"Package: app\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2-3\n"
    b"Depends: libc6 (>= 2.30), mail-agent | postfix,\n gone (<< 1)\nBreaks: libc6 (>> 2.35)\n\n"
    b"Package: exim\nStatus: install ok installed\nArchitecture: amd64\nVersion: 4\nProvides: mail-agent\n\n"
    b"Package: old\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n"
    b"Package: never\nStatus: unknown ok not-installed\nArchitecture: amd64\n\n"
)


def test_the_package_list_is_what_dpkg_query_prints() -> None:
    assert package_list(STATUS) == b"app\t1:2-3\nexim\t4\nlibc6:amd64\t2.36\nold\t1\n"
    assert [p.name for p in packages(STATUS)] == ["libc6", "app", "exim", "old", "never"]


def test_a_hostile_relationship_takes_no_time() -> None:
    status = STATUS.replace(b"mail-agent", b"a" + b" " * 20_000 + b"!")
    assert any(name == "app" for name, _ in unmet(status))


def test_relationships_that_do_not_hold_are_found() -> None:
    assert unmet(STATUS) == (
        ("app", "needs gone (<< 1)"),
        ("app", "does not go together with libc6 (>> 2.35)"),
    )


# --- trees ---


def test_links_are_followed_inside_the_tree_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/x").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    for link, target in (
        ("lib", "usr/lib"),
        ("up", "../secret"),
        ("abs", "/usr/lib/x"),
        ("loop", "loop"),
        ("dangling", "nowhere"),
    ):
        (root / link).symlink_to(target)
    memory = MemoryFiles(
        {"/usr/lib/x": b"inside"},
        {
            "/lib": "usr/lib",
            "/up": "../secret",
            "/abs": "/usr/lib/x",
            "/loop": "loop",
            "/dangling": "nowhere",
        },
    )
    for files in (FolderFiles(root), memory):
        assert files.read("/lib/x") == b"inside"
        assert files.read("/abs") == b"inside"
        assert files.read("/up") is None
        assert files.read("/loop") is None
        assert files.read("/usr/lib") is None
        assert not files.exists("/dangling")
        assert files.exists("/lib")
        assert files.list("/lib") == ["x"]
        assert list(files.list("/")) == ["abs", "dangling", "lib", "loop", "up", "usr"]
        assert list(files.list("/nothing")) == []
        assert files.link_target("/lib") == "usr/lib"
        assert files.link_target("/usr") is None
        assert files.link_target("/dangling") == "nowhere"
