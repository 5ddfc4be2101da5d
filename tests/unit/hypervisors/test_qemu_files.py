from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from sekiso.errors import DamagedInputError, UnsupportedInputError
from sekiso.hypervisors.errors import MachineNotFoundError
from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    DiskFile,
    GuestPort,
    MachineSpec,
    NetworkAdapter,
)
from sekiso.hypervisors.qemu import accel, images, messages, procs
from sekiso.hypervisors.qemu.driver import QemuDriver
from sekiso.hypervisors.qemu.storage import Storage, read_json, write_json
from sekiso.model.machine import DiskFormat, Generation

SPEC = MachineSpec(
    "名前",
    Generation.TWO,
    adapters=(NetworkAdapter("Isolated"),),
    disks=(DiskAttachment(Path("/d/a.vhdx"), DiskFormat.VHDX, DiskController.SCSI, boot_order=0),),
)


def nothing(_: Path) -> None:
    pass


def test_a_machine_is_read_as_it_was_written(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.add("one", SPEC, nothing)
    assert Storage(tmp_path).load("one") == SPEC
    storage.save("one", replace(SPEC, cpus=9))
    assert storage.load("one").cpus == 9
    storage.remove("one")
    assert storage.ids() == ()
    assert not list(storage.machines.iterdir())


def test_a_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    storage = Storage(tmp_path)

    def fail(_: Path) -> None:
        raise OSError

    for folder in (None, tmp_path / "own"):
        with pytest.raises(OSError):
            storage.add("one", replace(SPEC, folder=folder), fail)
    assert not list(storage.machines.iterdir())
    assert not (tmp_path / "own").exists()


def test_leftovers_of_a_crash_are_swept(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    own = tmp_path / "own"
    for left in (storage.machines / ".new-x", storage.machines / ".old-y", own):
        left.mkdir()
        (left / "machine.json").write_text("{")
    assert storage.ids() == ()
    storage.sweep(own)
    assert not own.exists()
    assert not list(storage.machines.iterdir())
    storage.add("one", replace(SPEC, folder=own), nothing)
    storage.sweep(own)
    assert storage.load("one").folder == own


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"id": 1}', b"\xff\xfe", b'{"id":"x","spec":{}}', b"null"]
)
def test_one_damaged_machine_hides_no_other(tmp_path: Path, content: bytes) -> None:
    driver = QemuDriver(tmp_path)
    good = driver.create_machine(MachineSpec("good", Generation.ONE))
    bad = driver.create_machine(MachineSpec("bad", Generation.ONE))
    (bad.folder / "machine.json").write_bytes(content)
    with pytest.raises(DamagedInputError, match=r"machine\.json"):
        driver.get_machine(bad.id)
    assert [m.id for m in driver.list_machines()] == [good.id]


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert read_json(path, dict[str, int]) == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert read_json(tmp_path / "none.json", dict[str, int]) is None


def test_folders_of_machines_cannot_be_left(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    for name in ("", ".", "..", "../..", "/", "a/b"):
        with pytest.raises(MachineNotFoundError):
            storage.folder(name)


def test_messages_by_offset(tmp_path: Path) -> None:
    log = tmp_path / "report.log"
    assert messages.read(tmp_path, GuestPort.REPORT, 5).next_offset == 0
    log.write_bytes("はい\n".encode() + b"\xff\n")
    first = messages.read(tmp_path, GuestPort.REPORT, 0)
    assert first.text == "はい\n\ufffd\n"
    assert messages.read(tmp_path, GuestPort.REPORT, first.next_offset).text == ""
    assert messages.read(tmp_path, GuestPort.REPORT, 7).text == "\ufffd\n"
    assert messages.read(tmp_path, GuestPort.REPORT, -3).text == first.text
    assert messages.read(tmp_path, GuestPort.REPORT, 1 << 40).next_offset == first.next_offset


def test_a_flood_of_messages_is_dropped_but_offsets_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MAX_READ_BYTES", 100)
    monkeypatch.setattr(messages, "MAX_LOG_BYTES", 1000)
    log = tmp_path / "report.log"
    with log.open("ab", buffering=0) as guest:
        guest.write(b"x" * 1050)
        offset, total = 0, 0
        for _ in range(11):
            news = messages.read(tmp_path, GuestPort.REPORT, offset)
            offset, total = news.next_offset, total + len(news.text)
        assert (offset, total) == (1050, 1050)
        assert log.stat().st_size == 0
        guest.write(b"more")
    assert messages.read(tmp_path, GuestPort.REPORT, offset).text == "more"
    late = messages.read(tmp_path, GuestPort.REPORT, 10)
    assert (late.text, late.next_offset) == ("more", 1054)


def qcow2(path: Path, *, backing: int = 0, version: int = 3, incompatible: int = 0) -> DiskAttachment:
    head = struct.pack(">4sIQI", b"QFI\xfb", version, backing, 8).ljust(72, b"\0")
    path.write_bytes(head + struct.pack(">Q", incompatible) + bytes(32))
    return DiskAttachment(path, DiskFormat.QCOW2, DiskController.SCSI)


def test_foreign_overlays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.qcow2"
    images.check_content(qcow2(path), {})
    images.check_content(qcow2(path, version=2, incompatible=4), {})
    overlay = qcow2(path, backing=512)
    with pytest.raises(UnsupportedInputError, match="difference to another file"):
        images.check_content(overlay, {})
    images.check_content(overlay, {path.resolve(): DiskFile(tmp_path / "base", DiskFormat.RAW)})
    with pytest.raises(UnsupportedInputError):
        images.check_content(qcow2(path, incompatible=4), {})
    path.write_bytes(b"QFI")
    with pytest.raises(DamagedInputError):
        images.check_content(overlay, {})


def test_differencing_vhds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.vhd"
    disk = DiskAttachment(path, DiskFormat.VHD, DiskController.IDE)
    for kind, allowed in ((2, True), (3, True), (4, False)):
        footer = b"conectix".ljust(60, b"\0") + struct.pack(">I", kind)
        path.write_bytes(bytes(1024) + footer.ljust(512, b"\0"))
        if allowed:
            images.check_content(disk, {})
        else:
            with pytest.raises(UnsupportedInputError):
                images.check_content(disk, {})
    for content in (b"", b"conectix", bytes(4096)):
        path.write_bytes(content)
        with pytest.raises(DamagedInputError):
            images.check_content(disk, {})


@pytest.mark.parametrize("content", ["", "x", "-1", "0", "999999999", "own"])
def test_pid_files_of_nobody(tmp_path: Path, content: str) -> None:
    pidfile = tmp_path / "qemu.pid"
    pidfile.write_text(f"{os.getpid()}" if content == "own" else content)
    assert procs.find(pidfile) is None
    procs.kill(pidfile)


def test_kvm_only_where_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def canary(name: str) -> bool:
        asked.append(name)
        return works

    monkeypatch.setattr(accel, "canary", canary)
    info, kvm = tmp_path / "cpuinfo", tmp_path / "kvm"
    info.write_text("flags\t: fpu vme sse2 lahf_lm\n")
    kvm.touch()
    assert accel.choose(tmp_path, cpuinfo=info, kvm=kvm) == "tcg"
    info.write_text("flags\t: fpu vmx sse2\n")
    assert accel.choose(tmp_path, cpuinfo=info, kvm=tmp_path / "none") == "tcg"
    assert asked == []
    for works in (True, False):
        folder = tmp_path / str(works)
        folder.mkdir()
        for _ in range(2):
            assert accel.choose(folder, cpuinfo=info, kvm=kvm) == ("kvm" if works else "tcg")
    assert asked == ["kvm", "kvm"]
