"""Small guests for boot tests, built without root, loop devices or mounts.

- nano: a boot loader only (GRUB), which says something on the serial ports and halts or stays: 1–8 s.
- micro: Debian's cloud kernel with busybox, which runs a few shell commands: 10–20 s under emulation.

Debian packages: grub-pc-bin, grub-efi-amd64-bin, grub-efi-amd64-signed, grub-common, shim-signed,
busybox-static, dosfstools, mtools, fdisk, qemu-utils. The kernel is fetched by `apt-get download` into the
cache folder ($SEKISO_CACHE, else ~/.cache/sekiso).
"""

from __future__ import annotations

import enum
import fcntl
import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sekiso.model.machine import DiskFormat, Generation

SECTOR = 512
FIRST_LBA = 2048
MIB = 1 << 20
GRUB_PC = Path("/usr/lib/grub/i386-pc")
GRUB_EFI = Path("/usr/lib/grub/x86_64-efi")
SHIM = Path("/usr/lib/shim/shimx64.efi.signed")
GRUB_SIGNED = Path("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")
BUSYBOX = Path("/bin/busybox")
GRUB_MODULES = [
    "part_msdos",
    "part_gpt",
    "fat",
    "serial",
    "terminal",
    "echo",
    "cat",
    "linux",
    "halt",
    "boot",
    "normal",
    "configfile",
    "test",
    "search",
    "search_fs_file",
    "sleep",
]
#: Kernel modules of the micro guest, dependencies come by themselves.
MODULES = [
    "button",
    "evdev",
    "ata_piix",
    "virtio_pci",
    "virtio_scsi",
    "sd_mod",
    "virtio_net",
    "efivarfs",
    "hv_vmbus",
    "hv_storvsc",
    "hv_netvsc",
]
#: Kernel options that make emulated boots twice as fast.
FAST = (
    "quiet panic=-1 mitigations=off nokaslr nowatchdog cryptomgr.notests init_on_alloc=0 tsc=reliable "
    "no_timer_check"
)
APPLETS = [
    "sh",
    "mount",
    "insmod",
    "cat",
    "echo",
    "ls",
    "poweroff",
    "reboot",
    "sleep",
    "dd",
    "sync",
    "head",
    "cut",
    "grep",
    "sed",
    "mkdir",
    "ip",
    "udhcpc",
    "sha256sum",
    "acpid",
    "nc",
    "ping",
    "od",
    "uname",
    "tr",
    "tail",
    "wc",
    "ps",
    "kill",
    "ifconfig",
    "hexdump",
]


