"""A host and a configuration that breaks no rule."""

from __future__ import annotations

from sekiso.connectors.base import Surroundings
from sekiso.connectors.hyperv.settings import HyperVSettings
from sekiso.model.connector import AgentInventory, KnownAgent, SwitchItem, TemplateVm, VolumeItem
from sekiso.model.machine import Firmware
from sekiso.model.storage_path import Drive, DriveKind, HostPlatform

GIB = 1 << 30
BIOS = TemplateVm("t-bios", "Template BIOS", Firmware.BIOS, 2, 4096, ("LAN",))
UEFI = TemplateVm("t-uefi", "Template UEFI", Firmware.UEFI, 6, 6144, ("LAN", None))
SECURE = TemplateVm("t-secure", "Template Secure", Firmware.UEFI_SECURE_BOOT, 8, 8192, ("LAN",))
WITH_DISK = TemplateVm("t-disk", "Gold", Firmware.BIOS, 2, 4096, ("LAN",), ("a.vhd", "b.vhd", "c", "d"))
NO_ADAPTER = TemplateVm("t-none", "Bare", Firmware.BIOS, 2, 4096, ())
UNPLUGGED = TemplateVm("t-loose", "Loose", Firmware.BIOS, 2, 4096, (None,))
TWIN_A = TemplateVm("t-1", "Twin", Firmware.BIOS, 2, 4096, ("LAN",))
TWIN_B = TemplateVm("t-2", "Twin", Firmware.BIOS, 2, 4096, ("LAN",))
HOST = AgentInventory(
    agent_version="0.1.0",
    host_name="hv01",
    platform=HostPlatform.WINDOWS,
    account="NT AUTHORITY\\SYSTEM",
    cpus=128,
    memory_mb=2 << 20,
    switches=(SwitchItem("LAN"), SwitchItem("DMZ")),
    template_vms=(BIOS, UEFI, SECURE, WITH_DISK, NO_ADAPTER, UNPLUGGED, TWIN_A, TWIN_B),
    volumes=(VolumeItem("C:\\", 500 * GIB, 200 * GIB),),
    drives=(Drive("C", DriveKind.FIXED), Drive("M", DriveKind.MAPPED, r"\\nas\vms")),
)
AGENTS = (
    KnownAgent("a-1", "hv01", online=True),
    KnownAgent("a-2", "twin", online=True),
    KnownAgent("a-3", "twin", online=True),
)
AROUND = Surroundings(AGENTS, HOST, other_names=("Test",))
GOOD = HyperVSettings("Production", "hv01", r"C:\Virtual Machines", network="LAN")
