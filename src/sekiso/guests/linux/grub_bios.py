"""GRUB for generation 1: the boot sector and the core image, made from the guest's own GRUB files.

The image goes where `grub-bios-setup` would put it: into the free sectors between the partition table and the
first partition. Source: GRUB 2.06, include/grub/i386/pc/boot.h (kernel sector at 0x5C, drive check at 0x66),
include/grub/offsets.h and util/setup.c (block list at the end of the first core sector).
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from sekiso import process
from sekiso.errors import UnsupportedInputError
from sekiso.guests.edits import FileAccess

FOLDER = "/usr/lib/grub/i386-pc"
PACKAGE = "grub-pc-bin"
MODULES = (
    *("biosdisk", "part_msdos", "part_gpt", "ext2", "search", "search_fs_uuid", "normal", "configfile"),
    *("linux", "echo", "test", "serial", "terminal", "halt", "reboot", "ls", "cat"),
)
_IMAGES = ("boot.img", "diskboot.img", "kernel.img", "lzma_decompress.img", "moddep.lst")
_SECTOR_BYTES = 512
_KERNEL_SECTOR_AT = 0x5C
_DRIVE_CHECK_AT = 0x66
_BOOT_CODE_BYTES = 440
# The block list entry: first sector, number of sectors, segment to load them to.
_BLOCK_LIST_AT = _SECTOR_BYTES - 12
_CORE_SEGMENT = 0x820


def bios_boot_code(files: FileAccess, root_uuid: str, *, max_sectors: int) -> tuple[bytes, bytes]:
    """Make the boot code of a disk whose root file system has the UUID `root_uuid`.

    Args:
        files: the tree, which holds the guest's own GRUB files.
        root_uuid: UUID of the file system with `/boot/grub/grub.cfg`.
        max_sectors: room between sector 0 and the first partition.

    Returns:
        The first 440 bytes of sector 0, and the core image for sector 1 onwards (whole sectors).

    Raises:
        UnsupportedInputError: the tree lacks GRUB's files, or they do not fit.
        ToolFailedError: grub-mkimage failed.
        ToolMissingError: grub-mkimage is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="sekiso-grub-") as name:
        folder = Path(name)
        _extract(files, folder)
        boot = bytearray((folder / "boot.img").read_bytes())
        core = bytearray(_make_core(folder, root_uuid))
    core += bytes(-len(core) % _SECTOR_BYTES)
    sectors = len(core) // _SECTOR_BYTES
    if len(boot) != _SECTOR_BYTES or sectors > max_sectors:
        raise UnsupportedInputError(
            path=FOLDER,
            reason=f"GRUB's image has {sectors} sectors; {max_sectors} are free before the first partition.",
            remedy=f"Install the package {PACKAGE} of the same release as the rest of the system.",
        )
    struct.pack_into("<QHH", core, _BLOCK_LIST_AT, 2, sectors - 1, _CORE_SEGMENT)
    struct.pack_into("<Q", boot, _KERNEL_SECTOR_AT, 1)
    # Two NOPs: trust the drive number that the BIOS passes, as for every hard disk.
    boot[_DRIVE_CHECK_AT : _DRIVE_CHECK_AT + 2] = b"\x90\x90"
    return bytes(boot[:_BOOT_CODE_BYTES]), bytes(core)


def _make_core(folder: Path, root_uuid: str) -> bytes:
    early, core = folder / "early.cfg", folder / "core.img"
    early.write_text(f"search.fs_uuid {root_uuid} root\nset prefix=($root)/boot/grub\n")
    process.run(
        [
            *("grub-mkimage", "-O", "i386-pc", "-d", folder, "-c", early),
            *("-p", "/boot/grub", "-o", core, *MODULES),
        ],
        timeout_s=120,
    )
    return core.read_bytes()


def _extract(files: FileAccess, folder: Path) -> None:
    """Copy the images and the needed modules, with those they depend on, into `folder`."""
    for name in _IMAGES:
        (folder / name).write_bytes(_grub_file(files, name))
    needed = dependencies((folder / "moddep.lst").read_text("utf-8", "replace"))
    for module in needed:
        (folder / f"{module}.mod").write_bytes(_grub_file(files, f"{module}.mod"))


def dependencies(moddep: str) -> tuple[str, ...]:
    """Return the wanted modules with all they depend on, sorted.

    Args:
        moddep: content of `moddep.lst`: `module: what it needs`, one a line.
    """
    table = {name: rest.split() for name, _, rest in (line.partition(":") for line in moddep.split("\n"))}
    found: set[str] = set()
    todo = [*MODULES]
    while todo:
        module = todo.pop()
        # Module names become file names here: nothing but a plain name may pass.
        if module not in found and module.replace("_", "").replace("-", "").isalnum():
            found.add(module)
            todo += table.get(module, [])
    return tuple(sorted(found))


def _grub_file(files: FileAccess, name: str) -> bytes:
    content = files.read(f"{FOLDER}/{name}")
    if content is None:
        raise missing_bios_files(name)
    return content


def missing_bios_files(name: str = "boot.img") -> UnsupportedInputError:
    """Return the error for a tree that cannot boot as generation 1."""
    return UnsupportedInputError(
        path=f"{FOLDER}/{name}",
        reason="The OS layer holds no GRUB for BIOS, so no generation 1 machine can start from it.",
        remedy=f"Add a version of the OS layer with the package {PACKAGE} (sudo apt-get install {PACKAGE}).",
    )
