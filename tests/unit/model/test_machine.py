"""The rule tables of the connector configuration, whole (CC-2, CC-3)."""

from __future__ import annotations

import itertools

import pytest

from sekiso.model.machine import (
    DiskFormat,
    Firmware,
    Generation,
    Violation,
    disk_format_violations,
    resulting_firmware,
)

OFF, ON = False, True
ONE, TWO = Generation.ONE, Generation.TWO
VHD, VHDX = DiskFormat.VHD, DiskFormat.VHDX
G2_OFFLOAD, VHDX_OFFLOAD, G2_VHDX = (
    "generation2-needs-offload",
    "vhdx-needs-offload",
    "generation2-needs-vhdx",
)

#: offload, generation, format: codes of the broken rules in the order to mend them; none = allowed.
CC_2 = {
    (OFF, ONE, VHD): [],
    (OFF, ONE, VHDX): [VHDX_OFFLOAD],
    (OFF, TWO, VHD): [G2_OFFLOAD, G2_VHDX],
    (OFF, TWO, VHDX): [G2_OFFLOAD, VHDX_OFFLOAD],
    (ON, ONE, VHD): [],
    (ON, ONE, VHDX): [],
    (ON, TWO, VHD): [G2_VHDX],
    (ON, TWO, VHDX): [],
}


@pytest.mark.parametrize(("choice", "codes"), CC_2.items(), ids=str)
def test_cc_2(choice: tuple[bool, Generation, DiskFormat], codes: list[str]) -> None:
    offload, generation, disk_format = choice
    found = disk_format_violations(generation, disk_format, offload=offload)
    assert [v.code for v in found] == codes
    assert {v.field for v in found} <= {"generation", "disk_format"}
    assert all(v.reason.endswith(".") for v in found)


def test_cc_2_table_is_whole() -> None:
    assert set(CC_2) == set(itertools.product((OFF, ON), Generation, (VHD, VHDX)))


@pytest.mark.parametrize("disk_format", [DiskFormat.RAW, DiskFormat.QCOW2])
@pytest.mark.parametrize("generation", Generation)
def test_input_formats_are_not_attachable(generation: Generation, disk_format: DiskFormat) -> None:
    found = disk_format_violations(generation, disk_format, offload=True)
    assert [(v.field, v.code) for v in found] == [("disk_format", "format-not-attachable")]


UEFI_OFFLOAD, DIFFERS = "uefi-template-needs-offload", "generation-differs-from-template"
BIOS, UEFI, SECURE = Firmware.BIOS, Firmware.UEFI, Firmware.UEFI_SECURE_BOOT

#: offload, template, generation: the firmware, or the field and the code of the broken rule.
CC_3: dict[tuple[bool, Firmware | None, Generation], Firmware | tuple[str, str]] = {
    (ON, None, ONE): BIOS,
    (ON, None, TWO): UEFI,
    (ON, BIOS, ONE): BIOS,
    (ON, BIOS, TWO): ("generation", DIFFERS),
    (ON, UEFI, ONE): ("generation", DIFFERS),
    (ON, UEFI, TWO): UEFI,
    (ON, SECURE, ONE): ("generation", DIFFERS),
    (ON, SECURE, TWO): SECURE,
    (OFF, None, ONE): BIOS,
    (OFF, None, TWO): ("generation", G2_OFFLOAD),
    (OFF, BIOS, ONE): BIOS,
    (OFF, BIOS, TWO): ("generation", DIFFERS),
    (OFF, UEFI, ONE): ("template_vm", UEFI_OFFLOAD),
    (OFF, UEFI, TWO): ("template_vm", UEFI_OFFLOAD),
    (OFF, SECURE, ONE): ("template_vm", UEFI_OFFLOAD),
    (OFF, SECURE, TWO): ("template_vm", UEFI_OFFLOAD),
}


@pytest.mark.parametrize(("choice", "expected"), CC_3.items(), ids=str)
def test_cc_3(choice: tuple[bool, Firmware | None, Generation], expected: Firmware | tuple[str, str]) -> None:
    offload, template, generation = choice
    got = resulting_firmware(generation, template, offload=offload)
    assert ((got.field, got.code) if isinstance(got, Violation) else got) == expected


def test_cc_3_table_is_whole() -> None:
    assert set(CC_3) == set(itertools.product((OFF, ON), (None, *Firmware), Generation))
