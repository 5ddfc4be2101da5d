"""What agents report, and the transfer policy."""

from __future__ import annotations

import pytest

from sekiso.model.connector import (
    AgentInventory,
    KnownAgent,
    SwitchItem,
    TemplateVm,
    TransferPolicy,
    TransferScheme,
    VolumeItem,
    find_agents,
)
from sekiso.model.machine import Firmware, Generation
from sekiso.model.storage_path import HostPlatform, StoragePath, parse_storage_path

GIB = 1 << 30
A, B = (TemplateVm(i, "Base", Firmware.BIOS, 2, 2048, ("LAN",)) for i in ("id-a", "id-b"))
HOST = AgentInventory(
    "0.1.0",
    "hv01",
    HostPlatform.WINDOWS,
    switches=(SwitchItem("LAN"),),
    template_vms=(A, B, TemplateVm("id-c", "Gold", Firmware.UEFI, 2, 2048, ("LAN",))),
    volumes=(
        VolumeItem("C:\\", 100 * GIB, 10 * GIB),
        VolumeItem(r"C:\ClusterStorage\Volume1", 900 * GIB, 800 * GIB),
        VolumeItem("?", 1, 1),
    ),
)


def volume_of(host: AgentInventory, text: str) -> str | None:
    path = parse_storage_path(text, host.platform)
    assert isinstance(path, StoragePath)
    volume = host.volume_of(path)
    return volume.path if volume else None


def test_volumes_the_innermost_counts() -> None:
    assert volume_of(HOST, r"c:\vm") == "C:\\"
    assert volume_of(HOST, r"C:\clusterstorage\volume1\x") == r"C:\ClusterStorage\Volume1"
    assert volume_of(HOST, r"C:\ClusterStorage\Volume12") == "C:\\"
    assert volume_of(HOST, r"D:\vm") is None
    assert volume_of(HOST, r"\\srv\vm") is None
    posix = AgentInventory(
        "0.1.0", "q", HostPlatform.POSIX, volumes=(VolumeItem("/", 1, 1), VolumeItem("/srv", 2, 2))
    )
    assert volume_of(posix, "/srv/vm") == "/srv"
    assert volume_of(posix, "/srv2") == "/"


def test_an_identifier_wins_over_names() -> None:
    assert HOST.find_template_vms("ID-A") == (A,)
    assert HOST.find_template_vms("base") == (A, B)
    assert HOST.find_template_vms("none") == ()
    assert HOST.template_vms[2].generation is Generation.TWO
    agents = (KnownAgent("1", "hv", online=True), KnownAgent("hv", "other", online=False))
    assert find_agents(agents, "HV") == (agents[1],)


def test_switches_go_by_name_without_case() -> None:
    assert HOST.find_switch("lan") == SwitchItem("LAN")
    assert HOST.find_switch("wan") is None


def test_http_verifies_nothing() -> None:
    assert TransferPolicy() == TransferPolicy(TransferScheme.HTTP, verify=False)
    with pytest.raises(ValueError, match="HTTP"):
        TransferPolicy(TransferScheme.HTTP, verify=True)
