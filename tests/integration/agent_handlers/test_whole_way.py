"""What an agent does with offload, on real machines: import to published image (LY-1, LY-2, IM-2, IM-6)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sekiso.agent.contract import BootTestParams as BootParams
from sekiso.agent.contract import (
    CacheParams,
    CaptureLayerParams,
    CleanUpParams,
    ComposeDiskParams,
    CreateImageMachineParams,
    CreatePackagingParams,
    DiskRecipe,
    Hardware,
    ImportOsParams,
    InventoryParams,
    PackagingParams,
    PackagingState,
    PackagingStatesParams,
    RemoveImageParams,
    SourceDisk,
)
from sekiso.agent.handlers.dispatcher import Handlers
from sekiso.agent.handlers.settings import HandlerSettings
from sekiso.disks.fat import format_fat
from sekiso.hypervisors.qemu.driver import QemuDriver
from sekiso.model.layer import LayerKind
from sekiso.model.machine import DiskFormat, Generation
from sekiso.model.progress import SilentProgress
from sekiso.store.layer_file import LayerFile
from sekiso.wim.tree import find

from ...support import micro_guest
from ...unit.agent.handlers.bench import IMAGE, OTHER_TASK, TASK, VERSION
from ..compositing.systems import KERNEL, fill_system, make_disk, write

pytestmark = [pytest.mark.boot, pytest.mark.slow]

MIB = 1 << 20
CREATED = 1_700_000_000
HARDWARE = Hardware(Generation.ONE, 1, 256)


def line(**event: object) -> str:
    return f"say 'SEKISO {json.dumps(event)}'\n"


#: What the guest does: it reports, writes a file onto its disk, and shuts itself down.
COMMANDS = (
    line(event="boot", boot_id="b1", os="micro", firmware="bios")
    + line(event="run-once-started", name="disk run.sh")
    + "mount -t ext4 /dev/sda1 /mnt && echo layered >> /mnt/opt/made-here && /bin/busybox umount /mnt\n"
    + "/bin/busybox stat -c '%s' /dev/sdb > /dev/null 2>&1 && say RUN-ONCE-DISK\n"
    + line(event="run-once", name="disk run.sh", status=0, output="done")
    + line(event="gate", ok=True, reasons=[])
    + line(event="ready")
    + "sleep 3\n"
    + line(event="finalize", ok=True)
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a system that starts: Debian's kernel, and an initramfs that does it all."""
    place = tmp_path_factory.mktemp("source")
    tree = place / "tree"
    tree.mkdir()
    fill_system(tree)
    kernel, initrd = micro_guest.kernel_and_initrd()
    commands = micro_guest._cpio([("commands", 0o100755, COMMANDS.encode() + b"\n")])
    first = initrd.read_bytes()
    write(tree, f"boot/vmlinuz-{KERNEL}", kernel.read_bytes())
    write(tree, f"boot/initrd.img-{KERNEL}", first + bytes(-len(first) % 4) + commands)
    options = f'GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX="console=ttyS0 {micro_guest.FAST}"\n'
    write(tree, "etc/default/grub", options)
    return make_disk(tree, place / "source.raw", size_mib=160)


class Agent:
    def __init__(self, folder: Path) -> None:
        self.storage = folder / "storage"
        self.driver = QemuDriver(folder / "machines")
        self.restart()

    def restart(self) -> None:
        self._handlers = Handlers(HandlerSettings(lambda: self.driver, "127.0.0.1"))

    def run(self, method: str, params: Any, task: str = TASK) -> Any:
        return self._handlers.run(method, params, command_id=f"{task}:1:x", progress=SilentProgress())

    def state(self) -> PackagingState:
        params = PackagingStatesParams(str(self.storage), (VERSION,))
        return self.run("packaging.states", params).states[0]

    def wait(self, seen: Any, timeout_s: float = 240.0) -> PackagingState:
        end = time.monotonic() + timeout_s
        while not seen(state := self.state()):
            assert time.monotonic() < end, state
            time.sleep(0.5)
        return state


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    for machine in made.driver.list_machines():
        made.driver.turn_off(machine.id)


