"""What the appliance can ask of an agent: dataclasses for the parameters and the result of each method.

Every method is convergent: asked again after a crash of either side it finds what is there already, finishes
what was half done, and answers as if it had been asked once (AG-5). So the keys that name things (task,
version, image) come from the appliance. Paths are texts in the notation of the agent's host. Files that
travel are named by a `Ticket`; its URL and secret are not kept by either side's journal.

Places below a storage path (CC-5), made when needed:

    Layers/<identity>.wim                 layers that have travelled to the agent, or were captured there
    Cache/<key>.<vhd|vhdx>, <key>.json    layer disk cache (IM-4)
    Packaging/<version id>/               boot disk (when there is no cache), packaging disk, machine
    Images/<image name>/                  published disk and its machine
    Tasks/<task id>/                      scratch of a task
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sekiso.guests.booting import Generalization
from sekiso.model.connector import AgentInventory
from sekiso.model.layer import LayerKind
from sekiso.model.machine import DiskAllocation, DiskFormat, Generation
from sekiso.model.storage_path import SamePlaceQuestion

#: Grows when a method changes in a way that the other side must know of. 2: streams.
CONTRACT_VERSION = 2
#: Agents since this version know streams.
FIRST_WITH_STREAMS = 2


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to move one file, as handed to the agent (TR-4). It shows no secret in logs.

    Attributes:
        path: path of the URL, beginning with `/transfer/`.
        port: TCP port of the appliance's transfer server; the host is the one the agent is connected to.
        https: whether TLS is used.
        verify: whether the appliance's certificate is verified: against the one pinned at registration, or
            else by the authorities of the system.
        secret: the grant's secret.
    """

    path: str
    port: int
    https: bool
    verify: bool
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file at the agent and what it holds.

    Attributes:
        path: where.
        manifest: `transfer.manifest.Manifest.to_dict()`.
    """

    path: str
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Moved:
    """What a transfer moved.

    Attributes:
        wire_bytes: bytes of content that crossed the wire by this command; less after a resumed one.
    """

    wire_bytes: int


@dataclass(frozen=True, slots=True)
class Done:
    """It is so now."""


# --- host and storage -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InventoryParams:
    """`host.inventory`: report the host (AG-3). Result: `AgentInventory`."""


@dataclass(frozen=True, slots=True)
class StorageProbeParams:
    """`storage.probe`: make the folder if absent; write, read and delete a probe file there (CC-5)."""

    storage_path: str


@dataclass(frozen=True, slots=True)
class StorageProbeResult:
    """Who could write, and how much is free.

    Attributes:
        account: the account that wrote.
        free_bytes: what it may still write.
    """

    account: str
    free_bytes: int


@dataclass(frozen=True, slots=True)
class SamePlaceParams:
    """`storage.probe-same-place`: write through one path, look through the other."""

    question: SamePlaceQuestion


@dataclass(frozen=True, slots=True)
class SamePlaceResult:
    """Whether both paths are one place."""

    same: bool


@dataclass(frozen=True, slots=True)
class CleanUpParams:
    """`task.clean-up`: remove the scratch of a task, unfinished transfers included. Result: `Done`."""

    storage_path: str
    task_id: str


# --- files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DescribeFileParams:
    """`file.describe`: hash a file below the storage path. Result: `FileFacts`."""

    storage_path: str
    path: str


@dataclass(frozen=True, slots=True)
class UploadFileParams:
    """`file.upload`: send a file below the storage path to the appliance; resumes. Result: `Moved`."""

    storage_path: str
    path: str
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class DownloadFileParams:
    """`file.download`: fetch a file from the appliance into the scratch of a task. Result: `FileFacts`.

    Attributes:
        name: its name in `Tasks/<task id>/`.
        manifest: what it must hold.
    """

    storage_path: str
    task_id: str
    name: str
    manifest: dict[str, Any]
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class ProbeTransferParams:
    """`transfer.probe-download`, `transfer.probe-upload`: copy a small file one way and compare (CC-7).

    Upload: the agent makes a file that holds `content` and sends it. Download: it fetches a file and compares
    it with `content`. The file at the agent lies in the storage path and is removed. Result: `Done`.

    Attributes:
        content: what the file holds (ASCII).
        manifest: the same as a manifest.
        name: name of the file at the agent, unique.
    """

    storage_path: str
    name: str
    content: str
    manifest: dict[str, Any]
    ticket: Ticket


# --- layers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MissingLayersParams:
    """`layers.missing`: which of these layers are not there, whole, at the storage path (TR-5)."""

    storage_path: str
    identities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MissingLayersResult:
    """Identities of the layers that have to travel, in the order asked for."""

    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FetchLayerParams:
    """`layers.fetch`: fetch one layer file into `Layers/`. Result: `Moved`, 0 bytes if it was there."""

    storage_path: str
    identity: str
    manifest: dict[str, Any]
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class RemoveLayersParams:
    """`layers.remove`: forget layers at the storage path. Result: `Done`."""

    storage_path: str
    identities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LayerMade:
    """A layer file made at the agent.

    Attributes:
        path: where it lies, in `Layers/`.
        identity: its identity.
        file_bytes: size of the file.
        changed: number of entries it adds or changes; for an import, of all.
        deleted: number of entries it deletes.
        os_name: name of the operating system; imports only.
        notes: what a reader must know.
    """

    path: str
    identity: str
    file_bytes: int
    changed: int
    deleted: int
    os_name: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceDisk:
    """An operating system to import: a disk file at the agent's host, or a machine that is off.

    Attributes:
        disk_path: the disk file; None if a machine is named.
        machine: identifier or name of the machine, whose boot disk is read; None if a disk is named.
    """

    disk_path: str | None = None
    machine: str | None = None


@dataclass(frozen=True, slots=True)
class ImportOsParams:
    """`os.import`: import an operating system at the agent (offload). Result: `LayerMade`."""

    storage_path: str
    task_id: str
    source: SourceDisk
    name: str
    version: str
    guest_tools: bool


@dataclass(frozen=True, slots=True)
class PackOsParams:
    """`os.pack`: copy the disk to be imported as a compact VHDX into the task's scratch. Result: `FileFacts`.

    So only allocated blocks travel, and the copy is frozen (no offload).
    """

    storage_path: str
    task_id: str
    source: SourceDisk


# --- disks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiskRecipe:
    """What a composed disk is; the same recipe makes the same bytes, wherever it is followed.

    Attributes:
        identities: layers in merge order, OS first.
        generation: generation of the machines it is for.
        disk_format: VHD or VHDX.
        allocation: fixed or dynamic.
        size_bytes: its size; None = what the layers need.
        generalization: what happens to the machine's identity.
        created_s: time stamp of what the engine makes, Unix seconds.
        title: name in the boot menu.
    """

    identities: tuple[str, ...]
    generation: Generation
    disk_format: DiskFormat
    allocation: DiskAllocation = DiskAllocation.DYNAMIC
    size_bytes: int | None = None
    generalization: Generalization = Generalization.NONE
    created_s: int = 0
    title: str = "sekiso"


@dataclass(frozen=True, slots=True)
class ComposeDiskParams:
    """`disk.compose`: make a disk at the agent, or take it from the cache (IM-3, IM-4). Result: `DiskMade`.

    Attributes:
        recipe: what it is.
        received: a disk that the appliance composed and that `file.download` has put into the scratch: it
            is moved to its place, nothing is composed here; None = compose here.
        target: `packaging` puts it where packaging machine `owner_id` finds it, or into the cache;
            `image` puts a copy of its own into `Images/<owner name>/`.
        owner_id: the layer version or the image.
        owner_name: name of the image.
        disk_name: name of the disk file without suffix; images only.
        cache_bytes: limit of the layer disk cache; 0 = no cache.
        only_cached: answer with an empty path where the cache has no such disk.
    """

    storage_path: str
    task_id: str
    recipe: DiskRecipe
    target: str
    owner_id: str
    owner_name: str = ""
    disk_name: str = ""
    received: str | None = None
    cache_bytes: int = 0
    only_cached: bool = False


@dataclass(frozen=True, slots=True)
class DiskMade:
    """A disk at the agent.

    Attributes:
        path: where; empty if only the cache was asked and has none.
        file_bytes: bytes that it takes up.
        cache_hit: whether it came from the cache.
        plan_id: identity of the plan; empty if it came from elsewhere.
        conflicts: number of conflicts between its layers; -1 = not known here.
    """

    path: str
    file_bytes: int
    cache_hit: bool
    plan_id: str = ""
    conflicts: int = -1


@dataclass(frozen=True, slots=True)
class CacheParams:
    """`cache.list`: what the layer disk cache holds. Result: `CacheFacts`."""

    storage_path: str


@dataclass(frozen=True, slots=True)
class ClearCacheParams:
    """`cache.clear`: remove disks from the cache that nothing uses. Result: `CacheFacts`, of what is left.

    Attributes:
        keys: which; None = all.
        limit_bytes: instead, remove the least recently used until the rest fits; None = not.
    """

    storage_path: str
    keys: tuple[str, ...] | None = None
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CachedDisk:
    """One disk of the layer disk cache. Times are Unix seconds.

    Attributes:
        key: its key: content identity of its recipe.
        identities: its layers.
        disk_format: VHD or VHDX.
        generation: for machines of this generation.
        file_bytes: bytes that it takes up.
        hits: how often it was used again.
        created_s: when it was made.
        used_s: when it was last used.
        in_use_by: packaging machines (version identifiers) that run on it.
    """

    key: str
    identities: tuple[str, ...]
    disk_format: DiskFormat
    generation: Generation
    file_bytes: int
    hits: int
    created_s: float
    used_s: float
    in_use_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """The layer disk cache of a storage path.

    Attributes:
        disks: what it holds, last used first.
        file_bytes: bytes that all take up.
        hits: how often a disk was found, since the cache was begun.
        misses: how often not.
        evictions: how many disks were removed to keep the limit.
        rebuilt: how many disks were found damaged, removed and made again.
    """

    disks: tuple[CachedDisk, ...]
    file_bytes: int
    hits: int
    misses: int
    evictions: int
    rebuilt: int


# --- machines ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine is made of: after a template VM, or by numbers.

    Attributes:
        generation: generation of the machine.
        cpus: virtual processors; not used with a template.
        memory_mb: memory in MiB; not used with a template.
        network: name of the switch; with a template, for adapters that it leaves unconnected; None = none.
        template_vm: identifier of the template VM; None = none.
        secure_boot: whether a machine without a template enforces Secure Boot.
    """

    generation: Generation
    cpus: int
    memory_mb: int
    network: str | None = None
    template_vm: str | None = None
    secure_boot: bool = False


