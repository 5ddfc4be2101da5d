"""How a Linux tree boots on a disk of either generation."""

from __future__ import annotations

from sekiso.errors import UnsupportedInputError
from sekiso.guests.booting import (
    BootPlan,
    BootRequest,
    DiskBytes,
    PartitionRole,
    PartitionScheme,
    WantedPartition,
)
from sekiso.guests.edits import FileAccess, MakeFolder, TreeEdit, WriteFile
from sekiso.guests.linux.fstab import rewrite_fstab
from sekiso.guests.linux.grub_bios import bios_boot_code
from sekiso.guests.linux.grub_efi import esp_files
from sekiso.guests.linux.kernels import (
    GrubSettings,
    Kernel,
    driver_warnings,
    find_kernels,
    grub_settings,
    initramfs_setting,
)
from sekiso.guests.linux.recognise import os_release
from sekiso.model.machine import Generation

MIB = 1 << 20
FIRST_PARTITION_LBA = 2048
ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
# Linux file system data, as Debian's installer marks its root.
ROOT_TYPE = "0fc63daf-8483-4772-8e79-3d69d8477de4"
MBR_LINUX = "83"


def boot_plan(files: FileAccess, request: BootRequest) -> BootPlan:
    """Work out the boot of a tree; see `GuestFamilySupport.boot_plan`.

    Raises:
        UnsupportedInputError: no kernel, or no boot loader for the generation.
        ToolMissingError: grub-mkimage is not installed (generation 1).
    """
    kernels, problems = find_kernels(files)
    if not kernels:
        raise UnsupportedInputError(
            path="/boot",
            reason=" ".join(("The image holds no kernel that can be started.", *problems)),
            remedy="Add a kernel with its initramfs to the OS layer "
            "(sudo apt-get install linux-image-amd64 initramfs-tools).",
        )
    warnings = (*problems, *driver_warnings(files, kernels))
    if request.generation is Generation.ONE:
        return _bios_plan(files, request, kernels, warnings)
    return _efi_plan(files, request, kernels, warnings)


def _bios_plan(
    files: FileAccess, request: BootRequest, kernels: tuple[Kernel, ...], warnings: tuple[str, ...]
) -> BootPlan:
    uuid = request.identifiers.root_filesystem
    code, core = bios_boot_code(files, uuid, max_sectors=FIRST_PARTITION_LBA - 1)
    root = WantedPartition(
        role=PartitionRole.ROOT,
        filesystem="ext4",
        size_bytes=None,
        type_id=MBR_LINUX,
        label="root",
        active=True,
        reason="The whole system in one file system.",
    )
    edits, reasons = _tree_edits(files, request, kernels, esp_uuid=None)
    return BootPlan(
        scheme=PartitionScheme.MBR,
        partitions=(root,),
        edits=edits,
        first_partition_lba=FIRST_PARTITION_LBA,
        mbr_boot_code=code,
        gap=(DiskBytes(1, core, "GRUB's core image, made from the guest's own modules."),),
        reasons=("Generation 1 starts GRUB from the sectors before the first partition.", *reasons),
        warnings=warnings,
    )


def _efi_plan(
    files: FileAccess, request: BootRequest, kernels: tuple[Kernel, ...], warnings: tuple[str, ...]
) -> BootPlan:
    ids = request.identifiers
    # FAT32 needs 65,525 clusters of at least one sector each.
    esp_bytes = 64 * MIB if request.sector_size_bytes == 512 else 288 * MIB
    esp = WantedPartition(
        role=PartitionRole.ESP,
        filesystem="vfat",
        size_bytes=esp_bytes,
        type_id=ESP_TYPE,
        name="EFI system partition",
        label="ESP",
        reason="UEFI firmware starts the boot loader from here.",
    )
    root = WantedPartition(
        role=PartitionRole.ROOT,
        filesystem="ext4",
        size_bytes=None,
        type_id=ROOT_TYPE,
        name="root",
        label="root",
        reason="The whole system in one file system.",
    )
    volume_id = f"{ids.esp_volume_id >> 16:04X}-{ids.esp_volume_id & 0xFFFF:04X}"
    edits, reasons = _tree_edits(files, request, kernels, esp_uuid=volume_id)
    return BootPlan(
        scheme=PartitionScheme.GPT,
        partitions=(esp, root),
        edits=edits,
        first_partition_lba=FIRST_PARTITION_LBA,
        esp_files=esp_files(files, ids.root_filesystem),
        secure_boot=True,
        reasons=("Generation 2 starts the guest's own signed shim and GRUB.", *reasons),
        warnings=warnings,
    )


def _tree_edits(
    files: FileAccess, request: BootRequest, kernels: tuple[Kernel, ...], *, esp_uuid: str | None
) -> tuple[tuple[TreeEdit, ...], tuple[str, ...]]:
    uuid = request.identifiers.root_filesystem
    fstab, dropped = rewrite_fstab(files.read("/etc/fstab"), root_uuid=uuid, esp_uuid=esp_uuid)
    name = os_release(files.read("/etc/os-release")).get("PRETTY_NAME", "Linux")
    settings = grub_settings(files, os_name=name)
    resume = initramfs_setting(files, "RESUME") not in ("", "none", "auto")
    menu = grub_menu(uuid, kernels, settings, no_resume=resume)
    edits: list[TreeEdit] = [
        WriteFile("/etc/fstab", fstab, reason="The file systems of this disk."),
        WriteFile("/boot/grub/grub.cfg", menu, 0o600, reason="The boot menu of the kernels in the image."),
    ]
    if esp_uuid is not None:
        edits.append(MakeFolder("/boot/efi", 0o700, reason="Mount point of the EFI system partition."))
    reasons = [f"The boot menu starts kernel {kernels[0].version} ({len(kernels)} in all)."]
    reasons += [f"/etc/fstab: {line}." for line in dropped]
    return tuple(edits), tuple(reasons)


def grub_menu(
    root_uuid: str, kernels: tuple[Kernel, ...], settings: GrubSettings, *, no_resume: bool = False
) -> bytes:
    """Return `/boot/grub/grub.cfg`: one entry per kernel, newest first, on screen and first serial port.

    Args:
        root_uuid: UUID of the root file system.
        kernels: the kernels, newest first.
        settings: what the administrator set.
        no_resume: keep the initramfs from waiting for a swap partition that the image does not have.
    """
    options = " ".join([*settings.options, *(["noresume"] if no_resume else [])])
    lines = [
        "# Written by Sekiso for this disk. update-grub in the machine may replace it.",
        f"set timeout={settings.timeout_s}",
        "set default=0",
        f"search --no-floppy --fs-uuid --set=root {root_uuid}",
        "if serial --unit=0 --speed=115200; then",
        "  terminal_input console serial",
        "  terminal_output console serial",
        "fi",
    ]
    for index, kernel in enumerate(kernels):
        suffix = "" if index == 0 else f", with Linux {kernel.version}"
        lines += [
            f"menuentry '{settings.distributor}{suffix}' {{",
            f"  linux {kernel.image} root=UUID={root_uuid} ro {options}".rstrip(),
            f"  initrd {kernel.initrd}",
            "}",
        ]
    return ("\n".join(lines) + "\n").encode()
