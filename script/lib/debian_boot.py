"""Boot files of the Debian test disks: GRUB in the gap after the MBR, or shim and GRUB in an ESP."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

BIOS_MODULES = (
    "biosdisk",
    "part_msdos",
    "part_gpt",
    "ext2",
    "search",
    "search_fs_uuid",
    "normal",
    "configfile",
    "linux",
    "echo",
    "test",
    "serial",
    "terminal",
)


def grub_menu(root_uuid: str, kernels: list[str], options: str) -> str:
    """What update-grub would write, cut down to what these guests need."""
    lines = [
        "serial --unit=0 --speed=115200",
        "terminal_input console serial",
        "terminal_output console serial",
        "set default=0",
        "set timeout=0",
        f"search --no-floppy --fs-uuid --set=root {root_uuid}",
    ]
    for kernel in sorted(kernels, reverse=True):
        lines += [
            f"menuentry 'Debian GNU/Linux, with Linux {kernel}' {{",
            f"\tlinux /boot/vmlinuz-{kernel} root=UUID={root_uuid} ro {options}",
            f"\tinitrd /boot/initrd.img-{kernel}",
            "}",
        ]
    return "\n".join(lines) + "\n"


def bios_boot_code(modules: Path, root_uuid: str, scratch: Path) -> tuple[bytes, bytes]:
    """Return the boot sector and the core image, which lies in the sectors right after it.

    Source: GRUB's include/grub/i386/pc/boot.h and util/setup.c (kernel sector, drive check, block list).
    """
    early = scratch / "early.cfg"
    early.write_text(f"search.fs_uuid {root_uuid} root\nset prefix=($root)/boot/grub\n")
    core_path = scratch / "core.img"
    subprocess.run(
        [
            *("grub-mkimage", "-O", "i386-pc", "-d", modules, "-c", early),
            *("-p", "/boot/grub", "-o", core_path, *BIOS_MODULES),
        ],
        check=True,
    )
    core = bytearray(core_path.read_bytes())
    core += bytes(-len(core) % 512)
    struct.pack_into("<QHH", core, 512 - 12, 2, len(core) // 512 - 1, 0x820)
    boot = bytearray((modules / "boot.img").read_bytes())
    struct.pack_into("<Q", boot, 0x5C, 1)
    boot[0x66:0x68] = b"\x90\x90"
    return bytes(boot), bytes(core)


def esp_files(tree: Path, root_uuid: str) -> dict[str, bytes]:
    """Return the files of the ESP, from the guest's own packages."""
    shim = (tree / "usr/lib/shim/shimx64.efi.signed").read_bytes()
    manager = (tree / "usr/lib/shim/mmx64.efi.signed").read_bytes()
    grub = (tree / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed").read_bytes()
    stub = f"search.fs_uuid {root_uuid} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
    return {
        "EFI/BOOT/BOOTX64.EFI": shim,
        "EFI/BOOT/grubx64.efi": grub,
        "EFI/BOOT/mmx64.efi": manager,
        "EFI/debian/shimx64.efi": shim,
        "EFI/debian/grubx64.efi": grub,
        "EFI/debian/mmx64.efi": manager,
        "EFI/debian/grub.cfg": stub.encode(),
    }