@dataclass(frozen=True, slots=True)
class CreatePackagingParams:
    """`packaging.create`: make and start the packaging machine of a version. Result: `PackagingMade`.

    Attributes:
        boot_disk: path as `disk.compose` answered.
        run_once: a raw disk in the scratch of the task whose script runs in the machine; None = none.
    """

    storage_path: str
    task_id: str
    version_id: str
    machine_name: str
    hardware: Hardware
    boot_disk: str
    disk_format: DiskFormat
    run_once: str | None = None


@dataclass(frozen=True, slots=True)
class PackagingMade:
    """A packaging machine.

    Attributes:
        machine_id: its identifier.
        machine_name: its name.
        packaging_disk: its writable disk.
    """

    machine_id: str
    machine_name: str
    packaging_disk: str


@dataclass(frozen=True, slots=True)
class PackagingParams:
    """`packaging.start` (again), `.shut-down`, `.turn-off`, `.remove`. Result: `Done`.

    Removing takes machine and disks, also when they were never finished.
    """

    storage_path: str
    version_id: str


@dataclass(frozen=True, slots=True)
class PackagingStatesParams:
    """`packaging.states`: what packaging machines are doing. Result: `PackagingStates`."""

    storage_path: str
    version_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PackagingState:
    """One packaging machine.

    Attributes:
        version_id: the layer version.
        state: `hypervisors.facts.MachineState` value; empty if there is no such machine.
        uptime_s: since it was started.
        ready: whether its guest has reported since it was last started.
        gate_known: whether the integrity gate has been reported since it was last started.
        gate: what is unfinished, each `code: detail` (LY-8).
        finalized: whether the guest said that it finalized itself; None = nothing said.
        run_once_running: names of run-once scripts that have begun and not ended.
        run_once_failed: names of those that failed, with the end of what they printed.
    """

    version_id: str
    state: str
    uptime_s: float = 0.0
    ready: bool = False
    gate_known: bool = False
    gate: tuple[str, ...] = ()
    finalized: bool | None = None
    run_once_running: tuple[str, ...] = ()
    run_once_failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PackagingStates:
    """The packaging machines asked for, in that order."""

    states: tuple[PackagingState, ...]


