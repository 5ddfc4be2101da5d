"""Turns a folder and a boot plan into a disk with foreign tools only, to judge the plan by a real start."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from sekiso.guests.booting import BootPlan, BootRequest, DiskIdentifiers, PartitionRole
from sekiso.guests.edits import MakeFolder, Remove, TreeEdit, WriteFile, WriteSymlink
from sekiso.model.machine import Generation

MIB = 1 << 20
ROOT_UUID = "6d6f9f5e-1f5c-4b3e-9c55-0123456789ab"
IDENTIFIERS = DiskIdentifiers(
    disk_signature=0x5EC150,
    disk_guid="a1b2c3d4-0000-4000-8000-000000000001",
    esp_guid="a1b2c3d4-0000-4000-8000-000000000002",
    msr_guid="a1b2c3d4-0000-4000-8000-000000000003",
    root_guid="a1b2c3d4-0000-4000-8000-000000000004",
    root_filesystem=ROOT_UUID,
    esp_volume_id=0x5EC15001,
)


def request(generation: int) -> BootRequest:
    return BootRequest(Generation(generation), IDENTIFIERS, title="test")


def run(*argv: object, stdin: str | None = None) -> str:
    env = {**os.environ, "LC_ALL": "C", "MTOOLS_SKIP_CHECK": "1", "PATH": os.environ["PATH"] + ":/usr/sbin"}
    done = subprocess.run(
        [str(a) for a in argv], input=stdin, text=True, capture_output=True, check=False, env=env
    )
    assert done.returncode == 0, f"{argv[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def apply(root: Path, edits: Iterable[TreeEdit]) -> None:
    """Apply edits to a folder, as the engine does to a tree."""
    for edit in edits:
        path = root / edit.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(edit, MakeFolder) and (path.is_symlink() or path.is_file()):
            path.unlink()
        match edit:
            case WriteFile():
                path.write_bytes(edit.content)
                path.chmod(edit.mode)
            case WriteSymlink():
                path.symlink_to(edit.target)
            case MakeFolder():
                path.mkdir(exist_ok=True)
                path.chmod(edit.mode)
            case Remove():
                if path.is_dir():
                    shutil.rmtree(path)


def make_disk(root: Path, plan: BootPlan, disk: Path, *, size_mib: int = 1536) -> None:
    """Make a raw disk from a folder (with the plan's edits in it) and the plan."""
    with disk.open("wb") as stream:
        stream.truncate(size_mib * MIB)
    esp = next((p for p in plan.partitions if p.role is PartitionRole.ESP), None)
    esp_sectors = (esp.size_bytes or 0) // 512 if esp else 0
    first = plan.first_partition_lba + esp_sectors
    sectors = size_mib * MIB // 512 - first - 2048
    if esp:
        table = f"label: gpt\nstart={plan.first_partition_lba}, size={esp_sectors}, type={esp.type_id}\n"
        table += f"start={first}, size={sectors}, type={plan.partitions[-1].type_id}\n"
    else:
        table = f"label: dos\nstart={first}, size={sectors}, type={plan.partitions[-1].type_id}, bootable\n"
    run("sfdisk", "-q", disk, stdin=table)
    options = f"offset={first * 512},lazy_itable_init=1,lazy_journal_init=1"
    size = f"{sectors // 2}k"
    run("mke2fs", "-q", "-F", "-t", "ext4", "-U", ROOT_UUID, "-E", options, "-d", root, disk, size)
    if esp:
        fill_esp(disk, plan, esp_sectors)
    with disk.open("r+b") as stream:
        if plan.mbr_boot_code:
            stream.write(plan.mbr_boot_code)
        for piece in plan.gap:
            stream.seek(piece.first_lba * 512)
            stream.write(piece.content)


def fill_esp(disk: Path, plan: BootPlan, sectors: int) -> None:
    lba = plan.first_partition_lba
    number = f"{IDENTIFIERS.esp_volume_id:08x}"
    run("mkfs.vfat", "-F", "32", "-s", "1", "-i", number, "-h", lba, "--offset", lba, disk, sectors // 2)
    where = f"{disk}@@{lba * 512}"
    folders = {str(p) for f in plan.esp_files for p in Path(f.path).parents if str(p) != "/"}
    for folder in sorted(folders, key=len):
        run("mmd", "-i", where, f"::{folder}")
    for file in plan.esp_files:
        source = disk.with_name("esp-file")
        source.write_bytes(file.content)
        run("mcopy", "-i", where, source, f"::{file.path}")
        source.unlink()


def run_once_disk(path: Path, files: dict[str, Path | str]) -> Path:
    """Make a FAT disk labelled SEKISO-RUN that holds the given files."""
    path.write_bytes(bytes(8 * MIB))
    run("mkfs.vfat", "-n", "SEKISO-RUN", path)
    for name, content in files.items():
        source = content if isinstance(content, Path) else path.with_name("run-once-file")
        if isinstance(content, str):
            source.write_text(content)
        run("mcopy", "-i", path, source, f"::/{name}")
    return path
