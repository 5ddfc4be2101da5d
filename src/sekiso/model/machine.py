"""What a virtual machine is made of, in Hyper-V's terms, and the rules that bind the choices together."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Generation(enum.IntEnum):
    """Hyper-V VM generation: 1 = BIOS and IDE boot, 2 = UEFI and SCSI boot."""

    ONE = 1
    TWO = 2


class DiskFormat(enum.StrEnum):
    """Format of a disk file. Hyper-V attaches VHD and VHDX; the others are inputs."""

    VHD = "vhd"
    VHDX = "vhdx"
    RAW = "raw"
    QCOW2 = "qcow2"


class DiskAllocation(enum.StrEnum):
    """Whether a disk file holds every block (fixed) or grows as blocks are written (dynamic)."""

    FIXED = "fixed"
    DYNAMIC = "dynamic"


class SecureBootTemplate(enum.StrEnum):
    """Hyper-V's Secure Boot templates: which signers the firmware trusts.

    Source: Set-VMFirmware -SecureBootTemplate.
    """

    MICROSOFT_WINDOWS = "MicrosoftWindows"
    MICROSOFT_UEFI_CA = "MicrosoftUEFICertificateAuthority"


class Firmware(enum.StrEnum):
    """Firmware a machine starts with (CC-3)."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_SECURE_BOOT = "uefi-secure-boot"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule.

    Attributes:
        field: the field a person has to change.
        code: stable name of the rule.
        reason: why, in English (translated by that text).
        remedy: what to do, in English; may be empty where the reason says it all.
    """

    field: str
    code: str
    reason: str
    remedy: str = ""


def disk_format_violations(
    generation: Generation, disk_format: DiskFormat, *, offload: bool
) -> tuple[Violation, ...]:
    """Check generation, disk format and offload compositing against each other (CC-2).

    Returns every violation, in the order a person should mend them; empty when the choice is allowed.
    """
    found: list[Violation] = []
    if generation is Generation.TWO and not offload:
        found.append(
            Violation("generation", "generation2-needs-offload", "Generation 2 needs offload compositing.")
        )
    if disk_format not in (DiskFormat.VHD, DiskFormat.VHDX):
        found.append(
            Violation("disk_format", "format-not-attachable", "Hyper-V attaches VHD and VHDX disks only.")
        )
    elif generation is Generation.TWO and disk_format is DiskFormat.VHD:
        found.append(
            Violation("disk_format", "generation2-needs-vhdx", "Generation 2 machines boot from VHDX only.")
        )
    elif disk_format is DiskFormat.VHDX and not offload:
        found.append(
            Violation(
                "disk_format",
                "vhdx-needs-offload",
                "VHDX needs offload compositing, for generation 1 machines too.",
            )
        )
    return tuple(found)


def resulting_firmware(
    generation: Generation, template: Firmware | None, *, offload: bool
) -> Firmware | Violation:
    """Work out the firmware of a machine (CC-3).

    Args:
        generation: the generation chosen in the connector configuration.
        template: firmware of the template VM, or None without a template.
        offload: whether offload compositing is on.

    Returns:
        The firmware, or the rule that the choice breaks.
    """
    if template is None:
        if generation is Generation.TWO and not offload:
            return Violation(
                "generation", "generation2-needs-offload", "Generation 2 needs offload compositing."
            )
        return Firmware.UEFI if generation is Generation.TWO else Firmware.BIOS
    if template is not Firmware.BIOS and not offload:
        return Violation(
            "template_vm",
            "uefi-template-needs-offload",
            "A template VM with UEFI needs offload compositing; without it the machine would not start.",
        )
    own = Generation.ONE if template is Firmware.BIOS else Generation.TWO
    if own is not generation:
        return Violation(
            "generation",
            "generation-differs-from-template",
            "The template VM has another generation; a machine made from it has the template's.",
        )
    return template
