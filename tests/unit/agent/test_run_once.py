"""The disk that carries a run-once script."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekiso.agent.run_once import LABEL, make_run_once_disk
from sekiso.disks.blocks import FileBlocks
from sekiso.disks.fat_reader import FatVolume
from sekiso.errors import NotFoundError, RuleError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "scripts"
    (place / "files" / "deeper").mkdir(parents=True)
    (place / "run.sh").write_bytes(b"#!/bin/sh\necho hello\n")
    (place / "finalize").write_bytes(b"")
    (place / "files" / "deeper" / "A long name with 日本語.deb").write_bytes(bytes(range(256)) * 3000)
    return place


def test_the_disk_holds_the_folder(tmp_path: Path, folder: Path) -> None:
    disk = make_run_once_disk(folder, tmp_path / "run.raw")
    with FileBlocks(disk) as blocks:
        volume = FatVolume(blocks)
        assert volume.facts.label == LABEL
        files = {e.path: volume.read_file(e.path) for e in volume.walk() if not e.is_folder}
    expected = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert files == expected
    assert disk.stat().st_blocks * 512 < 4 << 20, "it is sparse"


def test_every_disk_has_a_serial_number_of_its_own(tmp_path: Path, folder: Path) -> None:
    numbers = set[int]()
    for name in ("a", "b", "c"):
        with FileBlocks(make_run_once_disk(folder, tmp_path / name)) as blocks:
            numbers.add(FatVolume(blocks).facts.volume_id)
    assert len(numbers) == 3


def test_without_a_script_nothing_is_made(tmp_path: Path, folder: Path) -> None:
    (folder / "run.sh").unlink()
    for place in (folder, tmp_path / "nowhere"):
        with pytest.raises(NotFoundError, match=r"run\.sh"):
            make_run_once_disk(place, tmp_path / "run.raw")
    assert not (tmp_path / "run.raw").exists()


def test_too_much_is_refused(tmp_path: Path, folder: Path) -> None:
    with (folder / "large").open("wb") as stream:
        stream.truncate((2 << 30) + 1)
    with pytest.raises(RuleError, match="2 GiB"):
        make_run_once_disk(folder, tmp_path / "run.raw")
    assert not (tmp_path / "run.raw").exists()