def test_from_a_disk_to_a_published_image(agent: Agent, source: Path) -> None:
    path = str(agent.storage)
    layer = agent.run("os.import", ImportOsParams(path, TASK, SourceDisk(str(source)), "os", "1", False))
    assert layer.os_name.startswith("Debian") and layer.changed > 100
    with LayerFile(Path(layer.path)) as opened:
        assert opened.manifest.identity == layer.identity

    def asked(identities: tuple[str, ...], **more: Any) -> ComposeDiskParams:
        recipe = DiskRecipe(identities, Generation.ONE, DiskFormat.VHD, created_s=CREATED)
        return ComposeDiskParams(path, recipe=recipe, cache_bytes=1 << 30, **more)

    boot = agent.run(
        "disk.compose", asked((layer.identity,), task_id=TASK, target="packaging", owner_id=VERSION)
    )
    assert boot.conflicts == 0 and boot.plan_id and "Cache" in boot.path

    scratch = agent.storage / "Tasks" / TASK
    run_once = scratch / "run-once.raw"
    with run_once.open("wb") as stream:
        stream.truncate(40 * MIB)
    format_fat(run_once, offset_bytes=0, size_bytes=40 * MIB, label="SEKISO-RUN", volume_id=7)
    params = CreatePackagingParams(
        path, TASK, VERSION, "packaging os 2", HARDWARE, boot.path, DiskFormat.VHD, str(run_once)
    )
    made = agent.run("packaging.create", params)
    agent.run("task.clean-up", CleanUpParams(path, TASK))
    running = agent.wait(lambda s: s.ready)
    assert running.gate_known and running.gate == () and running.run_once_failed == ()
    agent.restart()
    assert agent.run("packaging.create", params) == made
    done = agent.wait(lambda s: s.state == "off")
    assert (done.finalized, done.run_once_running, done.run_once_failed) == (True, (), ())
    assert agent.run("packaging.create", params) == made
    assert agent.state().state == "off"

    capture = CaptureLayerParams(
        path, OTHER_TASK, VERSION, (layer.identity,), "app", "1", LayerKind.APP, ignore_gate=False
    )
    app = agent.run("layer.capture", capture, OTHER_TASK)
    with LayerFile(Path(app.path)) as opened:
        assert find(opened.tree(), "/opt/made-here") is not None
        assert opened.manifest.base == (layer.identity,)
    agent.run("packaging.remove", PackagingParams(path, VERSION))
    assert agent.driver.list_machines() == ()

    both = asked(
        (layer.identity, app.identity), task_id=OTHER_TASK, target="image", owner_id=IMAGE,
        owner_name="web 2026", disk_name="web",
    )  # fmt: skip
    disk = agent.run("disk.compose", both, OTHER_TASK)
    create = CreateImageMachineParams(path, IMAGE, "web 2026", HARDWARE, disk.path, DiskFormat.VHD)
    machine = agent.run("image.create-machine", create, OTHER_TASK)
    assert agent.driver.get_machine(machine.machine_id).state == "off"
    assert agent.run("host.inventory", InventoryParams()).template_vms == ()
    before = Path(disk.path).read_bytes()
    test = agent.run(
        "image.boot-test",
        BootParams(path, OTHER_TASK, disk.path, DiskFormat.VHD, HARDWARE, 240.0),
        OTHER_TASK,
    )
    assert test.report["ready"] and test.report["os_name"] == "micro" and test.screenshot_png
    assert Path(disk.path).read_bytes() == before
    facts = agent.run("cache.list", CacheParams(path))
    assert (len(facts.disks), facts.misses) == (2, 2)
    agent.run("image.remove", RemoveImageParams(path, IMAGE, "web 2026", machine.machine_id))
    agent.run("task.clean-up", CleanUpParams(path, OTHER_TASK))
    assert not any((agent.storage / "Images").iterdir()) and not any((agent.storage / "Tasks").iterdir())
    assert agent.driver.list_machines() == ()
