"""Changes on a packaging disk become a layer: every one of them, and nothing else (LY-2, LY-6)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sekiso.compositing.capture import UnfinishedWorkError
from sekiso.compositing.plan import ConflictKind
from sekiso.compositing.verify import verify_layer
from sekiso.errors import DirtyVolumeError, RuleError, UnsupportedInputError
from sekiso.model.machine import DiskFormat
from sekiso.store.layer_file import LayerFile
from sekiso.wim.tree import find, walk

from .conftest import Linux
from .systems import (
    MIB,
    as_raw,
    do_capture,
    do_compose,
    make_disk,
    mounted,
    overlay,
    request_for,
    root_offset,
    run,
    stanza,
    write,
)

pytestmark = pytest.mark.root


def edited_copy(linux: Linux, place: Path, edit: Callable[[Path], None]) -> Path:
    """Return a raw copy of the boot disk in which the kernel made some edits."""
    place.mkdir(parents=True, exist_ok=True)
    raw = place / "edited.raw"
    run("qemu-img", "convert", "-f", "vpc", "-O", "raw", linux.boot_disk, raw)
    with mounted(raw) as root:
        edit(root)
    return raw


def packaging_disk(linux: Linux, place: Path, edit: Callable[[Path], None]) -> Path:
    return overlay(
        linux.boot_disk, DiskFormat.VHD, edited_copy(linux, place, edit), place / "packaging.qcow2"
    )


def stealthily(path: Path) -> None:
    """Change content and keep size and times."""
    info = path.stat()
    with path.open("r+b") as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(bytes([first[0] ^ 0xFF]))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def many_edits(root: Path) -> None:
    for number in range(30):
        stealthily(root / f"srv/data/{number:03}.bin")
    write(root, "opt/new/program", b"new program")
    (root / "opt/new/link").symlink_to("program")
    (root / "srv/data/059.bin").unlink()
    shutil.rmtree(root / "opt/old/sub")
    (root / "srv/data/050.bin").rename(root / "srv/data/moved.bin")
    (root / "srv/data/040.bin").chmod(0o600)
    os.setxattr(root / "srv/data/041.bin", "user.new", b"attribute")
    os.link(root / "srv/data/042.bin", root / "srv/data/042.second")
    write(root, "tmp/scratch", "left out")
    write(root, "var/log/syslog", "left out")
    write(root, "etc/machine-id", "f" * 32 + "\n")


EXPECTED = {
    *(f"/srv/data/{number:03}.bin" for number in (*range(30), 40, 41, 42)),
    "/srv/data/042.second",
    "/srv/data/moved.bin",
    "/opt/new",
    "/opt/new/program",
    "/opt/new/link",
}
DELETED = ("/opt/old/sub", "/srv/data/050.bin", "/srv/data/059.bin")


@pytest.mark.parametrize("as_overlay", [True, False], ids=["overlay", "full copy"])
def test_no_change_is_missed_and_none_is_made_up(linux: Linux, tmp_path: Path, as_overlay: bool) -> None:
    make = packaging_disk if as_overlay else edited_copy
    disk = make(linux, tmp_path, many_edits)
    layer_path = tmp_path / "app.wim"
    found = do_capture(disk, linux.boot_disk, [linux.layer], layer_path)
    folders = {"/opt", "/opt/old", "/srv/data"}  # their entries changed
    assert set(found.changed) - folders == EXPECTED
    assert found.deleted == DELETED
    assert {path for path, _ in found.excluded} >= {"/tmp/scratch", "/var/log/syslog", "/etc/machine-id"}
    assert (found.written_bytes is not None) is as_overlay
    dry = do_capture(disk, linux.boot_disk, [linux.layer], tmp_path / "dry.wim", dry_run=True)
    assert (dry.changed, dry.deleted, dry.manifest) == (found.changed, found.deleted, None)
    assert not (tmp_path / "dry.wim").exists()
    verify_layer(layer_path)
    with LayerFile(layer_path) as layer, LayerFile(linux.layer) as base:
        assert layer.manifest.base == (base.manifest.identity,)
        held = {path for path, node in walk(layer.tree()) if not node.is_directory}
        assert held == EXPECTED - {"/opt/new"}
    image = tmp_path / "image.raw"
    do_compose(request_for([linux.layer, layer_path], image))
    with mounted(image) as root, mounted(tmp_path / "edited.raw") as wanted:
        for path in EXPECTED - {"/opt/new", "/opt/new/link"}:
            one, other = root / path[1:], wanted / path[1:]
            assert one.read_bytes() == other.read_bytes(), path
            assert (one.stat().st_mode, one.stat().st_mtime_ns // 100) == (
                other.stat().st_mode,
                other.stat().st_mtime_ns // 100,
            )
        for path in DELETED:
            assert not (root / path[1:]).exists()
        assert (root / "srv/data/042.second").stat().st_nlink == 2
        assert os.getxattr(root / "srv/data/041.bin", "user.new") == b"attribute"


def test_a_disk_on_which_nothing_changed(linux: Linux, tmp_path: Path) -> None:
    disk = packaging_disk(linux, tmp_path, lambda _: None)
    found = do_capture(disk, linux.boot_disk, [linux.layer], tmp_path / "app.wim")
    assert (found.changed, found.deleted) == ((), ())


def install(name: str, user: int) -> Callable[[Path], None]:
    """What installing a package does to a system."""

    def edit(root: Path) -> None:
        with (root / "var/lib/dpkg/status").open("a") as stream:
            stream.write(stanza(name))
        write(root, f"var/lib/dpkg/info/{name}.list", f"/usr/bin/{name}\n")
        write(root, f"usr/bin/{name}", f"#!{name}")
        with (root / "etc/passwd").open("a") as stream:
            stream.write(f"{name}:x:{user}:{user}::/nonexistent:/usr/sbin/nologin\n")
        with (root / "etc/group").open("a") as stream:
            stream.write(f"{name}:x:{user}:\n")
        write(root, "etc/shared.conf", f"value={name}\n")

    return edit


def test_two_apps_that_change_the_same_files(linux: Linux, tmp_path: Path) -> None:
    layers = [linux.layer]
    for name, user in (("alpha", 301), ("beta", 302)):
        disk = packaging_disk(linux, tmp_path / name, install(name, user))
        layers.append(tmp_path / f"{name}.wim")
        found = do_capture(disk, linux.boot_disk, [linux.layer], layers[-1], name=name)
        assert found.manifest is not None
        assert {"/etc/passwd", "/var/lib/dpkg/status"} <= set(found.manifest.structured)
    plan = do_compose(request_for(layers, tmp_path / "image.vhdx", 2)).plan
    conflicts = {(c.path, c.kind): c for c in plan.conflicts}
    shared = conflicts["/etc/shared.conf", ConflictKind.FILE]
    assert (shared.layers, shared.winner) == (("alpha 1", "beta 1"), "beta 1")
    assert {path for path, _ in conflicts} == {"/etc/shared.conf"}
    with mounted(as_raw(tmp_path / "image.vhdx", DiskFormat.VHDX)) as root:
        status = (root / "var/lib/dpkg/status").read_text()
        for package in ("base-files", "libsmall1", "alpha", "beta"):
            assert status.count(f"Package: {package}\n") == 1
        users = (root / "etc/passwd").read_text()
        assert (
            "alpha:x:301:301" in users
            and "beta:x:302:302" in users
            and users.startswith("root:")
            and users.count("\nroot:") == 0
        )
        assert (root / "etc/shared.conf").read_text() == "value=beta\n"
        assert (root / "usr/bin/alpha").exists() and (root / "usr/bin/beta").exists()
        run("dpkg-query", "--admindir", root / "var/lib/dpkg", "-W", "alpha", "beta", "base-files")
    swapped = do_compose(request_for([layers[0], layers[2], layers[1]], tmp_path / "swapped.raw")).plan
    assert [c.winner for c in swapped.conflicts if c.path == "/etc/shared.conf"] == ["alpha 1"]


def test_a_layer_on_top_of_a_layer_is_no_conflict(linux: Linux, tmp_path: Path) -> None:
    first = tmp_path / "first.wim"
    disk = packaging_disk(linux, tmp_path / "1", lambda root: void(write(root, "etc/shared.conf", "one")))
    do_capture(disk, linux.boot_disk, [linux.layer], first, name="first")
    boot_disk = tmp_path / "boot.vhd"
    do_compose(request_for([linux.layer, first], boot_disk))
    upper = Linux(linux.tree, linux.disk, linux.layer, boot_disk)
    disk = packaging_disk(upper, tmp_path / "2", lambda root: void(write(root, "etc/shared.conf", "two")))
    second = tmp_path / "second.wim"
    do_capture(disk, boot_disk, [linux.layer, first], second, name="second")
    plan = do_compose(request_for([linux.layer, first, second], tmp_path / "image.raw")).plan
    assert plan.conflicts == ()
    alone = do_compose(request_for([linux.layer, second], tmp_path / "alone.raw")).plan
    assert any("not part of this image" in note for note in alone.notes)


def void(_: object) -> None:
    """Drop a value."""


def test_a_folder_made_anew_lets_nothing_shine_through(linux: Linux, tmp_path: Path) -> None:
    def edit(root: Path) -> None:
        shutil.rmtree(root / "opt/old/sub")
        write(root, "opt/old/sub/fresh.txt", "fresh")

    layer = tmp_path / "app.wim"
    do_capture(packaging_disk(linux, tmp_path, edit), linux.boot_disk, [linux.layer], layer)
    do_compose(request_for([linux.layer, layer], tmp_path / "image.raw"))
    with mounted(tmp_path / "image.raw") as root:
        assert [p.name for p in (root / "opt/old/sub").iterdir()] == ["fresh.txt"]


def test_a_file_takes_the_place_of_a_folder_and_the_other_way_round(linux: Linux, tmp_path: Path) -> None:
    def edit(root: Path) -> None:
        shutil.rmtree(root / "opt/old/sub")
        write(root, "opt/old/sub", "a file now")
        (root / "srv/data/001.bin").unlink()
        write(root, "srv/data/001.bin/inner", "a folder now")

    layer = tmp_path / "app.wim"
    do_capture(packaging_disk(linux, tmp_path, edit), linux.boot_disk, [linux.layer], layer)
    do_compose(request_for([linux.layer, layer], tmp_path / "image.raw"))
    with mounted(tmp_path / "image.raw") as root:
        assert (root / "opt/old/sub").read_text() == "a file now"
        assert (root / "srv/data/001.bin/inner").read_text() == "a folder now"


def test_unfinished_work_is_refused_unless_told_otherwise(linux: Linux, tmp_path: Path) -> None:
    def edit(root: Path) -> None:
        half = stanza("half").replace("install ok installed", "install ok half-configured")
        with (root / "var/lib/dpkg/status").open("a") as stream:
            stream.write(half)

    disk = packaging_disk(linux, tmp_path, edit)
    with pytest.raises(UnfinishedWorkError, match="half"):
        do_capture(disk, linux.boot_disk, [linux.layer], tmp_path / "app.wim")
    assert not (tmp_path / "app.wim").exists()
    assert do_capture(disk, linux.boot_disk, [linux.layer], tmp_path / "x.wim", dry_run=True).changed


def test_the_disk_of_another_boot_disk_is_refused(linux: Linux, tmp_path: Path) -> None:
    other = tmp_path / "other.vhd"
    do_compose(request_for([linux.layer], other, seed="another"), verify=False)
    disk = packaging_disk(linux, tmp_path, lambda _: None)
    with pytest.raises((RuleError, UnsupportedInputError)):
        do_capture(disk, other, [linux.layer], tmp_path / "app.wim")
    with pytest.raises(RuleError, match="did not start from"):
        do_capture(tmp_path / "edited.raw", other, [linux.layer], tmp_path / "app.wim")
    assert not (tmp_path / "app.wim").exists()


def test_a_machine_that_was_not_shut_down_is_refused(linux: Linux, tmp_path: Path) -> None:
    raw = edited_copy(linux, tmp_path, lambda root: void(write(root, "opt/x", "x")))
    run("debugfs", "-w", "-R", "set_super_value state 2", f"{raw}?offset={root_offset(raw)}")
    with pytest.raises((DirtyVolumeError, UnsupportedInputError), match=r"fsck|shut|error"):
        do_capture(raw, linux.boot_disk, [linux.layer], tmp_path / "app.wim")
    assert not (tmp_path / "app.wim").exists()


def test_a_disk_with_two_systems_or_none_is_refused(linux: Linux, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    disk = make_disk(empty, tmp_path / "empty.raw", size_mib=16)
    assert disk.stat().st_size == 16 * MIB
    with pytest.raises((RuleError, UnsupportedInputError)):
        do_capture(disk, linux.boot_disk, [linux.layer], tmp_path / "app.wim")
    with LayerFile(linux.layer) as layer:
        assert find(layer.tree(), "/etc/shared.conf") is not None
