"""A small Debian-like system on a disk, made by foreign tools, with what the boot plans need."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sekiso.compositing.capture import CaptureRequest, CaptureResult, capture
from sekiso.compositing.execute import ComposeResult, execute
from sekiso.compositing.families import support_for
from sekiso.compositing.import_os import ImportRequest, ImportResult, import_os
from sekiso.compositing.planning import plan_image
from sekiso.compositing.request import ComposeRequest
from sekiso.compositing.stack import LayerStack
from sekiso.compositing.verify import verify_image
from sekiso.disks.open import open_disk
from sekiso.disks.partitions import read_partition_table
from sekiso.guests.booting import Generalization
from sekiso.model.machine import DiskFormat, Generation
from sekiso.model.progress import NO_PROGRESS, Progress
from sekiso.store.layer_file import Compression

MIB = 1 << 20
FIRST_LBA = 2048
ROOT_UUID = "0b0a0908-0706-4504-8302-01000f0e0d0c"
KERNEL = "6.1.0-1-amd64"
CREATED = 1_700_000_000
QEMU_NAMES = {
    DiskFormat.VHD: "vpc",
    DiskFormat.VHDX: "vhdx",
    DiskFormat.RAW: "raw",
    DiskFormat.QCOW2: "qcow2",
}


def run(*argv: object, stdin: str | None = None, ok: Sequence[int] = (0,)) -> str:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, input=stdin, check=False)
    assert done.returncode in ok, f"{argv}: {done.returncode} {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def write(root: Path, name: str, content: bytes | str) -> Path:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def stanza(package: str, version: str = "1.0") -> str:
    return (
        f"Package: {package}\nStatus: install ok installed\nPriority: optional\nSection: misc\n"
        f"Maintainer: Nobody <nobody@example.org>\nArchitecture: all\nVersion: {version}\n"
        f"Description: {package} for tests\n\n"
    )


def fill_system(root: Path) -> None:
    """Fill a folder with a system: not one that runs, but one that has all its parts."""
    write(root, "usr/lib/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (small)"\nID=debian\n')
    (root / "etc").mkdir()
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    write(root, "etc/fstab", f"UUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\n")
    write(root, "etc/debian_version", "12.0\n")
    write(root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/usr/sbin/nologin\n")
    write(root, "etc/group", "root:x:0:\ndaemon:x:1:\n")
    write(root, "etc/shadow", "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n").chmod(0o640)
    write(root, "etc/hostname", "source\n")
    write(root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    write(root, "etc/default/grub", "GRUB_TIMEOUT=0\n")
    write(root, "etc/shared.conf", "value=base\n")
    write(root, "var/lib/dpkg/status", stanza("base-files") + stanza("libsmall1"))
    for name in ("base-files", "libsmall1"):
        write(root, f"var/lib/dpkg/info/{name}.list", "/.\n")
    write(root, f"boot/vmlinuz-{KERNEL}", os.urandom(200_000))
    write(root, f"boot/initrd.img-{KERNEL}", os.urandom(300_000))
    write(root, f"usr/lib/modules/{KERNEL}/modules.dep", "")
    (root / "lib").symlink_to("usr/lib")
    write(root, "usr/lib/systemd/systemd", b"\x7fELF systemd")
    shutil.copytree("/usr/lib/grub/i386-pc", root / "usr/lib/grub/i386-pc")
    write(
        root,
        "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
        Path("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed").read_bytes(),
    )
    for name in ("shimx64.efi.signed", "mmx64.efi.signed"):
        write(root, f"usr/lib/shim/{name}", Path("/usr/lib/shim", name).read_bytes())
    for folder in ("proc", "sys", "dev", "run", "tmp", "root", "var/log", "boot/grub"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    write(root, "tmp/rubbish", "must not be imported")
    write(root, "var/tmp/rubbish", "must not be imported")
    _fill_content(root)


def _fill_content(root: Path) -> None:
    for number in range(60):
        write(root, f"srv/data/{number:03}.bin", bytes([number]) * (100 + number * 150))
    for number in range(12):
        write(root, f"opt/old/sub/{number}.txt", f"old {number}")
    write(root, "usr/bin/tool", b"#!/bin/sh\n").chmod(0o4755)
    (root / "usr/bin/tool-link").symlink_to("tool")
    os.link(root / "usr/bin/tool", root / "usr/bin/tool-hard")
    write(root, "usr/share/日本語.txt", "積層")
    os.setxattr(write(root, "srv/attributes", "x"), "user.note", b"value")
    os.chown(root / "srv/attributes", 1234, 4321)


def make_disk(tree: Path, disk: Path, *, size_mib: int = 96, gpt: bool = False) -> Path:
    """Make a raw disk with one ext4 partition from a folder."""
    with disk.open("wb") as stream:
        stream.truncate(size_mib * MIB)
    sectors = size_mib * MIB // 512 - FIRST_LBA - 2048
    kind = "0fc63daf-8483-4772-8e79-3d69d8477de4" if gpt else "83, bootable"
    run(
        *("sfdisk", "-q", disk),
        stdin=f"label: {'gpt' if gpt else 'dos'}\nstart={FIRST_LBA}, size={sectors}, type={kind}\n",
    )
    options = f"offset={FIRST_LBA * 512},lazy_itable_init=1,lazy_journal_init=1"
    run(
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-U",
        ROOT_UUID,
        "-E",
        options,
        "-d",
        tree,
        disk,
        f"{sectors // 2}k",
    )
    return disk


def convert(source: Path, out: Path, fmt: DiskFormat, source_fmt: DiskFormat = DiskFormat.RAW) -> Path:
    options = ["-o", "force_size=on"] if fmt is DiskFormat.VHD else []
    run("qemu-img", "convert", "-f", QEMU_NAMES[source_fmt], "-O", QEMU_NAMES[fmt], *options, source, out)
    return out


def root_place(disk: Path) -> tuple[int, int]:
    """Where the last partition begins, and how long it is, in bytes."""
    with open_disk(disk) as blocks:
        table = read_partition_table(blocks)
        last = table.partitions[-1]
        return last.first_lba * table.sector_bytes, last.sectors * table.sector_bytes


def root_offset(disk: Path) -> int:
    return root_place(disk)[0]


def as_raw(disk: Path, fmt: DiskFormat) -> Path:
    """Return a raw copy that QEMU made."""
    return convert(disk, disk.with_name(disk.name + ".judge.raw"), DiskFormat.RAW, fmt)


@contextmanager
def mounted(raw: Path, kind: str = "ext4") -> Iterator[Path]:
    """Mount the last partition of a raw disk by the kernel (as root)."""
    point = raw.with_name(raw.name + ".mnt")
    point.mkdir(exist_ok=True)
    run("mount", "-t", kind, "-o", f"loop,offset={root_offset(raw)}", raw, point)
    try:
        yield point
    finally:
        run("umount", point)


def overlay(boot_disk: Path, fmt: DiskFormat, edited: Path, out: Path) -> Path:
    """Make the qcow2 overlay over a boot disk that holds just what an edited raw copy changed."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", edited, "-F", "raw", out)
    run("qemu-img", "rebase", "-q", "-f", "qcow2", "-b", boot_disk, "-F", QEMU_NAMES[fmt], out)
    return out