@dataclass(frozen=True, slots=True)
class CaptureLayerParams:
    """`layer.capture`: capture the changes of a packaging disk at the agent (offload). Result: `LayerMade`.

    Attributes:
        base: identities of the layers of the boot disk, lowest first.
    """

    storage_path: str
    task_id: str
    version_id: str
    base: tuple[str, ...]
    name: str
    version: str
    kind: LayerKind
    ignore_gate: bool


@dataclass(frozen=True, slots=True)
class FreezePackagingParams:
    """`packaging.freeze`: hash the packaging disk of a machine that is off, to be uploaded as it is.

    Result: `FileFacts`; its path is below the storage path.
    """

    storage_path: str
    version_id: str


@dataclass(frozen=True, slots=True)
class CreateImageMachineParams:
    """`image.create-machine`: make the machine of an image, switched off (IM-2). Result: `MachineMade`."""

    storage_path: str
    image_id: str
    name: str
    hardware: Hardware
    disk_path: str
    disk_format: DiskFormat


@dataclass(frozen=True, slots=True)
class MachineMade:
    """A machine: its identifier and its name."""

    machine_id: str
    machine_name: str


@dataclass(frozen=True, slots=True)
class RemoveImageParams:
    """`image.remove`: turn off and remove the machine of an image, its disk and folder. Result: `Done`.

    Attributes:
        name: the image; its folder is `Images/<name>/`.
        machine_id: its machine; empty if it was never made or is not known.
    """

    storage_path: str
    image_id: str
    name: str
    machine_id: str


@dataclass(frozen=True, slots=True)
class BootTestParams:
    """`image.boot-test`: start an image without writing to it and wait for its guest's report (IM-6)."""

    storage_path: str
    task_id: str
    disk_path: str
    disk_format: DiskFormat
    hardware: Hardware
    timeout_s: float = 900.0


@dataclass(frozen=True, slots=True)
class BootTestResult:
    """What a boot test showed.

    Attributes:
        reported_s: from power on to the guest's complete report.
        report: the guest's report, plain data.
        screenshot_png: its screen, base64.
    """

    reported_s: float
    report: dict[str, Any]
    screenshot_png: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ScreenParams:
    """The screen of a packaging machine: `packaging.screenshot` as a `Picture`, `packaging.screen` live."""

    storage_path: str
    version_id: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG picture, base64."""

    png: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PressKeysParams:
    """`packaging.press-keys`: type into a packaging machine. Result: `Done`."""

    storage_path: str
    version_id: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its parameters, its result, and whether many may run at once beside long work.

    Attributes:
        params: dataclass of the parameters.
        result: dataclass of the result.
        quick: answers in seconds and is never queued behind long work; it has no progress.
    """

    params: type
    result: type
    quick: bool = False


METHODS: Mapping[str, Method] = {
    "host.inventory": Method(InventoryParams, AgentInventory, quick=True),
    "storage.probe": Method(StorageProbeParams, StorageProbeResult, quick=True),
    "storage.probe-same-place": Method(SamePlaceParams, SamePlaceResult, quick=True),
    "task.clean-up": Method(CleanUpParams, Done, quick=True),
    "file.describe": Method(DescribeFileParams, FileFacts),
    "file.upload": Method(UploadFileParams, Moved),
    "file.download": Method(DownloadFileParams, FileFacts),
    "transfer.probe-download": Method(ProbeTransferParams, Done, quick=True),
    "transfer.probe-upload": Method(ProbeTransferParams, Done, quick=True),
    "layers.missing": Method(MissingLayersParams, MissingLayersResult, quick=True),
    "layers.fetch": Method(FetchLayerParams, Moved),
    "layers.remove": Method(RemoveLayersParams, Done, quick=True),
    "os.import": Method(ImportOsParams, LayerMade),
    "os.pack": Method(PackOsParams, FileFacts),
    "disk.compose": Method(ComposeDiskParams, DiskMade),
    "cache.list": Method(CacheParams, CacheFacts, quick=True),
    "cache.clear": Method(ClearCacheParams, CacheFacts, quick=True),
    "packaging.create": Method(CreatePackagingParams, PackagingMade),
    "packaging.start": Method(PackagingParams, Done, quick=True),
    "packaging.shut-down": Method(PackagingParams, Done, quick=True),
    "packaging.turn-off": Method(PackagingParams, Done, quick=True),
    "packaging.remove": Method(PackagingParams, Done, quick=True),
    "packaging.states": Method(PackagingStatesParams, PackagingStates, quick=True),
    "packaging.freeze": Method(FreezePackagingParams, FileFacts),
    "packaging.screenshot": Method(ScreenParams, Picture, quick=True),
    "packaging.press-keys": Method(PressKeysParams, Done, quick=True),
    "layer.capture": Method(CaptureLayerParams, LayerMade),
    "image.create-machine": Method(CreateImageMachineParams, MachineMade),
    "image.remove": Method(RemoveImageParams, Done, quick=True),
    "image.boot-test": Method(BootTestParams, BootTestResult),
}

#: Streams of bytes, by name, and their parameters. They are not durable: each ends with the connection.
STREAMS: Mapping[str, type] = {
    # Speaks RFB (RFC 6143), the appliance's side as client.
    "packaging.screen": ScreenParams,
}
