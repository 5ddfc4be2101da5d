"""The script that makes foreign disks: what it makes is a bootable Debian disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.guests.conftest import make_guest
from tests.integration.guests.disks import run
from tests.integration.guests.vm import boot

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.mark.parametrize(("generation", "suffix"), [(1, ".vhd"), (2, ".vhdx")])
def test_the_disk_has_the_table_and_file_systems_of_its_generation(
    guest_cache: Path, tmp_path: Path, generation: int, suffix: str
) -> None:
    disk = tmp_path / f"debian{suffix}"
    make_guest(guest_cache, "--tiny", "--quiet", "--generation", str(generation), "--out", disk)
    raw = tmp_path / "disk.raw"
    run("qemu-img", "convert", "-f", {".vhd": "vpc", ".vhdx": "vhdx"}[suffix], "-O", "raw", disk, raw)
    table = run("sfdisk", "--json", raw)
    assert f'"label": "{"dos" if generation == 1 else "gpt"}"' in table
    start = 2048 if generation == 1 else 2048 + 64 * 2048
    root = f"{raw}?offset={start * 512}"
    run("e2fsck", "-fn", root)
    assert "UUID=" in run("debugfs", "-R", "cat /etc/fstab", root)
    if generation == 2:
        assert "BOOTX64" in run("mdir", "-b", "-i", f"{raw}@@{2048 * 512}", "::/EFI/BOOT")


@pytest.mark.boot
def test_the_foreign_disk_starts(guest_cache: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay/usr/lib/sekiso"
    overlay.mkdir(parents=True)
    report = overlay / "report"
    report.write_text('#!/bin/sh\nprintf \'SEKISO {"event":"ready"}\\n\' > /dev/ttyS1\n')
    report.chmod(0o755)
    disk = tmp_path / "debian.vhdx"
    options = ["--tiny", "--quiet", "--generation", "2", "--overlay", str(tmp_path / "overlay")]
    make_guest(guest_cache, *options, "--out", disk)
    assert boot(disk, tmp_path, generation=2, until=lambda r: r.ready).report.ready
