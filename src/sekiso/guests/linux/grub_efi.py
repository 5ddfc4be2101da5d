"""shim and GRUB for generation 2: the guest's own signed files, laid out in an EFI system partition."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sekiso.errors import UnsupportedInputError
from sekiso.guests.booting import EspFile
from sekiso.guests.edits import FileAccess

SHIM = (
    "/usr/lib/shim/shimx64.efi.signed",
    "/usr/lib/shim/shimx64.efi.signed.latest",
    "/usr/lib/shim/shimx64.efi.dualsigned",
)
MOK_MANAGER = ("/usr/lib/shim/mmx64.efi.signed", "/usr/lib/shim/mmx64.efi")
GRUB = ("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",)
PACKAGES = "shim-signed grub-efi-amd64-signed"


def esp_files(files: FileAccess, root_uuid: str) -> tuple[EspFile, ...]:
    """Return the content of the EFI system partition.

    The firmware starts the fallback path `/EFI/BOOT/BOOTX64.EFI` (shim), shim starts the GRUB beside it, and
    GRUB reads the stub in the vendor's folder whose name is built into it. `fbx64.efi` is left out on
    purpose: it would write boot entries and restart the machine at its first start.

    Args:
        files: the tree.
        root_uuid: UUID of the file system with `/boot/grub/grub.cfg`.

    Raises:
        UnsupportedInputError: the tree lacks shim or the signed GRUB.
    """
    shim, grub = _required(files, SHIM), _required(files, GRUB)
    manager = _first(files, MOK_MANAGER)
    folders = ("/EFI/BOOT", f"/EFI/{vendor(grub)}")
    out: list[EspFile] = []
    for folder, first in zip(folders, ("BOOTX64.EFI", "shimx64.efi"), strict=True):
        out.append(EspFile(f"{folder}/{first}", shim, "The guest's own signed shim."))
        out.append(EspFile(f"{folder}/grubx64.efi", grub, "The guest's own signed GRUB."))
        if manager is not None:
            out.append(EspFile(f"{folder}/mmx64.efi", manager, "shim's key manager."))
    why = "Leads GRUB to the boot menu on the root file system."
    out.append(EspFile(f"{folders[1]}/grub.cfg", stub(root_uuid), why))
    return tuple(out)


def stub(root_uuid: str) -> bytes:
    """Return the configuration in the ESP: find the root, go on with its own menu."""
    return (
        f"search.fs_uuid {root_uuid} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
    ).encode()


def vendor(grub: bytes) -> str:
    """Return the folder name that is built into a signed GRUB (`debian`, `ubuntu`)."""
    found = re.search(rb"/EFI/([A-Za-z0-9_-]{1,32})\x00", grub)
    return found.group(1).decode() if found else "debian"


def _first(files: FileAccess, paths: Sequence[str]) -> bytes | None:
    return next((content for path in paths if (content := files.read(path)) is not None), None)


def _required(files: FileAccess, paths: Sequence[str]) -> bytes:
    content = _first(files, paths)
    if content is None:
        raise UnsupportedInputError(
            path=paths[0],
            reason="The OS layer holds no signed boot loader, so no generation 2 machine can start from it.",
            remedy=f"Add a version of the OS layer with the packages {PACKAGES} "
            f"(sudo apt-get install {PACKAGES}).",
        )
    return content