class Loader(enum.StrEnum):
    """Boot loader of a generation 2 guest."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"


def nano(
    target: Path,
    generation: Generation,
    *,
    says: str = "NANO-UP",
    stays: bool = False,
    loader: Loader = Loader.SIGNED,
) -> Path:
    """Build a raw disk whose boot loader says something on COM1 and COM2, then halts or stays."""
    rest = "sleep 600\n" if stays else "halt\n"
    script = _both(f"echo {says}") + rest
    return _build(target, generation, script, {}, size_bytes=40 * MIB, loader=loader)


def micro(
    target: Path,
    generation: Generation,
    *,
    commands: str,
    loader: Loader = Loader.SIGNED,
    options: str = "",
) -> Path:
    """Build a raw disk with a kernel that runs shell `commands`; `say WORDS` writes to COM2.

    The power button shuts the guest down at any time; afterwards `commands` have ended it powers off.
    """
    kernel, initrd = kernel_and_initrd()
    script = f"linux /vmlinuz console=ttyS0 {FAST} {options}\ninitrd /initrd /commands\nboot\n"
    extra = _cpio([("commands", 0o100755, commands.encode() + b"\n")])
    files = {"vmlinuz": kernel.read_bytes(), "initrd": initrd.read_bytes(), "commands": extra}
    return _build(target, generation, script, files, size_bytes=64 * MIB, loader=loader)


def convert(raw: Path, target: Path, disk_format: DiskFormat) -> Path:
    """Convert a raw disk into a format of Hyper-V."""
    driver, options = {
        DiskFormat.VHD: ("vpc", ["-o", "subformat=dynamic,force_size=on"]),
        DiskFormat.VHDX: ("vhdx", ["-o", "subformat=dynamic,block_size=1M"]),
        DiskFormat.QCOW2: ("qcow2", []),
        DiskFormat.RAW: ("raw", []),
    }[disk_format]
    _run("qemu-img", "convert", "-q", "-f", "raw", "-O", driver, *options, raw, target)
    return target


def _both(command: str) -> str:
    """Run a GRUB command with its output on COM1, then on COM2."""
    return f"terminal_output serial_com0\n{command}\nterminal_output serial_com1\n{command}\n"


def _build(
    target: Path,
    generation: Generation,
    script: str,
    files: dict[str, bytes],
    *,
    size_bytes: int,
    loader: Loader,
) -> Path:
    config = "serial --unit=1 --speed=115200\nserial --unit=0 --speed=115200\n" + script
    with target.open("wb") as stream:
        stream.truncate(size_bytes)
    sectors = size_bytes // SECTOR - 2 * FIRST_LBA
    label = "dos" if generation is Generation.ONE else "gpt"
    kind = "c, bootable" if generation is Generation.ONE else "U"
    table = f"label: {label}\nstart={FIRST_LBA}, size={sectors}, type={kind}\n"
    _run("sfdisk", "-q", target, stdin=table)
    _run(
        *("mkfs.vfat", "-F", "32", "-s", "1", "-h", FIRST_LBA, "-n", "MICRO", "--offset", FIRST_LBA),
        *(target, sectors // 2),
    )
    with tempfile.TemporaryDirectory(prefix="micro-guest-") as folder:
        tree = Path(folder)
        for name, data in files.items():
            (tree / name).write_bytes(data)
        if generation is Generation.ONE:
            _install_bios_grub(target, config, tree)
        else:
            _add_efi_loader(tree, config, loader)
        _run("mcopy", "-s", "-i", f"{target}@@{FIRST_LBA * SECTOR}", *tree.iterdir(), "::/")
    return target


def _add_efi_loader(tree: Path, config: str, loader: Loader) -> None:
    boot, debian = tree / "EFI/BOOT", tree / "EFI/debian"
    boot.mkdir(parents=True)
    debian.mkdir()
    config = "search --no-floppy --set=root --file /EFI/debian/grub.cfg\n" + config
    (debian / "grub.cfg").write_text(config)
    if loader is Loader.SIGNED:
        shutil.copyfile(SHIM, boot / "BOOTX64.EFI")
        shutil.copyfile(GRUB_SIGNED, boot / "grubx64.efi")
    else:
        _grub_image("x86_64-efi", GRUB_EFI, config, boot / "BOOTX64.EFI", "/EFI/debian")


def _grub_image(platform: str, folder: Path, config: str, target: Path, prefix: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as early:
        early.write(config)
        early.flush()
        extra = ["biosdisk"] if platform == "i386-pc" else []
        _run(
            *("grub-mkimage", "-O", platform, "-d", folder, "-c", early.name, "-p", prefix, "-o", target),
            *GRUB_MODULES,
            *extra,
        )


def _install_bios_grub(disk: Path, config: str, tree: Path) -> None:
    """Write GRUB's boot sector and core image before the first partition, as grub-bios-setup does."""
    image = tree / "core.img"
    _grub_image("i386-pc", GRUB_PC, "set root=(hd0,msdos1)\n" + config, image, "(hd0,msdos1)/")
    core = bytearray(image.read_bytes())
    image.unlink()
    count = -(-len(core) // SECTOR)
    assert count < FIRST_LBA - 1
    core += bytes(count * SECTOR - len(core))
    # The block list at the end of the first sector: where the rest of the image lies and goes.
    struct.pack_into("<QHH", core, SECTOR - 12, 2, count - 1, 0x820)
    boot = bytearray((GRUB_PC / "boot.img").read_bytes())
    struct.pack_into("<Q", boot, 0x5C, 1)
    boot[0x66:0x68] = b"\x90\x90"
    with disk.open("r+b") as stream:
        stream.write(boot[:440])
        stream.seek(SECTOR)
        stream.write(core)


# The kernel and the first file system of the micro guest


@cache
def kernel_and_initrd() -> tuple[Path, Path]:
    """Return the kernel and an initial file system with busybox and the modules; kept in the cache folder."""
    folder = Path(os.environ.get("SEKISO_CACHE") or Path.home() / ".cache/sekiso") / "micro-guest"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        package = _kernel_package()
        place = folder / package
        if not (place / "done").is_file():
            _fetch_kernel(package, place)
        kernel = next(place.glob("boot/vmlinuz-*"))
        initrd = folder / f"{package}-{_recipe()}.img"
        if not initrd.is_file():
            fresh = initrd.with_suffix(".new")
            fresh.write_bytes(gzip.compress(_initrd(place), 1, mtime=0))
            fresh.rename(initrd)
    return kernel, initrd


def _recipe() -> str:
    import hashlib

    recipe = (INIT, MODULES, APPLETS, BUSYBOX.stat().st_size)
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


def _kernel_package() -> str:
    text = _run("apt-cache", "depends", "linux-image-cloud-amd64")
    found = re.search(r"Depends: (linux-image-\S+)", text)
    assert found, "apt knows no kernel: run apt-get update"
    return found[1]


def _fetch_kernel(package: str, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    _run("apt-get", "-q", "download", package, cwd=place)
    archive = next(place.glob("*.deb"))
    _run("dpkg-deb", "-x", archive, place)
    archive.unlink()
    (place / "done").touch()


INIT = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read module; do insmod $module 2>/dev/null; done < /lib/order
say() { echo "$*" > /dev/ttyS1; echo "$*" > /dev/ttyS0; }
mkdir -p /etc/acpi/PWRF
printf '#!/bin/sh\\necho MICRO-BUTTON > /dev/ttyS1\\nsync\\npoweroff -f\\n' > /etc/acpi/PWRF/00000080
/bin/busybox chmod +x /etc/acpi/PWRF/00000080
acpid -f -l /dev/null -p /tmp/acpid.pid -c /etc/acpi &
say MICRO-UP
. /commands
sync
say MICRO-DONE
poweroff -f
"""


def _initrd(kernel: Path) -> bytes:
    entries: list[tuple[str, int, bytes]] = [
        (name, 0o040755, b"") for name in ("bin", "proc", "sys", "dev", "lib", "etc", "mnt", "tmp")
    ]
    entries.append(("bin/busybox", 0o100755, BUSYBOX.read_bytes()))
    entries += [(f"bin/{name}", 0o120777, b"busybox") for name in APPLETS]
    order: list[str] = []
    for name, data in _modules(kernel):
        order.append(f"/lib/{name}")
        entries.append((f"lib/{name}", 0o100644, data))
    entries.append(("lib/order", 0o100644, ("\n".join(order) + "\n").encode()))
    entries.append(("init", 0o100755, INIT.encode()))
    return _cpio(entries)


def _modules(kernel: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the modules, each after those it depends on; what the kernel has built in is left out."""
    found = {
        p.name.partition(".ko")[0].replace("-", "_"): p for p in kernel.glob("lib/modules/*/kernel/**/*.ko*")
    }
    done: set[str] = set()

    def visit(name: str) -> Iterator[tuple[str, bytes]]:
        if name in done or name not in found:
            return
        done.add(name)
        path = found[name]
        data = path.read_bytes()
        if path.suffix == ".xz":
            data = lzma.decompress(data)
        match = re.search(rb"\0depends=([^\0]*)", data)
        for other in match[1].decode().split(",") if match else []:
            yield from visit(other.replace("-", "_"))
        yield f"{name}.ko", data

    # sd_mod asks for these by name at run time, so they are no dependency in the file.
    for name in ("crct10dif_generic", "crc64_rocksoft_generic", *MODULES):
        yield from visit(name)


def _cpio(entries: Iterable[tuple[str, int, bytes]]) -> bytes:
    """Pack files as the kernel wants them. Source: kernel documentation, "initramfs buffer format"."""
    out = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _run(*argv: object, stdin: str | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(a) for a in argv], input=stdin, capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout
