"""A small model of an agent: layers, disks, packaging machines and images in memory, files in a folder."""

from __future__ import annotations

import base64
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sekiso.agent.cache import recipe_key
from sekiso.agent.contract import (
    BootTestParams,
    BootTestResult,
    CaptureLayerParams,
    CleanUpParams,
    ComposeDiskParams,
    CreateImageMachineParams,
    CreatePackagingParams,
    DescribeFileParams,
    DiskMade,
    Done,
    DownloadFileParams,
    FetchLayerParams,
    FileFacts,
    ImportOsParams,
    InventoryParams,
    LayerMade,
    MachineMade,
    MissingLayersParams,
    MissingLayersResult,
    Moved,
    PackagingMade,
    PackagingParams,
    PackagingState,
    PackagingStates,
    PackagingStatesParams,
    Picture,
    PressKeysParams,
    RemoveImageParams,
    RemoveLayersParams,
    ScreenParams,
    Ticket,
    UploadFileParams,
)
from sekiso.hypervisors.errors import WrongStateError
from sekiso.model.connector import AgentInventory
from sekiso.model.layer import BootFacts, GuestFamily, LayerKind, LayerManifest
from sekiso.model.machine import Generation
from sekiso.model.progress import NO_PROGRESS, Progress, check_canceled
from sekiso.store.layer_file import LayerWriter
from sekiso.transfer.grants import Direction, Grants
from sekiso.transfer.manifest import Manifest, hash_file
from sekiso.wim.tree import Node, new_root

from ..contract.agent_port.sources import Source

PNG = b"\x89PNG small"
BOOT = BootFacts(Generation.ONE, "grub", "0", "", "ext4", 1 << 30, 1 << 20)


def write_layer(
    path: Path, name: str, version: str, kind: LayerKind, content: bytes, base: tuple[str, ...] = ()
) -> str:
    """Make a layer file with one file, `/name`, and return its identity."""
    boot = BOOT if kind is LayerKind.OS else None
    manifest = LayerManifest(name, version, kind, GuestFamily.LINUX, tree="", base=base, boot=boot)
    with LayerWriter(path) as writer:
        root = new_root()
        assert root.children is not None
        root.children[name] = Node(name=name, data=writer.wim.add_bytes(content))
        return writer.finish(manifest, root).identity


@dataclass
class Machine:
    """A machine at the agent."""

    id: str
    name: str
    disk: str
    state: str = "running"
    gate_known: bool = False
    gate: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    run_once: str | None = None
    keys: list[str] = field(default_factory=list[str])


@dataclass
class ModelAgent:
    """Carries out commands as an agent does, on what it keeps in memory.

    Attributes:
        folder: where its files really lie.
        grants: the appliance's, which stand for its transfer servers.
        inventory: its host.
        layers: identities of the layers that it has.
        cache: keys of the disks in its cache.
        packaging: packaging machines by version.
        disks: disks in `Images/` by image.
        images: machines by image.
        scratch: tasks with scratch, and the names of the files there.
        captured: content of the layer that is captured next.
        before: called with method and parameters before each is carried out; may raise.
        after: called when it was carried out; may raise.
        served: methods carried out, in order, with their parameters.
        screens: every screen that was opened.
    """

    folder: Path
    grants: Grants
    inventory: AgentInventory
    layers: set[str] = field(default_factory=set[str])
    cache: set[str] = field(default_factory=set[str])
    packaging: dict[str, Machine] = field(default_factory=dict[str, Machine])
    packaging_disks: set[str] = field(default_factory=set[str])
    disks: dict[str, str] = field(default_factory=dict[str, str])
    images: dict[str, Machine] = field(default_factory=dict[str, Machine])
    scratch: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    captured: bytes = b"changes"
    before: Callable[[str, Any], None] = lambda method, params: None
    after: Callable[[str, Any], None] = lambda method, params: None
    served: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    screens: list[Source] = field(default_factory=list[Source])
    lock: threading.RLock = field(default_factory=threading.RLock)

    def run(self, method: str, params: Any, *, command_id: str, progress: Progress = NO_PROGRESS) -> Any:
        """See `Dispatcher`."""
        del command_id
        self.before(method, params)
        check_canceled(progress)
        with self.lock:
            result = getattr(self, "do_" + method.replace(".", "_").replace("-", "_"))(params)
            self.served.append((method, params))
        self.after(method, params)
        return result

    def open_stream(self, method: str, params: Any) -> Source:
        """See `Dispatcher`."""
        assert method == "packaging.screen"
        self.before(method, params)
        with self.lock:
            machine = self.packaging[params.version_id]
            if machine.state != "running":
                raise WrongStateError(
                    machine=machine.name, state=machine.state, operation="show its screen", needed="running"
                )
            self.screens.append(Source(echo=True))
            return self.screens[-1]

    def asked(self, method: str) -> list[Any]:
        """Return the parameters of every time that a method was carried out."""
        return [params for name, params in self.served if name == method]

    def left(self) -> dict[str, Any]:
        """Return what of machines, disks and scratch is there."""
        return {
            "packaging": set(self.packaging),
            "packaging_disks": set(self.packaging_disks),
            "disks": set(self.disks),
            "images": set(self.images),
            "scratch": {task: names for task, names in self.scratch.items() if names},
        }

    def shut_down(self, version_id: str, *gate: str, known: bool = True, **more: Any) -> None:
        """Have the guest of a packaging machine shut down, with what it says is unfinished."""
        machine = self.packaging[version_id]
        machine.state, machine.gate_known, machine.gate = "off", known, gate
        for name, value in more.items():
            setattr(machine, name, value)

    # --- host and files ---------------------------------------------------------------------------------

    def do_host_inventory(self, _: InventoryParams) -> AgentInventory:
        return self.inventory

    def do_task_clean_up(self, params: CleanUpParams) -> Done:
        self.scratch.pop(params.task_id, None)
        return Done()

    def do_file_describe(self, params: DescribeFileParams) -> FileFacts:
        return FileFacts(params.path, hash_file(Path(params.path)).to_dict())

    def do_file_upload(self, params: UploadFileParams) -> Moved:
        target = self._granted(params.ticket, Direction.UPLOAD)
        shutil.copyfile(params.path, target)
        return Moved(target.stat().st_size)

    def do_file_download(self, params: DownloadFileParams) -> FileFacts:
        source = self._granted(params.ticket, Direction.DOWNLOAD)
        assert hash_file(source) == Manifest.from_dict(params.manifest)
        self.scratch.setdefault(params.task_id, set()).add(params.name)
        return FileFacts(f"Tasks/{params.task_id}/{params.name}", params.manifest)

    def _granted(self, ticket: Ticket, direction: Direction) -> Path:
        grant = self.grants.check(ticket.path.split("/")[2], ticket.secret, direction)
        assert grant is not None
        return grant.path

    # --- layers -----------------------------------------------------------------------------------------

    def do_layers_missing(self, params: MissingLayersParams) -> MissingLayersResult:
        return MissingLayersResult(tuple(i for i in params.identities if i not in self.layers))

    def do_layers_fetch(self, params: FetchLayerParams) -> Moved:
        source = self._granted(params.ticket, Direction.DOWNLOAD)
        assert hash_file(source) == Manifest.from_dict(params.manifest)
        self.layers.add(params.identity)
        return Moved(source.stat().st_size)

    def do_layers_remove(self, params: RemoveLayersParams) -> Done:
        self.layers -= set(params.identities)
        return Done()

    def do_os_import(self, params: ImportOsParams) -> LayerMade:
        return self._make(params.name, params.version, LayerKind.OS, params.name.encode(), "Debian")

    def do_layer_capture(self, params: CaptureLayerParams) -> LayerMade:
        assert self.packaging[params.version_id].state == "off"
        assert set(params.base) <= self.layers
        return self._make(params.name, params.version, params.kind, self.captured, base=params.base)

    def _make(
        self,
        name: str,
        version: str,
        kind: LayerKind,
        content: bytes,
        os_name: str = "",
        base: tuple[str, ...] = (),
    ) -> LayerMade:
        path = self.folder / f"{len(self.served)}.wim"
        path.unlink(missing_ok=True)
        identity = write_layer(path, name, version, kind, content, base)
        self.layers.add(identity)
        return LayerMade(str(path), identity, path.stat().st_size, 1, 0, os_name)

    # --- disks and machines -----------------------------------------------------------------------------

    def do_disk_compose(self, params: ComposeDiskParams) -> DiskMade:
        key = recipe_key(params.recipe)
        hit = params.cache_bytes > 0 and key in self.cache
        if params.only_cached and not hit:
            return DiskMade("", 0, False)
        assert hit or params.received or set(params.recipe.identities) <= self.layers
        if params.cache_bytes:
            self.cache.add(key)
        if params.target == "image":
            path = f"Images/{params.owner_name}/{params.disk_name}.{params.recipe.disk_format}"
            self.disks[params.owner_id] = path
        else:
            path = f"Cache/{key}" if params.cache_bytes else f"Packaging/{params.owner_id}/boot"
            if not params.cache_bytes:
                self.packaging_disks.add(params.owner_id)
        return DiskMade(path, 1000, hit, "" if hit else "plan", -1 if hit else 2)

    def do_packaging_create(self, params: CreatePackagingParams) -> PackagingMade:
        self.packaging_disks.add(params.version_id)
        machine = Machine(f"m-{params.version_id[:8]}", params.machine_name, params.boot_disk)
        machine.run_once = params.run_once
        machine = self.packaging.setdefault(params.version_id, machine)
        return PackagingMade(machine.id, machine.name, f"Packaging/{params.version_id}/packaging")

    def do_packaging_start(self, params: PackagingParams) -> Done:
        machine = self.packaging[params.version_id]
        machine.state, machine.gate_known, machine.gate = "running", False, ()
        return Done()

    def do_packaging_shut_down(self, params: PackagingParams) -> Done:
        self.shut_down(params.version_id)
        return Done()

    def do_packaging_turn_off(self, params: PackagingParams) -> Done:
        self.shut_down(params.version_id, known=False)
        return Done()

    def do_packaging_remove(self, params: PackagingParams) -> Done:
        self.packaging.pop(params.version_id, None)
        self.packaging_disks.discard(params.version_id)
        return Done()

    def do_packaging_states(self, params: PackagingStatesParams) -> PackagingStates:
        return PackagingStates(tuple(self._state(version_id) for version_id in params.version_ids))

    def _state(self, version_id: str) -> PackagingState:
        machine = self.packaging.get(version_id)
        if machine is None:
            return PackagingState(version_id, "")
        return PackagingState(
            version_id,
            machine.state,
            gate_known=machine.gate_known,
            gate=machine.gate,
            run_once_running=machine.running,
            run_once_failed=machine.failed,
        )

    def do_packaging_screenshot(self, params: ScreenParams) -> Picture:
        assert params.version_id in self.packaging
        return Picture(base64.b64encode(PNG).decode())

    def do_packaging_press_keys(self, params: PressKeysParams) -> Done:
        self.packaging[params.version_id].keys.extend(params.keys)
        return Done()

    def do_image_create_machine(self, params: CreateImageMachineParams) -> MachineMade:
        assert self.disks[params.image_id] == params.disk_path
        machine = Machine(f"i-{params.image_id[:8]}", params.name, params.disk_path, "off")
        machine = self.images.setdefault(params.image_id, machine)
        return MachineMade(machine.id, machine.name)

    def do_image_remove(self, params: RemoveImageParams) -> Done:
        self.images.pop(params.image_id, None)
        self.disks.pop(params.image_id, None)
        return Done()

    def do_image_boot_test(self, params: BootTestParams) -> BootTestResult:
        assert params.disk_path in self.disks.values()
        return BootTestResult(12.5, {"ready": True}, base64.b64encode(PNG).decode())
