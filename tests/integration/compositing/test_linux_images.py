"""A disk becomes a layer, layers become disks that foreign tools find right (LY-1, IM-1, IM-3)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sekiso.compositing.compare import compare, read_held_tree
from sekiso.compositing.execute import record_path
from sekiso.compositing.import_os import preview_import
from sekiso.compositing.inspection import inspect_disk, inspect_layer
from sekiso.compositing.verify import read_record, verify_image, verify_layer
from sekiso.model.machine import DiskAllocation, DiskFormat
from sekiso.store.layer_file import LayerFile
from sekiso.wim.tree import find

from .conftest import Linux
from .systems import (
    KERNEL,
    QEMU_NAMES,
    as_raw,
    convert,
    do_compose,
    do_import,
    mounted,
    request_for,
    root_offset,
    run,
)

pytestmark = pytest.mark.root


@pytest.mark.parametrize("fmt", [DiskFormat.QCOW2, DiskFormat.VHD, DiskFormat.VHDX])
def test_the_format_of_the_source_makes_no_difference(linux: Linux, tmp_path: Path, fmt: DiskFormat) -> None:
    disk = convert(linux.disk, tmp_path / f"disk.{fmt}", fmt)
    before = disk.read_bytes()
    result = do_import(disk, tmp_path / "os.wim")
    with LayerFile(linux.layer) as layer:
        assert result.manifest.identity == layer.manifest.identity
        assert layer.manifest.notes == result.manifest.notes
    assert disk.read_bytes() == before
    assert verify_layer(tmp_path / "os.wim").identity == result.manifest.identity


def test_the_layer_holds_the_system_and_not_its_rubbish(linux: Linux) -> None:
    with LayerFile(linux.layer) as layer:
        root, facts = layer.tree(), layer.manifest.boot
        assert facts is not None and facts.root_filesystem == "ext4"
        for path in ("/tmp/rubbish", "/var/tmp/rubbish", "/lost+found"):
            assert find(root, path) is None
        for path in ("/tmp", "/proc", f"/boot/vmlinuz-{KERNEL}", "/srv/data/059.bin"):
            assert find(root, path) is not None
        node = find(root, "/usr/share/日本語.txt")
        assert node is not None and layer.wim.read_blob(node.data) == "積層".encode()
    assert preview_import(linux.disk).plan.os_name == "Debian GNU/Linux 12 (small)"


@pytest.mark.parametrize(
    ("generation", "name", "bootable"),
    [
        (1, "image.vhd", True),
        (2, "image.vhdx", True),
        (1, "image.raw", True),
        (1, "image.vhdx", False),
        (2, "image.raw", False),
    ],
)
def test_foreign_tools_find_the_image_right(
    linux: Linux, tmp_path: Path, generation: int, name: str, bootable: bool
) -> None:
    image = tmp_path / name
    result = do_compose(request_for([linux.layer], image, generation, bootable=bootable))
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, f"{name}.sekiso.json"]
    fmt = result.plan.disk_format
    info = json.loads(run("qemu-img", "info", "--output=json", "-f", QEMU_NAMES[fmt], image))
    assert info["virtual-size"] == result.plan.size_bytes
    if fmt is DiskFormat.VHDX:
        run("qemu-img", "check", "-f", "vhdx", image)
    raw = as_raw(image, fmt)
    assert "0 / 0" not in run("sfdisk", "--verify", raw)
    table = json.loads(run("sfdisk", "--json", raw))["partitiontable"]
    assert table["label"] == ("dos" if generation == 1 else "gpt")
    assert len(table["partitions"]) == (2 if generation == 2 and bootable else 1)
    assert run("e2fsck", "-fn", f"{raw}?offset={root_offset(raw)}")
    with mounted(raw) as root:
        assert (root / "srv/data/059.bin").read_bytes() == (linux.tree / "srv/data/059.bin").read_bytes()
        assert (root / "usr/bin/tool").stat().st_nlink == 2
        assert (root / "usr/bin/tool").stat().st_mode & 0o7777 == 0o4755
        assert (root / "srv/attributes").stat().st_uid == 1234
        assert (root / "boot/grub/grub.cfg").exists() is bootable
    if generation == 2 and bootable:
        offset = table["partitions"][0]["start"] * 512
        run("fsck.vfat", "-n", "--", _slice(raw, offset, table["partitions"][0]["size"] * 512))
        assert "BOOTX64" in run("mdir", "-/", "-b", "-i", f"{raw}@@{offset}")
    assert verify_image(image, read_record(image)).identity == result.plan.tree


def _slice(raw: Path, offset: int, size: int) -> Path:
    out = raw.with_suffix(".esp")
    with raw.open("rb") as source, out.open("wb") as target:
        source.seek(offset)
        target.write(source.read(size))
    return out


@pytest.mark.parametrize("name", ["image.vhd", "image.vhdx", "image.raw"])
def test_the_same_request_gives_the_same_bytes(linux: Linux, tmp_path: Path, name: str) -> None:
    generation = 2 if name.endswith("vhdx") else 1
    images: list[Path] = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        images.append(tmp_path / folder / name)
        do_compose(request_for([linux.layer], images[-1], generation), verify=False)
    run("cmp", *images)
    assert record_path(images[0]).read_bytes() == record_path(images[1]).read_bytes()


def test_without_a_seed_every_image_is_its_own(linux: Linux, tmp_path: Path) -> None:
    plans = [
        do_compose(request_for([linux.layer], tmp_path / f"{n}.raw", seed=None), verify=False).plan
        for n in (1, 2)
    ]
    assert plans[0].identity != plans[1].identity
    assert plans[0].identity.identifiers.root_filesystem != plans[1].identity.identifiers.root_filesystem


def test_an_image_imported_again_is_the_tree_it_was_made_from(linux: Linux, tmp_path: Path) -> None:
    image = tmp_path / "data.vhdx"
    do_compose(request_for([linux.layer], image, bootable=False))
    do_import(image, tmp_path / "again.wim")
    one, other = read_held_tree(linux.layer), read_held_tree(tmp_path / "again.wim")
    assert not compare(one, other)
    assert not compare(one, read_held_tree(image))


def test_a_fixed_disk_of_a_wanted_size(linux: Linux, tmp_path: Path) -> None:
    image = tmp_path / "image.vhd"
    request = request_for([linux.layer], image, size_bytes=200 << 20, allocation=DiskAllocation.FIXED)
    result = do_compose(request)
    assert result.plan.size_bytes >= 200 << 20
    assert image.stat().st_size == result.plan.size_bytes + 512


def test_inspection_tells_disk_and_layer(linux: Linux) -> None:
    view = inspect_disk(linux.boot_disk)
    assert (view.scheme, view.system, view.boot_loader) == ("mbr", "Debian GNU/Linux 12 (small)", "grub")
    assert [p.filesystem for p in view.partitions] == ["ext4"]
    summary, files = inspect_layer(linux.layer, with_files=True)
    assert summary.manifest.name == "System"
    assert "/srv/data/059.bin" in files
