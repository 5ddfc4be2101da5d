"""What a form offers: exactly what the rules allow, never a dead end (CC-2, CC-3)."""

from __future__ import annotations

import itertools

import pytest

from sekiso.connectors.base import Surroundings
from sekiso.connectors.hyperv.combination import (
    FORMATS,
    Combination,
    Given,
    combination_violations,
    offered_combinations,
    settle,
)
from sekiso.connectors.hyperv.connector import HyperVConnector, combination_of
from sekiso.model.connector import AgentInventory
from sekiso.model.machine import DiskFormat, Firmware, Generation
from sekiso.model.storage_path import HostPlatform

from .examples import AROUND, HOST, SECURE, UEFI

ONE, TWO = Generation
CHOICES = [Combination(*c) for c in itertools.product((False, True), Generation, FORMATS)]
GIVENS = [
    Given(firmware, hindrance, formats)
    for firmware in (None, *Firmware)
    for hindrance in ("", "The engine is missing there.")
    for formats in (FORMATS, (DiskFormat.VHD,), (DiskFormat.VHDX,))
]


def offered(choice: Combination, given: Given, field: str) -> dict[object, str]:
    return {
        o.value: o.hindrance.code if o.hindrance else ""
        for o in offered_combinations(choice, given)
        if o.field == field
    }


@pytest.mark.parametrize("given", GIVENS, ids=str)
def test_allowed_exactly_if_every_value_is_offered(given: Given) -> None:
    for choice in CHOICES:
        chosen = (
            ("offload", choice.offload),
            ("generation", choice.generation),
            ("disk_format", choice.disk_format),
        )
        every = all(offered(choice, given, field)[value] == "" for field, value in chosen)
        assert every == (combination_violations(choice, given) == ())


@pytest.mark.parametrize("given", GIVENS, ids=str)
def test_settling_ends_at_an_allowed_choice_and_keeps_what_is_allowed(given: Given) -> None:
    possible = [c for c in CHOICES if not combination_violations(c, given)]
    for choice in CHOICES:
        settled = settle(choice, given)
        if possible:
            assert settled in possible
            assert choice not in possible or settled == choice
            assert settled.offload == choice.offload or not any(p.offload == choice.offload for p in possible)
        else:
            assert settled == choice


def test_offers_without_a_template() -> None:
    off, nothing = Combination(), Given()
    assert offered(off, nothing, "offload") == {False: "", True: ""}
    assert offered(off, nothing, "generation") == {1: "", 2: "generation2-needs-offload"}
    assert offered(off, nothing, "disk_format") == {"vhd": "", "vhdx": "vhdx-needs-offload"}
    two = Combination(True, TWO, DiskFormat.VHDX)
    assert offered(two, nothing, "generation") == {1: "", 2: ""}
    assert offered(two, nothing, "disk_format") == {"vhd": "generation2-needs-vhdx", "vhdx": ""}


def test_offers_with_a_uefi_template() -> None:
    given = Given(Firmware.UEFI)
    assert offered(Combination(), given, "offload") == {False: "uefi-template-needs-offload", True: ""}
    on = Combination(offload=True)
    assert offered(on, given, "generation") == {1: "generation-differs-from-template", 2: ""}
    assert settle(Combination(), given) == Combination(True, TWO, DiskFormat.VHDX)


def test_labels() -> None:
    labels = [o.label for o in offered_combinations(Combination(), Given())]
    assert labels == ["Off", "On", "Generation 1", "Generation 2", "VHD", "VHDX"]


def test_form_offers() -> None:
    found = HyperVConnector().offers({"template_vm": UEFI.id, "offload": "?"}, AROUND)
    by_field = {f: {o.label: o.offered for o in found if o.field == f} for f in {o.field for o in found}}
    assert by_field["agent"] == {"hv01": True, "twin": True}
    assert by_field["network"] == {"LAN": True, "DMZ": True}
    assert by_field["template_vm"]["Gold"] is False
    assert by_field["template_vm"]["Bare"] is False
    assert by_field["template_vm"][SECURE.name] is True
    assert by_field["offload"] == {"Off": False, "On": True}


def test_templates_that_go_with_nothing_here_are_not_offered() -> None:
    host = AgentInventory("0.1", "h", HostPlatform.POSIX, template_vms=HOST.template_vms, offload=False)
    found = HyperVConnector().offers({}, Surroundings(inventory=host))
    codes = {o.value: o.hindrance.code if o.hindrance else "" for o in found if o.field == "template_vm"}
    assert codes["t-bios"] == ""
    assert codes["t-uefi"] == codes["t-secure"] == "uefi-template-needs-offload"


def test_settled_form() -> None:
    values = {"template_vm": UEFI.name, "offload": False, "generation": 1, "disk_format": "vhd", "cpus": 2}
    settled = HyperVConnector().settled(values, HOST)
    assert settled == {**values, "offload": True, "generation": 2, "disk_format": "vhdx"}


@pytest.mark.parametrize("junk", [None, "x", 7, True, [], 1.0])
def test_junk_in_a_form_counts_as_the_default(junk: object) -> None:
    assert combination_of(
        {"offload": junk if junk is not True else 1, "generation": junk, "disk_format": junk}
    ) == (Combination())
