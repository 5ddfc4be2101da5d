"""A Windows-shaped volume: layer, data volume, changes; what libwim reads is what was meant (LY-5)."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from sekiso.compositing.verify import verify_layer
from sekiso.errors import UnsupportedInputError
from sekiso.guests.booting import Generalization
from sekiso.model.layer import GuestFamily
from sekiso.model.machine import DiskFormat
from sekiso.store.layer_file import Compression, LayerFile
from sekiso.wim.diff import diff
from sekiso.wim.tree import Node, find
from tests.integration.disks.ntfs.volumes import fill_small, libwim_tree, make_volume, write
from tests.integration.disks.ntfs.volumes import mounted as ntfs_mounted

from .systems import (
    FIRST_LBA,
    MIB,
    as_raw,
    do_capture,
    do_compose,
    do_import,
    overlay,
    request_for,
    root_offset,
    root_place,
    run,
)

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Windows:
    """The volume on a disk, its layer, and the layer composed as a data volume."""

    disk: Path
    layer: Path
    boot_disk: Path


def fill_windows(root: Path) -> None:
    fill_small(root)
    write(root, "Windows/System32/ntoskrnl.exe", b"MZ" + bytes(range(256)) * 40)
    write(root, "Windows/System32/config/SYSTEM", b"regf" + bytes(4092))
    write(root, "pagefile.sys", b"page" * 1000)
    write(root, "Program Files/App/app.exe", b"app 1")
    for number in range(20):
        write(root, f"Data/{number:02}.bin", bytes([number]) * (100 + number * 400))


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    place = tmp_path_factory.mktemp("windows")
    volume = make_volume(place / "volume.ntfs", 24)
    with ntfs_mounted(volume, place / "mnt") as root:
        fill_windows(root)
    disk = place / "disk.raw"
    with disk.open("wb") as stream:
        stream.truncate(FIRST_LBA * 512 + 26 * MIB)
    run("sfdisk", "-q", disk, stdin=f"label: dos\nstart={FIRST_LBA}, size={24 * 2048}, type=7, bootable\n")
    _copy_in(volume, disk, FIRST_LBA * 512)
    do_import(disk, place / "os.wim", guest_tools=True)
    do_compose(request_for([place / "os.wim"], place / "boot.vhd", bootable=False), verify=False)
    return Windows(disk, place / "os.wim", place / "boot.vhd")


def _copy_in(volume: Path, disk: Path, offset: int) -> None:
    with disk.open("r+b") as target, volume.open("rb") as source:
        target.seek(offset)
        shutil.copyfileobj(source, target)


def volume_of(raw: Path) -> Path:
    """Return a copy of the last partition."""
    out = raw.with_suffix(".ntfs")
    offset, left = root_place(raw)
    with raw.open("rb") as source, out.open("wb") as target:
        target.truncate(left)
        source.seek(offset)
        while left:
            piece = source.read(min(left, MIB))
            if piece.count(0) != len(piece):
                target.write(piece)
            else:
                target.seek(len(piece), 1)
            left -= len(piece)
    return out


def judged(image: Path, fmt: DiskFormat) -> Node:
    raw = as_raw(image, fmt)
    volume = volume_of(raw)
    run("ntfsfix", "--no-action", volume)
    return libwim_tree(volume, image.parent)


def test_the_layer_is_the_volume_without_its_page_file(windows: Windows, tmp_path: Path) -> None:
    with LayerFile(windows.layer) as layer:
        assert layer.manifest.family is GuestFamily.WINDOWS
        root = layer.tree()
    assert find(root, "/pagefile.sys") is None
    source = libwim_tree(volume_of(windows.disk), tmp_path)
    found = diff(source, root, case_sensitive=False)
    gone = {path for path in found.deleted if not path.startswith("/System Volume Information")}
    assert (found.added, found.replaced, gone) == ((), (), {"/pagefile.sys"})
    assert [change for change in found.changed if change.path != "/"] == []
    verify_layer(windows.layer)


@pytest.mark.parametrize(("generation", "name"), [(1, "image.vhd"), (2, "image.vhdx"), (1, "image.raw")])
def test_libwim_reads_the_composed_volume_as_the_layer(
    windows: Windows, tmp_path: Path, generation: int, name: str
) -> None:
    image = tmp_path / name
    result = do_compose(request_for([windows.layer], image, generation, bootable=False))
    with LayerFile(windows.layer) as layer:
        assert not diff(layer.tree(), judged(image, result.plan.disk_format), case_sensitive=False)


def test_a_bootable_image_is_refused_in_words(windows: Windows, tmp_path: Path) -> None:
    for generation, name, generalization in (
        (1, "image.vhd", Generalization.NONE),
        (2, "image.vhdx", Generalization.OFFLINE),
    ):
        request = request_for([windows.layer], tmp_path / name, generation, generalization=generalization)
        with pytest.raises(UnsupportedInputError, match="composed as a data volume"):
            do_compose(request)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("compression", [Compression.LZX])
def test_changes_become_an_app_layer(windows: Windows, tmp_path: Path, compression: Compression) -> None:
    os_layer = windows.layer
    boot_disk = windows.boot_disk
    if compression is Compression.LZX:  # the identity is the same, so it stands for the same base
        os_layer = tmp_path / "os-lzx.wim"
        do_import(windows.disk, os_layer, guest_tools=True, compression=compression)
    raw = as_raw(boot_disk, DiskFormat.VHD)
    raw = raw.rename(tmp_path / "edited.raw")
    volume = volume_of(raw)
    with ntfs_mounted(volume, tmp_path / "mnt") as root:
        for number in range(10):
            _stealthily(root / f"Data/{number:02}.bin")
        (root / "Data/19.bin").unlink()
        shutil.rmtree(root / "many")
        write(root, "Program Files/New/new.exe", b"new" * 500)
        write(root, "Windows/Temp/left-out.tmp", b"temporary")
    _copy_in(volume, raw, root_offset(raw))
    disk = overlay(boot_disk, DiskFormat.VHD, raw, tmp_path / "packaging.qcow2")
    layer = tmp_path / "app.wim"
    found = do_capture(disk, boot_disk, [os_layer], layer)
    files = {path for path in found.changed if path.endswith((".bin", ".exe"))}
    assert files == {*(f"/Data/{n:02}.bin" for n in range(10)), "/Program Files/New/new.exe"}
    assert {"/Data/19.bin", "/many"} == set(found.deleted)
    assert "/Windows/Temp/left-out.tmp" in {path for path, _ in found.excluded}
    image = tmp_path / "image.vhdx"
    do_compose(request_for([os_layer, layer], image, 2, bootable=False))
    expected = libwim_tree(volume, tmp_path)
    different = diff(expected, judged(image, DiskFormat.VHDX), case_sensitive=False)
    assert different.added == () and different.replaced == ()
    assert set(different.deleted) <= {"/Windows/Temp/left-out.tmp", "/System Volume Information"}
    reasons = {str(r) for change in different.changed for r in change.reasons}
    assert reasons <= {"folder-times"}, different.changed


def _stealthily(path: Path) -> None:
    info = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 0xFF
    with path.open("r+b") as stream:
        stream.write(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
