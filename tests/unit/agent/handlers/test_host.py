"""The inventory, probes of the storage path, clean-up, and what the dispatcher does with what is wrong."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from sekiso.agent.contract import (
    METHODS,
    CacheParams,
    CleanUpParams,
    InventoryParams,
    SamePlaceParams,
    StorageProbeParams,
)
from sekiso.agent.handlers import caching
from sekiso.agent.handlers.dispatcher import HANDLERS
from sekiso.agent.handlers.errors import MethodUnknownError, StorageUnusableError
from sekiso.errors import NoSpaceError, RuleError
from sekiso.hypervisors.facts import DiskAttachment, DiskController, MachineSpec, NetworkAdapter
from sekiso.model.machine import DiskFormat, Firmware, Generation
from sekiso.model.storage_path import HostPlatform, PathKind, SamePlaceQuestion, StoragePath

from .bench import TASK, Bench


def test_every_method_of_the_contract_has_its_handler() -> None:
    assert set(HANDLERS) == set(METHODS)


def test_the_inventory_reports_the_host(bench: Bench, tmp_path: Path) -> None:
    disk = tmp_path / "d.vhdx"
    disk.write_bytes(b"x")
    attached = DiskAttachment(disk, DiskFormat.VHDX, DiskController.SCSI)
    adapters = (NetworkAdapter("Private"), NetworkAdapter())
    spec = MachineSpec("candidate", Generation.TWO, 3, 2048 << 20, adapters, secure_boot=True)
    bench.driver.create_machine(spec)
    bench.driver.create_machine(MachineSpec("with-disk", Generation.TWO, disks=(attached,)))
    found = bench.run("host.inventory", InventoryParams())
    assert (found.agent_version, found.host_name, found.hypervisor) == ("1.2", "memory", "memory")
    assert found.platform is HostPlatform.POSIX and found.offload and not found.offload_hindrance
    assert found.account == pwd.getpwuid(os.geteuid()).pw_name
    assert found.machine_account is (os.geteuid() < 1000)
    assert (found.cpus, found.memory_mb) == (2, 8192)
    assert found.disk_formats == (DiskFormat.VHD, DiskFormat.VHDX)
    assert [s.name for s in found.switches] == ["Default Switch", "Isolated", "Private"]
    assert found.find_switch("default switch").reaches_host  # type: ignore[union-attr]
    one, two = found.template_vms
    assert (one.name, one.cpus, one.memory_mb) == ("candidate", 3, 2048)
    assert (one.firmware, one.adapters) == (Firmware.UEFI_SECURE_BOOT, ("Private", None))
    assert two.disks == (str(disk),)
    assert found.volumes[0].path == "/" and found.volumes[0].free_bytes > 0


def test_the_probe_leaves_nothing(bench: Bench) -> None:
    deep = bench.storage / "new" / "folder"
    result = bench.run("storage.probe", StorageProbeParams(str(deep)))
    assert result.free_bytes > 0 and result.account
    assert deep.is_dir() and list(deep.iterdir()) == []


def test_a_path_that_cannot_be_used_is_named(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageUnusableError) as caught:
            bench.run("storage.probe", StorageProbeParams(str(path)))
        assert str(path) in caught.value.render()
    with pytest.raises(StorageUnusableError):
        bench.run("storage.probe", StorageProbeParams("/proc/sekiso"))
    with pytest.raises(RuleError):
        bench.run("storage.probe", StorageProbeParams("Z:\\mapped"))


def test_a_probe_that_fails_in_the_middle_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"other")
    with pytest.raises(StorageUnusableError):
        bench.run("storage.probe", StorageProbeParams(bench.path))
    assert bench.tree() == []


def posix(path: Path) -> StoragePath:
    return StoragePath(PathKind.POSIX, "", path.parts[1:])


def test_whether_two_paths_are_one_place(bench: Bench, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    (tmp_path / "link").symlink_to(one)
    for read, same in (("link", True), ("other", False), ("absent", False)):
        question = SamePlaceQuestion(posix(one), posix(tmp_path / read))
        assert bench.run("storage.probe-same-place", SamePlaceParams(question)).same is same
    assert list(one.iterdir()) == list(other.iterdir()) == []
    with pytest.raises(StorageUnusableError):
        question = SamePlaceQuestion(posix(tmp_path / "absent"), posix(one))
        bench.run("storage.probe-same-place", SamePlaceParams(question))


def test_clean_up_removes_the_scratch_of_one_task(bench: Bench) -> None:
    scratch = bench.storage / "Tasks" / TASK / "deep"
    scratch.mkdir(parents=True)
    (scratch / "file").write_text("x")
    other = bench.storage / "Tasks" / ("b" * 32)
    other.mkdir()
    bench.run("task.clean-up", CleanUpParams(bench.path, TASK))
    bench.run("task.clean-up", CleanUpParams(bench.path, TASK))
    assert [p.name for p in (bench.storage / "Tasks").iterdir()] == ["b" * 32]
    with pytest.raises(RuleError):
        bench.run("task.clean-up", CleanUpParams(bench.path, ".."))


def test_what_is_not_in_the_contract_is_refused(bench: Bench) -> None:
    for method, params in (("host.destroy", None), ("cache.list", InventoryParams()), ("cache.list", None)):
        with pytest.raises(MethodUnknownError):
            bench.run(method, params)


@pytest.mark.parametrize(("errno", "error"), [(28, NoSpaceError), (13, StorageUnusableError)])
def test_failures_of_the_file_system_are_told_in_words(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, errno: int, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno, os.strerror(errno), "/somewhere")

    monkeypatch.setitem(HANDLERS, "cache.list", fail)  # type: ignore[arg-type]
    bench.storage.mkdir()
    with pytest.raises(error):
        bench.run("cache.list", CacheParams(bench.path))
    monkeypatch.undo()
    assert HANDLERS["cache.list"] is caching.show
