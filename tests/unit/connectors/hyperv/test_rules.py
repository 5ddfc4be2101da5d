"""All rules of a configuration: CC-1 to CC-5 together."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.connectors.base import Surroundings
from sekiso.connectors.decoding import values_of
from sekiso.connectors.hyperv.rules import Hardware, grouped_violations, resulting_hardware, violations
from sekiso.connectors.hyperv.settings import HYPERV, HyperVSettings
from sekiso.model.connector import TemplateVm
from sekiso.model.machine import DiskFormat, Firmware, Generation
from sekiso.model.storage_path import HostPlatform

from .examples import AROUND, BIOS, GOOD, HOST, NO_ADAPTER, SECURE, UEFI, UNPLUGGED

ONE, TWO = Generation
VHD, VHDX = DiskFormat.VHD, DiskFormat.VHDX

#: CC-2 as the requirements write it: offload, generation, format: allowed or the field and code.
CC_2 = {
    (False, ONE, VHD): set[tuple[str, str]](),
    (False, ONE, VHDX): {("disk_format", "vhdx-needs-offload")},
    (False, TWO, VHD): {
        ("generation", "generation2-needs-offload"),
        ("disk_format", "generation2-needs-vhdx"),
    },
    (False, TWO, VHDX): {("generation", "generation2-needs-offload"), ("disk_format", "vhdx-needs-offload")},
    (True, ONE, VHD): set[tuple[str, str]](),
    (True, ONE, VHDX): set[tuple[str, str]](),
    (True, TWO, VHD): {("disk_format", "generation2-needs-vhdx")},
    (True, TWO, VHDX): set[tuple[str, str]](),
}
#: CC-3 where a configuration is allowed: offload, template, generation -> firmware.
CC_3: dict[tuple[bool, TemplateVm | None, Generation], Firmware] = {
    (True, None, ONE): Firmware.BIOS,
    (True, None, TWO): Firmware.UEFI,
    (True, BIOS, ONE): Firmware.BIOS,
    (True, UEFI, TWO): Firmware.UEFI,
    (True, SECURE, TWO): Firmware.UEFI_SECURE_BOOT,
    (False, None, ONE): Firmware.BIOS,
    (False, BIOS, ONE): Firmware.BIOS,
}
TEMPLATES = (None, BIOS, UEFI, SECURE)
EVERY = list(itertools.product((False, True), Generation, (VHD, VHDX), TEMPLATES))


def made(*, template: TemplateVm | None = None, **changes: object) -> HyperVSettings:
    return replace(GOOD, template_vm=template.id if template else None, **changes)


def codes(settings: HyperVSettings, around: Surroundings = AROUND) -> list[tuple[str, str]]:
    return [(v.field, v.code) for v in violations(settings, around)]


def test_the_example_is_good() -> None:
    assert codes(GOOD) == []


@pytest.mark.parametrize("choice", CC_2, ids=str)
def test_cc_2(choice: tuple[bool, Generation, DiskFormat]) -> None:
    offload, generation, disk_format = choice
    settings = made(offload=offload, generation=generation, disk_format=disk_format)
    assert set(codes(settings)) == CC_2[choice]


@pytest.mark.parametrize(("offload", "generation", "disk_format", "template"), EVERY)
def test_cc_2_and_cc_3_together(
    offload: bool, generation: Generation, disk_format: DiskFormat, template: TemplateVm | None
) -> None:
    settings = made(template=template, offload=offload, generation=generation, disk_format=disk_format)
    expected = CC_3.get((offload, template, generation))
    allowed = expected is not None and not CC_2[offload, generation, disk_format]
    assert (codes(settings) == []) == allowed
    found = resulting_hardware(settings, HOST)
    if expected is None:
        assert not isinstance(found, Hardware)
        assert found
    else:
        assert isinstance(found, Hardware)
        assert (found.firmware, found.generation) == (expected, generation)
    if not offload and template in (UEFI, SECURE):
        assert ("template_vm", "uefi-template-needs-offload") in codes(settings)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"name": ""}, [("name", "name-not-usable")]),
        ({"name": " x"}, [("name", "name-not-usable")]),
        ({"name": "a\nb"}, [("name", "name-not-usable")]),
        ({"name": "ＴＥＳＴ"}, [("name", "name-taken")]),
        ({"name": "x" * 65}, [("name", "too-long")]),
        ({"agent": "A-1"}, []),
        ({"agent": "hv99"}, [("agent", "agent-unknown")]),
        ({"agent": "twin"}, [("agent", "agent-ambiguous")]),
        ({"template_vm": "nowhere"}, [("template_vm", "template-unknown")]),
        ({"template_vm": "twin"}, [("template_vm", "template-ambiguous")]),
        ({"template_vm": "Gold"}, [("template_vm", "template-with-disk")]),
        ({"template_vm": "Bare"}, [("template_vm", "template-without-adapter")]),
        ({"template_vm": "template bios", "network": None}, []),
        ({"template_vm": "Loose", "network": None}, [("network", "network-missing-for-template")]),
        ({"template_vm": "Loose"}, []),
        ({"network": None}, [("network", "network-missing")]),
        ({"network": "WAN"}, [("network", "network-unknown")]),
        ({"network": "lan"}, []),
        ({"cpus": 0}, [("cpus", "too-small")]),
        ({"cpus": 64}, []),
        ({"cpus": 65}, [("cpus", "cpus-exceed-generation1")]),
        ({"cpus": 241}, [("cpus", "too-large"), ("cpus", "cpus-exceed-host")]),
        ({"cpus": 129, "template_vm": "t-bios"}, []),
        ({"memory_mb": 30}, [("memory_mb", "too-small")]),
        ({"memory_mb": 32}, []),
        ({"memory_mb": 33}, [("memory_mb", "not-a-multiple")]),
        ({"memory_mb": 1 << 20}, []),
        ({"memory_mb": (1 << 20) + 2}, [("memory_mb", "memory-exceeds-generation1")]),
        ({"cache_gb": -1}, [("cache_gb", "too-small")]),
        ({"cache_gb": 0}, []),
        ({"cache_gb": 1}, []),
        ({"cache_gb": 500}, []),
        ({"cache_gb": 501}, [("cache_gb", "cache-exceeds-volume")]),
        ({"cache_gb": (1 << 20) + 1}, [("cache_gb", "too-large"), ("cache_gb", "cache-exceeds-volume")]),
        ({"storage_path": r"M:\vm"}, [("storage_path", "path-mapped-drive")]),
        ({"storage_path": r"\\nas\vms"}, []),
        ({"storage_path": "/srv"}, [("storage_path", "path-other-platform")]),
        ({"storage_unc_path": r"\\hv01\vm"}, []),
        ({"storage_unc_path": r"C:\x"}, [("storage_unc_path", "path-not-unc")]),
        ({"storage_unc_path": "x"}, [("storage_unc_path", "path-relative")]),
        (
            {"storage_path": r"\\nas\a", "storage_unc_path": r"\\nas\b"},
            [("storage_unc_path", "path-two-shares")],
        ),
        ({"storage_path": r"\\nas\a", "storage_unc_path": r"\\NAS\A"}, []),
    ],
    ids=str,
)
def test_each_rule(changes: dict[str, object], found: list[tuple[str, str]]) -> None:
    assert codes(replace(GOOD, **changes)) == found


def test_generation_2_has_its_own_limits() -> None:
    big = made(offload=True, generation=TWO, disk_format=VHDX, cpus=129, memory_mb=(2 << 20) + 2)
    assert codes(big) == [("cpus", "cpus-exceed-host"), ("memory_mb", "memory-exceeds-host")]
    assert codes(big, replace(AROUND, inventory=replace(HOST, cpus=0, memory_mb=0))) == []


def test_what_the_host_cannot_do() -> None:
    host = replace(HOST, offload=False, offload_hindrance="No engine is installed there.")
    found = violations(made(offload=True), replace(AROUND, inventory=host))
    assert [(v.code, v.reason) for v in found] == [("offload-not-available", "No engine is installed there.")]
    old = replace(AROUND, inventory=replace(HOST, disk_formats=(VHDX,)))
    assert codes(GOOD, old) == [("disk_format", "format-not-on-host")]


def test_an_unknown_host_is_not_judged() -> None:
    nothing = Surroundings()
    bold = made(network="WAN", cache_gb=9999, storage_path=r"M:\x", agent="hv99")
    assert codes(bold, nothing) == []
    assert codes(replace(bold, template_vm="x"), nothing) == []
    assert not isinstance(resulting_hardware(replace(bold, template_vm="x"), None), Hardware)
    assert codes(replace(bold, storage_path="/srv/vm"), nothing) == []
    assert codes(replace(bold, storage_path="vm"), nothing) == [("storage_path", "path-relative")]


def test_posix_hosts() -> None:
    around = replace(AROUND, inventory=replace(HOST, platform=HostPlatform.POSIX, drives=(), volumes=()))
    assert codes(made(storage_path="/srv/vm"), around) == []
    assert codes(GOOD, around) == [("storage_path", "path-other-platform")]


def test_the_template_is_named() -> None:
    found = violations(replace(GOOD, template_vm="Gold"), AROUND)
    assert found[0].reason == "The template VM Gold has a disk attached: a.vhd, b.vhd, c, …."
    assert not isinstance(resulting_hardware(made(template=NO_ADAPTER), HOST), Hardware)


def test_hardware_of_the_template_is_taken_over() -> None:
    settings = made(template=UEFI, offload=True, generation=TWO, disk_format=VHDX, network="DMZ")
    assert resulting_hardware(settings, HOST) == Hardware(
        TWO, Firmware.UEFI, 6, 6144, ("LAN", "DMZ"), "t-uefi"
    )
    assert resulting_hardware(GOOD, HOST) == Hardware(ONE, Firmware.BIOS, 4, 8192, ("LAN",), None)
    loose = resulting_hardware(made(template=UNPLUGGED), HOST)
    assert isinstance(loose, Hardware)
    assert loose.switches == ("LAN",)


def test_cache_limit() -> None:
    assert [made(cache_gb=n).cache_limit_bytes for n in (None, 0, 1)] == [0, 0, 1 << 30]


settings_at_random = st.builds(
    HyperVSettings,
    name=st.text(max_size=70),
    agent=st.sampled_from(["hv01", "twin", "x"]),
    storage_path=st.sampled_from([r"C:\vm", "", "x", r"M:\x", r"\\s\s", "/srv"]),
    template_vm=st.sampled_from([None, *(t.name for t in HOST.template_vms), "x"]),
    cpus=st.integers(-1, 300),
    memory_mb=st.integers(-1, 1 << 25),
    network=st.sampled_from([None, "LAN", "x"]),
    generation=st.sampled_from(Generation),
    disk_format=st.sampled_from(DiskFormat),
    offload=st.booleans(),
    storage_unc_path=st.sampled_from([None, r"\\s\s", "x"]),
    cache_gb=st.none() | st.integers(-1, 1 << 21),
)


@given(settings_at_random, st.booleans())
def test_violations_name_fields_and_say_what_to_do(settings: HyperVSettings, known: bool) -> None:
    around = AROUND if known else Surroundings()
    found = violations(settings, around)
    fields = [f.name for f in HYPERV.fields]
    assert all(v.field in fields and v.reason.endswith(".") for v in found)
    assert len(set(found)) == len(found)
    assert {v for group in grouped_violations(settings, around).values() for v in group} == set(found)
    assert list(values_of(HYPERV, settings)) == fields


@given(settings_at_random)
def test_whatever_the_rules_let_through_is_in_the_tables(settings: HyperVSettings) -> None:
    if violations(settings, AROUND):
        return
    assert CC_2[settings.offload, settings.generation, settings.disk_format] == set()
    template = next((t for t in HOST.template_vms if t.name == settings.template_vm), None)
    firmware = template.firmware if template else None
    row = next((t for t in TEMPLATES if (t.firmware if t else None) == firmware), None)
    hardware = resulting_hardware(settings, HOST)
    assert isinstance(hardware, Hardware)
    assert hardware.firmware == CC_3[settings.offload, row, settings.generation]
    assert template is None or (template.adapters and not template.disks)