def do_import(
    source: Path,
    out: Path,
    *,
    compression: Compression = Compression.NONE,
    guest_tools: bool = False,
    progress: Progress = NO_PROGRESS,
) -> ImportResult:
    request = ImportRequest(source, out, "System", "1", guest_tools=guest_tools, compression=compression)
    return import_os(request, progress=progress)


def request_for(
    layers: Sequence[Path], out: Path, generation: int = 1, *, bootable: bool = True, **more: object
) -> ComposeRequest:
    fmt = DiskFormat(out.suffix[1:])
    options: dict[str, object] = {"seed": "test", "created": CREATED, "generalization": Generalization.NONE}
    options.update(more)
    return ComposeRequest(
        tuple(layers),
        out,
        Generation(generation),
        fmt,
        bootable=bootable,
        **options,  # type: ignore[arg-type]
    )


def do_compose(
    request: ComposeRequest, *, verify: bool = True, progress: Progress = NO_PROGRESS
) -> ComposeResult:
    with LayerStack.open(request.layers) as stack:
        planned = plan_image(request, stack, support_for(stack.family), progress=progress)
        result = execute(planned, request, stack, progress=progress)
    if verify:
        verified = verify_image(request.out, result.plan, expected=lambda: planned.composition.root)
        assert verified.entries == result.plan.entries
    return result


def do_capture(
    packaging_disk: Path,
    boot_disk: Path,
    base: Sequence[Path],
    out: Path,
    *,
    name: str = "App",
    dry_run: bool = False,
    boot_disk_root: str | None = None,
    progress: Progress = NO_PROGRESS,
) -> CaptureResult:
    request = CaptureRequest(
        packaging_disk, boot_disk, tuple(base), out, name, "1", boot_disk_root=boot_disk_root
    )
    return capture(request, dry_run=dry_run, progress=progress)
