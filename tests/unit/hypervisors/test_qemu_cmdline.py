from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sekiso.hypervisors.facts import (
    DiskAttachment,
    DiskController,
    DiskFile,
    MachineSpec,
    NetworkAdapter,
)
from sekiso.hypervisors.qemu.cmdline import build
from sekiso.hypervisors.qemu.network import BUILT_IN_SWITCHES
from sekiso.model.machine import DiskFormat, Generation

ID = "11111111-2222-3333-4444-555555555555"
FOLDER = Path("/m")


def line(spec: MachineSpec, *, bases: dict[Path, DiskFile] | None = None) -> list[str]:
    return build(
        ID,
        spec,
        folder=FOLDER,
        accelerator="tcg",
        firmware=Path("/fw/CODE.fd") if spec.generation is Generation.TWO else None,
        switches={s.name: s for s in BUILT_IN_SWITCHES},
        cables={2: 17},
        bases=bases or {},
    )


def values(argv: list[str], option: str) -> list[Any]:
    found = [argv[n + 1] for n, word in enumerate(argv) if word == option]
    return [json.loads(v) if v.startswith("{") else v for v in found]


def disk(name: str, slot: int, **more: object) -> DiskAttachment:
    plain = DiskAttachment(Path("/d") / name, DiskFormat.VHDX, DiskController.SCSI, slot=slot)
    return replace(plain, **more)


def test_generation_one() -> None:
    spec = MachineSpec(
        "a,b",
        Generation.ONE,
        disks=(disk("a.vhd", 3, format=DiskFormat.VHD, controller=DiskController.IDE, boot_order=5),),
    )
    argv = line(spec)
    assert values(argv, "-machine") == ["pc,hpet=off"]
    assert values(argv, "-name") == ["guest=a,,b"]
    assert {
        "driver": "ide-hd",
        "bus": "ide.1",
        "unit": 1,
        "drive": "ide3",
        "id": "dev-ide3",
        "bootindex": 0,
    } in (values(argv, "-device"))
    (node,) = values(argv, "-blockdev")
    assert node["driver"] == "vpc"
    assert node["file"]["locking"] == "on"
    assert node["file"]["filename"] == "/d/a.vhd"


@pytest.mark.parametrize("secure", [False, True])
def test_generation_two(secure: bool) -> None:
    argv = line(MachineSpec("m", Generation.TWO, secure_boot=secure, tpm=True))
    (machine,) = values(argv, "-machine")
    assert machine == f"q35,smm={'on' if secure else 'off'},hpet=off,pflash0=code,pflash1=nvram"
    assert ("driver=cfi.pflash01,property=secure,value=on" in argv) is secure
    code, nvram = values(argv, "-blockdev")
    assert code["read-only"] is True
    assert nvram["file"]["filename"] == "/m/nvram.fd"
    assert "tpm-crb,tpmdev=tpm0" in argv


def test_boot_order_becomes_boot_index() -> None:
    disks = (disk("a", 0, boot_order=9), disk("b", 1), disk("c", 2, boot_order=2))
    devices = [
        d
        for d in values(line(MachineSpec("m", Generation.TWO, disks=disks)), "-device")
        if isinstance(d, dict)
    ]
    assert [d.get("bootindex") for d in devices] == [1, None, 0]


def test_bases_are_said_outright_and_read_only() -> None:
    work = disk("work.qcow2", 0, format=DiskFormat.QCOW2)
    spec = MachineSpec("m", Generation.ONE, disks=(work,))
    (alone,) = values(line(spec), "-blockdev")
    assert alone["backing"] is None
    base = DiskFile(Path("/d/base.vhd"), DiskFormat.VHD)
    (node,) = values(line(spec, bases={work.path: base}), "-blockdev")
    assert not node["read-only"]
    assert node["backing"]["driver"] == "vpc"
    assert node["backing"]["read-only"]
    assert node["backing"]["file"]["read-only"]


def test_switches() -> None:
    names = ("Default Switch", "Isolated", "Private", None)
    adapters = tuple(NetworkAdapter(n, f"52:54:00:00:00:0{i}") for i, n in enumerate(names))
    nets = values(line(MachineSpec("m", Generation.ONE, adapters=adapters)), "-netdev")
    assert [n["type"] for n in nets] == ["user", "user", "stream", "hubport"]
    assert [n.get("restrict") for n in nets] == [False, True, None, None]
    assert nets[2]["addr"] == {"type": "fd", "str": "17"}


def test_every_machine_is_shut_in() -> None:
    argv = line(MachineSpec("m", Generation.ONE))
    assert "-nodefaults" in argv
    assert "-no-user-config" in argv
    assert values(argv, "-sandbox")[0].startswith("on,")
    assert values(argv, "-vnc") == ["unix:vnc.sock"]
    assert not [word for word in argv if "tcp" in word]
