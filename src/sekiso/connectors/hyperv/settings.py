"""Settings of a Hyper-V connector configuration (CC-1).

Sizes are binary as Hyper-V writes them: 1 MB is 2**20 bytes, 1 GB is 2**30.
"""

from __future__ import annotations

from dataclasses import dataclass

from sekiso.connectors.base import (
    N_,
    Ability,
    Choice,
    ChoiceSource,
    Condition,
    Declaration,
    FieldKind,
    SettingField,
)
from sekiso.connectors.hyperv.limits import (
    MAX_CACHE_GB,
    MAX_CPUS,
    MAX_MEMORY_MB,
    MAX_NAME_CHARS,
    MEMORY_STEP_MB,
    MIN_MEMORY_MB,
)
from sekiso.model.machine import DiskFormat, Generation


@dataclass(frozen=True, slots=True)
class HyperVSettings:
    """One connector configuration of the Hyper-V connector.

    Attributes:
        name: its name, unique among connector configurations.
        agent: identifier or name of a registered agent.
        storage_path: folder for layer disks, packaging machines and layered image disks.
        template_vm: identifier or name of a template VM; None = none.
        cpus: virtual processors of machines that are made without a template VM.
        memory_mb: memory of machines that are made without a template VM.
        network: name of the switch that machines are plugged into; with a template VM, those of its adapters
            that are not connected.
        generation: generation of machines and of layers made through this configuration.
        disk_format: VHD or VHDX.
        offload: compositing runs on the agent's host.
        storage_unc_path: the same folder as `storage_path` as a UNC path; None = not given.
        cache_gb: limit of the layer disk cache; 0 or None = no cache.
    """

    name: str
    agent: str
    storage_path: str
    template_vm: str | None = None
    cpus: int = 4
    memory_mb: int = 8192
    network: str | None = None
    generation: Generation = Generation.ONE
    disk_format: DiskFormat = DiskFormat.VHD
    offload: bool = False
    storage_unc_path: str | None = None
    cache_gb: int | None = None

    @property
    def cache_limit_bytes(self) -> int:
        """Limit of the layer disk cache; 0 = no cache."""
        return (self.cache_gb or 0) << 30


_GENERAL = N_("General")
_AGENT = N_("Hyper-V configuration")
_MACHINE = N_("Virtual machine settings")
_STORAGE = N_("Storage settings")
_NO_TEMPLATE = (Condition("template_vm", (None,)),)

_FIELDS = (
    SettingField(
        "name",
        FieldKind.TEXT,
        N_("Name"),
        "A name for this connector configuration, unique among all of them.",
        section=_GENERAL,
        required=True,
        max_chars=MAX_NAME_CHARS,
    ),
    SettingField(
        "agent",
        FieldKind.REFERENCE,
        N_("Agent"),
        "The agent on the server where machines and disks are made. "
        "It works with that machine's own account.",
        section=_AGENT,
        required=True,
        source=ChoiceSource.AGENTS,
    ),
    SettingField(
        "template_vm",
        FieldKind.REFERENCE,
        N_("Template VM"),
        "A machine whose hardware settings new machines take over. "
        "It has at least one network adapter and no disk.",
        section=_MACHINE,
        source=ChoiceSource.TEMPLATE_VMS,
    ),
    SettingField(
        "cpus",
        FieldKind.INTEGER,
        N_("Number of CPUs"),
        "Virtual processors of packaging machines and layered image machines. "
        "With a template VM, its own number counts.",
        section=_MACHINE,
        default=4,
        minimum=1,
        maximum=MAX_CPUS,
        enabled_when=_NO_TEMPLATE,
    ),
    SettingField(
        "memory_mb",
        FieldKind.INTEGER,
        N_("Memory (MB)"),
        "Memory of packaging machines and layered image machines. With a template VM, its own amount counts.",
        section=_MACHINE,
        default=8192,
        unit="MB",
        minimum=MIN_MEMORY_MB,
        maximum=MAX_MEMORY_MB,
        step=MEMORY_STEP_MB,
        enabled_when=_NO_TEMPLATE,
    ),
    SettingField(
        "network",
        FieldKind.REFERENCE,
        N_("Network"),
        "The network switch that machines are connected to, one of those that the agent reports. "
        "With a template VM, it is for adapters that the template leaves unconnected.",
        section=_MACHINE,
        source=ChoiceSource.SWITCHES,
    ),
    SettingField(
        "offload",
        FieldKind.SWITCH,
        N_("Offload compositing"),
        "Layers are packaged and images published on the Hyper-V server instead of the appliance. "
        "This is faster, and generation 2 and VHDX need it.",
        section=_MACHINE,
        default=False,
    ),
    SettingField(
        "generation",
        FieldKind.CHOICE,
        N_("Generation"),
        "Generation 1 starts with BIOS, generation 2 with UEFI. Generation 2 needs offload compositing.",
        section=_MACHINE,
        default=1,
        choices=(Choice(1, N_("Generation 1")), Choice(2, N_("Generation 2"))),
        values_type=Generation,
    ),
    SettingField(
        "disk_format",
        FieldKind.CHOICE,
        N_("Disk format"),
        "Generation 1 takes VHD or VHDX, generation 2 VHDX only. VHDX needs offload compositing.",
        section=_MACHINE,
        default="vhd",
        choices=(Choice("vhd", "VHD"), Choice("vhdx", "VHDX")),
        values_type=DiskFormat,
    ),
    SettingField(
        "storage_path",
        FieldKind.PATH,
        N_("Storage path"),
        "The folder for layer disks, packaging machines and layered image disks, "
        "such as C:\\Virtual Machines. It cannot be on a mapped drive.",
        section=_STORAGE,
        required=True,
    ),
    SettingField(
        "storage_unc_path",
        FieldKind.PATH,
        N_("Storage path as UNC path"),
        "The same folder as other machines reach it, such as \\\\server\\share\\folder. "
        "Leave it out if there is none.",
        section=_STORAGE,
    ),
    SettingField(
        "cache_gb",
        FieldKind.INTEGER,
        N_("Layer disk cache size (GB)"),
        "How much room at the storage path boot disks and packaging disks may take up for reuse. "
        "0 switches the layer disk cache off.",
        section=_STORAGE,
        unit="GB",
        minimum=0,
        maximum=MAX_CACHE_GB,
    ),
)

HYPERV = Declaration(
    code="hyperv",
    label="Microsoft Hyper-V",
    help="Makes packaging machines and publishes layered images on a Hyper-V server through its agent.",
    settings_type=HyperVSettings,
    fields=_FIELDS,
    abilities=frozenset(Ability),
)
